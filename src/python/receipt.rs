//! What became of a message that nobody waits for in an event loop: the native half of `rmqtt.SyncReceipt`.

use super::bridge::{Bell, Deadline, ForkSafe, block_on};
use super::errors::Failure;
use super::options;
use super::outcome::Outcome;
use crate::client::{Answer, ClientError, Published};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

/// Not on its way, and can be taken back.
const QUEUED: u8 = 0;
const SENT: u8 = 1;
const WITHDRAWN: u8 = 2;

/// What the network's side fills in.
#[derive(Default)]
struct Slot {
    outcome: OnceLock<Outcome>,
    stage: AtomicU8,
    bell: Arc<Bell>,
}

impl Slot {
    /// Leaves the queue, one way or the other, if it is there.
    fn leaves(&self, to: u8) -> bool {
        let stage = &self.stage;
        stage
            .compare_exchange(QUEUED, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    fn is_withdrawn(&self) -> bool {
        self.stage.load(Ordering::Acquire) == WITHDRAWN
    }
}

/// The network's end.
pub(super) struct Sender(Arc<Slot>);

impl Answer<Published> for Sender {
    fn begins(&self) -> bool {
        // Asked anew where it is sent again.
        self.0.leaves(SENT) || !self.0.is_withdrawn()
    }

    fn answer(self: Box<Self>, outcome: Result<Published, ClientError>) {
        // It is told once.
        let _ = self.0.outcome.set(outcome.into());
        self.0.bell.ring();
    }
}

/// A message, and what becomes of it.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct NativeReceipt {
    slot: ForkSafe<Arc<Slot>>,
}

impl NativeReceipt {
    /// A receipt, and the end that fills it in.
    pub(super) fn new() -> (Self, Sender) {
        let slot = Arc::<Slot>::default();
        let sender = Sender(Arc::clone(&slot));
        let slot = ForkSafe::new(slot);
        (Self { slot }, sender)
    }

    /// Of QoS 0 in the queue, there is no more to know.
    pub(super) fn queued() -> Self {
        let (receipt, sender) = Self::new();
        let _ = sender.0.outcome.set(Outcome::published());
        receipt
    }
}

#[pymethods]
impl NativeReceipt {
    #[getter]
    fn state(&self) -> PyResult<&'static str> {
        let slot = self.slot.get()?;
        Ok(
            match (slot.stage.load(Ordering::Acquire), slot.outcome.get()) {
                (WITHDRAWN, _) => "withdrawn",
                (_, Some(Outcome::Failed(_))) => "failed",
                (_, Some(_)) => "done",
                (SENT, None) => "sent",
                (_, None) => "queued",
            },
        )
    }

    /// Takes it back, if it is not on its way.
    fn cancel(&self) -> PyResult<bool> {
        let slot = self.slot.get()?;
        let is_withdrawn = slot.outcome.get().is_none() && slot.leaves(WITHDRAWN);
        if is_withdrawn {
            slot.bell.ring();
        }
        Ok(is_withdrawn)
    }

    /// The result, waiting here for so many seconds at most; `None`: it was taken back.
    #[pyo3(signature = (timeout=None))]
    fn result(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        let limit = options::limit(timeout)?;
        let ends = Deadline::after(limit);
        let slot = self.slot.get()?;
        loop {
            if slot.is_withdrawn() {
                slot.bell.ring();
                return Ok(py.None());
            }
            if let Some(outcome) = slot.outcome.get() {
                // For the next who waits: one ring wakes one.
                slot.bell.ring();
                return outcome.to_py(py);
            }
            if block_on(py, ends.left(), slot.bell.rung())?.is_none() {
                return Err(Failure::timed_out("publish", limit).to_py(py));
            }
        }
    }
}
