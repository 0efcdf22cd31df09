//! The native half of `rmqtt.testing.Faults`.

use crate::broker::Seams;
use crate::broker::faults::{Action, Cut, Direction, Match};
use crate::codec::{PacketType, ReasonCode};
use crate::python::bridge::ForkSafe;
use crate::python::options::{duration, out_of_range, topic_error};
use crate::topic::TopicFilter;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::Arc;

/// The faults of one broker. Rules go by their numbers.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct NativeFaults {
    seams: ForkSafe<Arc<Seams>>,
}

/// What a rule is to match, by name.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct MatchArguments {
    packet: String,
    client: String,
    topic: String,
    direction: String,
    nth: u64,
    times: Option<u64>,
}

impl NativeFaults {
    pub(crate) fn new(seams: Arc<Seams>) -> Self {
        Self {
            seams: ForkSafe::new(seams),
        }
    }
}

#[pymethods]
impl NativeFaults {
    /// Adds a rule that does nothing yet; its number.
    fn add(&self, py: Python<'_>, r#match: MatchArguments) -> PyResult<u64> {
        let topic = match &*r#match.topic {
            "#" => None,
            filter => Some(TopicFilter::new(filter).map_err(|error| topic_error(error, py))?),
        };
        let read = Match {
            packet_type: packet_type(&r#match.packet)?,
            client: r#match.client,
            topic,
            direction: direction(&r#match.direction)?,
            nth: r#match.nth,
            times: r#match.times,
        };
        Ok(self.seams.get()?.faults.add(read))
    }

    /// Has a rule do one thing more.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "PyO3 extracts arguments by value"
    )]
    fn act(&self, rule: u64, what: &str, values: Vec<f64>) -> PyResult<()> {
        let action = action(what, &values)?;
        self.seams.get()?.faults.act(rule, action);
        Ok(())
    }

    /// Changes how often a rule strikes.
    fn limit(&self, rule: u64, times: u64) -> PyResult<()> {
        self.seams.get()?.faults.limit(rule, times);
        Ok(())
    }

    /// How many packets a rule has struck.
    fn hits(&self, rule: u64) -> PyResult<u64> {
        Ok(self.seams.get()?.faults.hits(rule))
    }

    #[getter]
    fn seed(&self) -> PyResult<u64> {
        Ok(self.seams.get()?.faults.seed())
    }

    fn set_seed(&self, seed: u64) -> PyResult<()> {
        self.seams.get()?.faults.set_seed(seed);
        Ok(())
    }

    /// Forgets all rules.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        let seams = self.seams.get()?;
        py.detach(|| seams.faults.clear());
        Ok(())
    }
}

/// `None`: every kind.
fn packet_type(name: &str) -> PyResult<Option<PacketType>> {
    if name == "*" {
        return Ok(None);
    }
    let all = || (1..=15).filter_map(PacketType::from_number);
    let found = all().find(|known| known.name().eq_ignore_ascii_case(name));
    found.map(Some).ok_or_else(|| {
        let names: Vec<&str> = all().map(PacketType::name).collect();
        let names = names.join(", ");
        PyValueError::new_err(format!(
            "packet is {name:?}, and must be '*' or one of {names}"
        ))
    })
}

/// `None`: both.
fn direction(name: &str) -> PyResult<Option<Direction>> {
    match name {
        "both" => Ok(None),
        "in" => Ok(Some(Direction::In)),
        "out" => Ok(Some(Direction::Out)),
        other => Err(PyValueError::new_err(format!(
            "direction is {other:?}, and must be 'both', 'in' (to the broker) or 'out' (from the broker)"
        ))),
    }
}

fn action(what: &str, values: &[f64]) -> PyResult<Action> {
    Ok(match (what, values) {
        ("drop", []) => Action::Drop,
        ("delay", [by, jitter]) => Action::Delay {
            by: duration("seconds", *by)?,
            jitter: duration("jitter", *jitter)?,
        },
        ("duplicate", []) => Action::Duplicate,
        ("reorder", [depth]) => Action::Reorder(whole("depth", *depth, 1)?),
        ("corrupt", []) => Action::Corrupt(None),
        ("corrupt", [byte]) => Action::Corrupt(Some(whole("byte", *byte, 0)?)),
        ("truncate", [keep]) => Action::Truncate(whole("keep", *keep, 0)?),
        ("rst", []) => Action::Disconnect(Cut::Reset),
        ("fin", []) => Action::Disconnect(Cut::Close),
        ("half_open", []) => Action::Disconnect(Cut::HalfOpen),
        ("reason", [code]) => {
            Action::Disconnect(Cut::Reason(reason(*code, PacketType::Disconnect)?))
        }
        ("refuse", [code]) => Action::Refuse(reason(*code, PacketType::ConnAck)?),
        ("lose_session", []) => Action::LoseSession,
        ("throttle", [rate]) => {
            let rate = whole("bytes_per_s", *rate, 1)?;
            Action::Throttle(u64::try_from(rate).unwrap_or(u64::MAX))
        }
        ("stop_reading", []) => Action::StopReading,
        _ => {
            return Err(PyValueError::new_err(format!(
                "how is {what:?}, and must be 'rst', 'fin', 'half_open' or 'reason'"
            )));
        }
    })
}

/// A number of bytes or packets, which Python has checked to be whole.
fn whole(name: &str, value: f64, least: u32) -> PyResult<usize> {
    let range = f64::from(least)..=f64::from(u32::MAX);
    if !range.contains(&value) {
        return Err(out_of_range(name, &format!("{least} to {}", u32::MAX)));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is in the range of u32"
    )]
    let value = value as u32;
    Ok(usize::try_from(value).unwrap_or(usize::MAX))
}

fn reason(code: f64, packet_type: PacketType) -> PyResult<ReasonCode> {
    let byte = u8::try_from(whole("reason", code, 0)?).ok();
    let reason = byte.and_then(ReasonCode::from_number);
    let allowed = reason.filter(|it| it.is_allowed_in(packet_type) && it.is_error());
    allowed.ok_or_else(|| {
        let name = packet_type.name();
        PyValueError::new_err(format!(
            "reason is {code}, and must be a code of failure that {name} can carry"
        ))
    })
}
