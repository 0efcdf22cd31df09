//! One process of the client, and what its file holds.

use bytes::BytesMut;
use rmqtt::client::ClientOptions;
use rmqtt::client::protocol::{self as client, Lasting};
use rmqtt::codec::{PacketId, ProtocolVersion};
use rmqtt::message::{Message, QoS};
use rmqtt::storage::{Change, Stage, StoredMessage};
use rmqtt::topic::TopicName;
use rmqtt::transport::Address;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Instant, UNIX_EPOCH};

/// What is done wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Bytes leave before what led to them is synced.
    NoSync,
    /// PUBREC for a message of ours is not noted.
    ForgetReleased,
    /// That we have answered a message with PUBREC is not noted.
    ForgetTaken,
    /// A packet id is not noted.
    ForgetSent,
}

/// What a file holds.
#[derive(Clone, Default)]
pub(super) struct Image {
    pub(super) messages: BTreeMap<u64, (Message, Stage)>,
    pub(super) taken: BTreeSet<PacketId>,
}

impl Image {
    pub(super) fn apply(&mut self, change: &Change) {
        let mut stage = |number: &u64, now: Stage| {
            if let Some((_, stage)) = self.messages.get_mut(number) {
                *stage = now;
            }
        };
        match change {
            Change::Put {
                number, message, ..
            } => {
                let message = message.clone();
                self.messages.insert(*number, (message, Stage::Waiting));
            }
            Change::Sent(number, id) => stage(number, Stage::Sent(*id)),
            Change::Released(number, id, reason) => stage(number, Stage::Released(*id, *reason)),
            Change::Waiting(number) => stage(number, Stage::Waiting),
            Change::Done(number) => drop(self.messages.remove(number)),
            Change::Taken(id) => drop(self.taken.insert(*id)),
            Change::Forgotten(id) => drop(self.taken.remove(id)),
            Change::AllForgotten => self.taken.clear(),
            Change::Subscribed { .. } | Change::Unsubscribed(_) => {}
        }
    }
}

/// One process of the client.
pub(super) struct Process {
    pub(super) protocol: client::Protocol,
    pub(super) lasting: Lasting,
    pub(super) input: BytesMut,
    /// Put in and not sent.
    pub(super) waiting: VecDeque<(u64, Message)>,
    /// With the application.
    pub(super) pending: Vec<(PacketId, u64, u64)>,
    /// What the application has accepted last by each packet id.
    pub(super) accepted: BTreeMap<PacketId, u64>,
    /// Taken over by that; the answer has not left.
    pub(super) unanswered: Vec<u64>,
    /// Written since the last sync.
    pub(super) written: Vec<Change>,
}

pub(super) fn number(message: &Message) -> u64 {
    u64::from_be_bytes(message.payload[..].try_into().expect("eight bytes"))
}

pub(super) fn qos(number: u64) -> QoS {
    match number % 2 {
        0 => QoS::ExactlyOnce,
        _ => QoS::AtLeastOnce,
    }
}

pub(super) fn message(number: u64) -> Message {
    let topic = TopicName::new("t").expect("valid");
    Message::new(topic, number.to_be_bytes().to_vec()).with_qos(qos(number))
}

impl Process {
    pub(super) fn begin(image: &Image, now: Instant) -> Self {
        let address = Address::Memory {
            name: "crash".to_owned(),
        };
        let mut options = ClientOptions::new(address);
        options.version = ProtocolVersion::V5;
        options.clean_start = false;
        options.session_expiry = u32::MAX;
        options.keep_alive = 0;
        let mut protocol = client::Protocol::new(options, "crash", now);
        let mut waiting = VecDeque::new();
        let messages = image.messages.iter().map(|(number, (message, stage))| {
            let (number, message, stage) = (*number, message.clone(), *stage);
            StoredMessage {
                number,
                message,
                put_at: None,
                stage,
            }
        });
        let taken: Vec<PacketId> = image.taken.iter().copied().collect();
        let lasting = Lasting::take_up(
            &mut protocol,
            (messages.collect(), &taken),
            UNIX_EPOCH,
            |left| waiting.push_back((left.number, left.message)),
            |left| left.number,
        );
        Self {
            protocol,
            lasting,
            input: BytesMut::new(),
            waiting,
            pending: Vec::new(),
            accepted: BTreeMap::new(),
            unanswered: Vec::new(),
            written: Vec::new(),
        }
    }

    /// What has happened, and this behind it.
    pub(super) fn note(&mut self, fault: Fault, then: Change) {
        let Self {
            protocol,
            lasting,
            accepted,
            unanswered,
            written,
            ..
        } = self;
        let write = |change| write(change, fault, (accepted, unanswered), written);
        lasting.note(protocol, Some, Some(then), write);
    }

    /// What has happened; whether what is to be said has to wait for the disk.
    pub(super) fn note_all(&mut self, fault: Fault) -> bool {
        let Self {
            protocol,
            lasting,
            accepted,
            unanswered,
            written,
            ..
        } = self;
        let write = |change| write(change, fault, (accepted, unanswered), written);
        lasting.note_all(protocol, Some, write)
    }
}

/// Writes it, unless that is the fault.
fn write(
    change: Change,
    fault: Fault,
    (accepted, unanswered): (&BTreeMap<PacketId, u64>, &mut Vec<u64>),
    written: &mut Vec<Change>,
) {
    if let Change::Taken(id) = &change {
        unanswered.extend(accepted.get(id));
    }
    match (&change, fault) {
        (Change::Sent(..), Fault::ForgetSent)
        | (Change::Released(..), Fault::ForgetReleased)
        | (Change::Taken(_), Fault::ForgetTaken) => {}
        _ => written.push(change),
    }
}
