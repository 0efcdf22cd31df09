//! What `rmqtt.Broker` asks for.

use super::super::errors::Failure;
use super::super::journal::NativeJournal;
use super::super::testing::NativeClock;
use super::limits::LimitsArguments;
use super::{AccessArguments, Given, ListenerArguments, out_of_range};
use crate::broker::{
    BrokerOptions, Farewell, Features, Keep, ListenerOptions, SharedStrategy, Terms,
};
use crate::clock::Clock;
use crate::codec::{PacketType, ReasonCode};
use crate::message::QoS;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// More threads than cores are of no use, and none is without its cost.
const THREADS_MAX: usize = 64;

/// `rmqtt.Features`.
#[derive(FromPyObject)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own in the standard"
)]
struct FeaturesArguments {
    maximum_qos: i64,
    retain: bool,
    wildcard_subscriptions: bool,
    subscription_identifiers: bool,
    shared_subscriptions: bool,
}

/// How it runs, by name: its threads, its log, and what tests ask for.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct SeamsArguments {
    threads: i64,
    clock: Option<Py<NativeClock>>,
    ledger: bool,
    wire: usize,
    journal: Py<NativeJournal>,
}

/// What is offered within the limits, by name.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct TermsArguments {
    features: FeaturesArguments,
    response_information: Option<String>,
    validate_payloads: bool,
    shared_strategy: String,
}

impl TermsArguments {
    fn shared_strategy(&self) -> PyResult<SharedStrategy> {
        match &*self.shared_strategy {
            "round_robin" => Ok(SharedStrategy::RoundRobin),
            "random" => Ok(SharedStrategy::Random),
            "sticky" => Ok(SharedStrategy::Sticky),
            "hash" => Ok(SharedStrategy::Hash),
            "least_in_flight" => Ok(SharedStrategy::LeastInFlight),
            other => Err(PyValueError::new_err(format!(
                "shared_strategy is {other:?}, and must be 'round_robin', 'random', 'sticky', 'hash' or 'least_in_flight'"
            ))),
        }
    }

    fn read(self) -> PyResult<Terms> {
        let features = self.features;
        Ok(Terms {
            features: Features {
                maximum_qos: u8::try_from(features.maximum_qos)
                    .ok()
                    .and_then(QoS::from_number)
                    .ok_or_else(|| out_of_range("features.maximum_qos", "0, 1 or 2"))?,
                retain: features.retain,
                wildcard_subscriptions: features.wildcard_subscriptions,
                subscription_identifiers: features.subscription_identifiers,
                shared_subscriptions: features.shared_subscriptions,
            },
            response_information: self.response_information.map(Into::into),
            validates_payloads: self.validate_payloads,
        })
    }
}

impl SeamsArguments {
    fn threads(&self) -> PyResult<usize> {
        let threads = usize::try_from(self.threads).ok();
        let threads = threads
            .filter(|count| *count <= THREADS_MAX)
            .ok_or_else(|| out_of_range("threads", &format!("0 to {THREADS_MAX}")))?;
        if threads > 0 && self.clock.is_some() {
            return Err(PyValueError::new_err(
                "a clock that tests move has to see all that happens: it needs threads=0",
            ));
        }
        Ok(threads)
    }
}

/// Reads the arguments of a broker.
///
/// # Errors
/// `ValueError` naming the argument and its range.
pub(crate) fn broker(
    listeners: Vec<Given<ListenerArguments>>,
    mut access: AccessArguments,
    limits: &LimitsArguments,
    terms: TermsArguments,
    seams: &SeamsArguments,
    py: Python<'_>,
) -> PyResult<BrokerOptions> {
    let local = access.local(py)?.into_iter();
    let listeners = listeners.into_iter().zip(local);
    let listeners = listeners.map(|(listener, (auth, acl))| {
        let listener = listener.0.read(py)?;
        Ok(ListenerOptions {
            auth,
            acl,
            ..listener
        })
    });
    Ok(BrokerOptions {
        listeners: listeners.collect::<PyResult<_>>()?,
        allow_anonymous: access.allow_anonymous,
        referee_limits: access.referee_limits()?,
        auth: access.auth(py)?,
        acl: None,
        shared_strategy: terms.shared_strategy()?,
        terms: terms.read()?,
        threads: seams.threads()?,
        keeps_ledger: seams.ledger,
        wire_lines_max: seams.wire,
        journal: Some(seams.journal.get().of_broker()),
        clock: match &seams.clock {
            Some(clock) => clock.get().clock()?,
            None => Clock::default(),
        },
        limits: limits.read()?,
    })
}

/// Reads how a client is to be sent away.
///
/// # Errors
/// `ValueError`: a server does not say so in DISCONNECT, or the reference does not go with it.
pub(crate) fn farewell(
    reason: i64,
    server_reference: Option<&str>,
    py: Python<'_>,
) -> PyResult<Farewell> {
    let code = u8::try_from(reason)
        .ok()
        .and_then(ReasonCode::from_number)
        .filter(|code| code.is_allowed_in(PacketType::Disconnect))
        .filter(|code| *code != ReasonCode::DisconnectWithWill)
        .ok_or_else(|| {
            PyValueError::new_err(format!(
                "{reason:#04x} is no reason for a broker to disconnect"
            ))
        })?;
    match (server_reference, code) {
        (None, _) => Ok(code.into()),
        (Some(reference), ReasonCode::UseAnotherServer | ReasonCode::ServerMoved) => {
            to_server(reference, code == ReasonCode::ServerMoved, py)
        }
        (Some(_), _) => Err(out_of_range(
            "with server_reference, reason",
            "0x9C, for now, or 0x9D, for good",
        )),
    }
}

/// Reads another server.
///
/// # Errors
/// `ValueError`.
pub(crate) fn to_server(reference: &str, permanent: bool, py: Python<'_>) -> PyResult<Farewell> {
    Farewell::to_server(reference, permanent).map_err(|error| Failure::from(error).to_py(py))
}

/// Reads what a broker that crashes keeps.
///
/// # Errors
/// `ValueError`.
pub(crate) fn keep(keep: &str) -> PyResult<Keep> {
    match keep {
        "nothing" => Ok(Keep::Nothing),
        "acknowledged" => Ok(Keep::Acknowledged),
        other => Err(PyValueError::new_err(format!(
            "keep is {other:?}, and must be 'nothing' or 'acknowledged'"
        ))),
    }
}
