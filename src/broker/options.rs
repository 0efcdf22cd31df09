//! What can be asked of a broker. Every default is safe on loopback; each limit says why it is what it is.

use crate::broker::auth::Auth;
use crate::broker::journal::Journal;
use crate::broker::rights::{Policy, RefereeLimits};
use crate::broker::{Limits, ListenerOptions};
use crate::clock::Clock;
use crate::message::QoS;
use crate::transport::Address;
use bytestring::ByteString;
use std::sync::Arc;

/// How a broker listens and what it grants.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// Where to listen, and what goes there, beside the in-memory address.
    pub listeners: Vec<ListenerOptions>,
    /// Allow listeners that are not on loopback although nobody is asked who they are.
    pub allow_anonymous: bool,
    /// Who may connect; `None`: anybody.
    pub auth: Option<Arc<Auth>>,
    /// What clients may do; `None`: everything.
    pub acl: Option<Policy>,
    /// What it may cost to ask who says that.
    pub referee_limits: RefereeLimits,
    /// Bounds.
    pub limits: Limits,
    /// What is offered within them.
    pub terms: Terms,
    /// Which member of a group of shared subscriptions gets a message.
    pub shared_strategy: SharedStrategy,
    /// Threads of its own, over which connections from outside the process are spread for good. 0: all run where the broker
    /// was started.
    pub threads: usize,
    /// Whether it keeps a ledger: what became of each message for each subscriber.
    pub keeps_ledger: bool,
    /// Where it takes the time from. Its clients in memory share it.
    pub clock: Clock,
    /// Packets of all connections that the wire log keeps; 0: there is none.
    pub wire_lines_max: usize,
    /// Who keeps a log of listeners and connections.
    pub journal: Option<Journal>,
}

/// Which member of a group of shared subscriptions gets a message, among those that are connected and have room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SharedStrategy {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Any.
    Random,
    /// The same as last time, for as long as it can take them.
    Sticky,
    /// The same for the same topic, for as long as it can take them. When members come and go, only the topics that must
    /// move do.
    Hash,
    /// The one with the least on its way and waiting.
    LeastInFlight,
}

/// What a broker that crashes still has when it comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing, as one without a store.
    Nothing,
    /// What a store has that is written before anything is acknowledged: sessions that outlive their connections, with
    /// their subscriptions, what waits for them and where each exchange had got to; retained messages; wills on the clock.
    Acknowledged,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            listeners: vec![
                Address::Tcp {
                    host: "127.0.0.1".to_owned(),
                    port: 1883,
                }
                .into(),
            ],
            allow_anonymous: false,
            auth: None,
            acl: None,
            referee_limits: RefereeLimits::default(),
            limits: Limits::default(),
            terms: Terms::default(),
            shared_strategy: SharedStrategy::default(),
            threads: 0,
            keeps_ledger: false,
            clock: Clock::default(),
            wire_lines_max: 0,
            journal: None,
        }
    }
}

/// What a broker offers beside its limits, and how strict it is: every connection knows these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// What there is of the standard.
    pub features: Features,
    /// Told to MQTT 5 clients that ask for it: where answers to their requests may be published. `{client_id}` in it
    /// stands for the client's id.
    pub response_information: Option<ByteString>,
    /// Whether a payload that is said to be UTF-8 (MQTT 5) has to be.
    pub validates_payloads: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            features: Features::default(),
            response_information: None,
            validates_payloads: true,
        }
    }
}

/// What a broker may do without. MQTT 5 clients are told in CONNACK, and nobody gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own in the standard"
)]
pub struct Features {
    /// The highest QoS that is taken and granted.
    pub maximum_qos: QoS,
    /// Whether messages are retained.
    pub retain: bool,
    /// Whether filters may have wildcards.
    pub wildcard_subscriptions: bool,
    /// Whether subscriptions may have identifiers (MQTT 5).
    pub subscription_identifiers: bool,
    /// Whether subscriptions may be shared.
    pub shared_subscriptions: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            maximum_qos: QoS::ExactlyOnce,
            retain: true,
            wildcard_subscriptions: true,
            subscription_identifiers: true,
            shared_subscriptions: true,
        }
    }
}
