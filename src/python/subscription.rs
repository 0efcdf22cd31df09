//! The native half of `rmqtt.Subscription`: taking messages, waiting for them, and acknowledging what was processed.
//!
//! Messages are taken from the inbox one at a time, and not a batch ahead: so the bounds and overflow policies of the
//! inbox mean what they say (`latest` hands out the newest), and what was not handed out stays unacknowledged there.
//!
//! With `ack="processed"` a message handed to a reader is *open* until that reader asks for the next one. What a reader
//! leaves open when it goes (a `break`) counts as processed when the program asks the subscription for more, or leaves
//! its block cleanly. A block left by an exception abandons what is open and what waits: see [`Inbox::abandon`].

use super::bridge::{LoopPort, Op, Run, Waiters};
use super::errors::{Failure, pairs};
use super::message::PyMessage;
use super::options;
use super::outcome::Outcome;
use crate::client::{
    Ack, Client, ClientError, Delivery, DeliveryReceipt, Inbox, Subscription, SubscriptionSettings,
    Taken, Unsubscribed,
};
use crate::codec::{ReasonCode, SubscribeFilter};
use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration, PyStopIteration};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

/// Of a reader that is no more.
const NOBODY: u64 = 0;

/// What the network's side fills in.
#[derive(Default)]
struct Grant {
    subscription: OnceLock<Subscription>,
    /// Nobody wants it any more: end it as soon as it is granted.
    is_unwanted: AtomicBool,
}

/// The native half of a subscription.
#[pyclass(frozen, weakref, module = "rmqtt._rmqtt")]
pub(crate) struct NativeSubscription {
    client: super::bridge::ForkSafe<Client>,
    port: Py<LoopPort>,
    wanted: Mutex<Option<Vec<SubscribeFilter>>>,
    settings: SubscriptionSettings,
    grant: Arc<Grant>,
    waiters: Arc<Waiters>,
    /// Handed out and not acknowledged, by reader.
    open: Mutex<Vec<(u64, DeliveryReceipt)>>,
    readers: AtomicU64,
}

impl NativeSubscription {
    pub(crate) fn new(
        client: Client,
        port: Py<LoopPort>,
        filters: Vec<SubscribeFilter>,
        settings: SubscriptionSettings,
    ) -> Self {
        let waiters = Waiters::new(port.get().shared());
        Self {
            client: super::bridge::ForkSafe::new(client),
            port,
            wanted: Mutex::new(Some(filters)),
            settings,
            grant: Arc::default(),
            waiters,
            open: Mutex::default(),
            readers: AtomicU64::new(NOBODY + 1),
        }
    }

    fn inbox(&self) -> PyResult<&Arc<Inbox>> {
        self.client.get()?;
        self.grant
            .subscription
            .get()
            .map(|subscription| &subscription.inbox)
            .ok_or_else(|| {
                PyRuntimeError::new_err(
                    "not subscribed yet: use `async with client.subscribe(...) as subscription`, \
                     or `await subscription` first",
                )
            })
    }

    /// Acknowledges what `reader` has open, and what was left open by those that are gone.
    fn settle(&self, reader: u64) -> PyResult<()> {
        let settled: Vec<DeliveryReceipt> = {
            let mut open = self.open.lock();
            if open.is_empty() {
                return Ok(());
            }
            let is_settled = |owner: u64| owner == reader || owner == NOBODY;
            let settled = open
                .iter()
                .filter(|(owner, _)| is_settled(*owner))
                .map(|(_, receipt)| *receipt)
                .collect();
            open.retain(|(owner, _)| !is_settled(*owner));
            settled
        };
        self.acknowledge(settled)
    }

    fn acknowledge(&self, receipts: Vec<DeliveryReceipt>) -> PyResult<()> {
        let inbox = self.inbox()?;
        for receipt in receipts {
            inbox.processed(receipt, ReasonCode::Success);
        }
        Ok(())
    }

    fn hand_out(
        &self,
        py: Python<'_>,
        reader: u64,
        delivery: &Delivery,
    ) -> PyResult<Py<PyMessage>> {
        if self.settings.ack == Ack::Processed
            && let Some(receipt) = delivery.receipt
        {
            self.open.lock().push((reader, receipt));
        }
        PyMessage::delivered(py, delivery, self.inbox()?)
    }

    fn forget_reader(&self, reader: u64) {
        for (owner, _) in self.open.lock().iter_mut() {
            if *owner == reader {
                *owner = NOBODY;
            }
        }
    }
}

#[pymethods]
impl NativeSubscription {
    /// Subscribes; done when the broker has granted it.
    fn start(&self, py: Python<'_>) -> PyResult<Py<Op>> {
        let client = self.client.get()?.clone();
        self.port.get().check_here(py, "subscription")?;
        let Some(filters) = self.wanted.lock().take() else {
            return Err(PyRuntimeError::new_err(
                "a subscription is started once; call client.subscribe(...) again for another",
            ));
        };
        let grant = Arc::clone(&self.grant);
        let settings = self.settings.clone();
        // To the end: given up half way, nobody would know whether the broker goes on sending.
        Op::spawn_to_the_end(py, self.port.clone_ref(py), async move {
            let subscription = match client.subscribe(filters, settings).await {
                Ok(subscription) => subscription,
                Err(error) => return Outcome::Failed(error.into()),
            };
            // Only this sets it. First set, then asked, as `give_up` does the other way round: one of the two sees it.
            let _ = grant.subscription.set(subscription.clone());
            if grant.is_unwanted.load(Ordering::SeqCst) {
                subscription.inbox.abandon();
                if let Err(error) = client.unsubscribe(&subscription).await {
                    return Outcome::Failed(error.into());
                }
            }
            Outcome::Nothing
        })
    }

    /// Ends what was begun with `start` and not waited for.
    fn give_up(&self) -> PyResult<()> {
        self.grant.is_unwanted.store(true, Ordering::SeqCst);
        if let Some(subscription) = self.grant.subscription.get() {
            let subscription = subscription.clone();
            subscription.inbox.abandon();
            let client = self.client.get()?.clone();
            super::bridge::runtime()?.spawn(async move { client.unsubscribe(&subscription).await });
        }
        Ok(())
    }

    /// Unsubscribes. `is_clean`: everything handed out counts as processed, and what waits is let go; else neither is
    /// acknowledged.
    #[pyo3(signature = (is_clean, user_properties=Vec::new()))]
    fn stop(
        &self,
        py: Python<'_>,
        is_clean: bool,
        user_properties: Vec<(String, String)>,
    ) -> PyResult<Py<Op>> {
        let user_properties = options::user_properties(user_properties);
        let client = self.client.get()?.clone();
        let inbox = Arc::clone(self.inbox()?);
        let open = std::mem::take(&mut *self.open.lock());
        if is_clean {
            self.acknowledge(open.into_iter().map(|(_, receipt)| receipt).collect())?;
        } else {
            inbox.abandon();
        }
        let grant = Arc::clone(&self.grant);
        Op::spawn_to_the_end(py, self.port.clone_ref(py), async move {
            let Some(subscription) = grant.subscription.get() else {
                return Unsubscribed::default().into();
            };
            let outcome = match client.unsubscribe_with(subscription, user_properties).await {
                Ok(unsubscribed) => unsubscribed.into(),
                Err(error @ ClientError::UnsubscribeRefused { .. }) if is_clean => {
                    Outcome::Failed(error.into())
                }
                // Where the client has ended, there is nothing left to unsubscribe from, and whoever read has heard why.
                Err(_) => Unsubscribed::default().into(),
            };
            if is_clean {
                // Unacknowledged for good, they would use up the window of all other subscriptions.
                let mut rest = VecDeque::new();
                while let Taken::Some(_) = inbox.take(&mut rest, 256, None) {
                    for receipt in rest.drain(..).filter_map(|delivery| delivery.receipt) {
                        inbox.processed(receipt, ReasonCode::Success);
                    }
                }
            }
            outcome
        })
    }

    /// A reader with a place of its own: what it is handed is its own to process. `max`: read lists of so many.
    /// `is_loop`: its end is that of an `async for`, and not an error.
    #[pyo3(signature = (max=None, *, is_loop=true))]
    fn reader(slf: Py<Self>, max: Option<usize>, is_loop: bool) -> Reader {
        let id = slf.get().readers.fetch_add(1, Ordering::Relaxed);
        Reader {
            waker: Waker::from(Arc::clone(&slf.get().waiters)),
            subscription: slf,
            id,
            max,
            is_loop,
            settles: true,
            run: Mutex::default(),
        }
    }

    #[getter]
    fn pending(&self) -> PyResult<usize> {
        Ok(self.inbox()?.pending())
    }

    #[getter]
    fn dropped(&self) -> PyResult<u64> {
        Ok(self.inbox()?.dropped())
    }

    /// The filters with the QoS that was granted.
    #[getter]
    fn granted(&self, py: Python<'_>) -> PyResult<Vec<(String, Py<PyAny>)>> {
        self.inbox()?;
        let Some(subscription) = self.grant.subscription.get() else {
            return Ok(Vec::new());
        };
        subscription
            .granted
            .iter()
            .map(|(filter, options)| {
                Ok((
                    filter.clone(),
                    super::errors::qos(py, options.qos)?.unbind(),
                ))
            })
            .collect()
    }

    /// What the broker added to its answer: words, names and values.
    #[getter]
    fn answer<'py>(&self, py: Python<'py>) -> PyResult<(Option<&str>, Bound<'py, PyTuple>)> {
        self.inbox()?;
        let subscription = self.grant.subscription.get();
        match subscription.and_then(|it| it.properties.as_deref()) {
            Some(properties) => {
                let own = pairs(py, &properties.user_properties)?;
                Ok((properties.reason_string.as_deref(), own))
            }
            None => Ok((None, PyTuple::empty(py))),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.port)?;
        self.waiters.traverse(&visit)
    }

    fn __clear__(&self) {
        self.waiters.clear();
    }
}

/// What a reader awaits: one object for all its messages, without a state of its own, so that cancelling loses nothing.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct Reader {
    subscription: Py<NativeSubscription>,
    id: u64,
    max: Option<usize>,
    /// Whether asking says that what was handed out before is processed.
    settles: bool,
    is_loop: bool,
    waker: Waker,
    run: Mutex<Run>,
}

enum Step {
    Messages(VecDeque<Delivery>),
    Wait,
    Ended,
}

impl Reader {
    fn look(&self, py: Python<'_>, waker: Option<&Waker>) -> PyResult<Step> {
        let mut taken = VecDeque::new();
        let inbox = self.subscription.get().inbox()?;
        match inbox.take(&mut taken, self.max.unwrap_or(1), waker) {
            Taken::Some(_) => Ok(Step::Messages(taken)),
            Taken::Waiting => Ok(Step::Wait),
            Taken::Ended => Ok(Step::Ended),
            Taken::Failed(error) => Err(Failure::from(error).to_py(py)),
        }
    }

    fn hand_out(&self, py: Python<'_>, taken: &VecDeque<Delivery>) -> PyResult<Py<PyAny>> {
        let subscription = self.subscription.get();
        if self.max.is_none()
            && let Some(delivery) = taken.front()
        {
            return Ok(subscription.hand_out(py, self.id, delivery)?.into_any());
        }
        let messages = PyList::empty(py);
        for delivery in taken {
            messages.append(subscription.hand_out(py, self.id, delivery)?)?;
        }
        Ok(messages.into_any().unbind())
    }
}

#[pymethods]
impl Reader {
    fn __aiter__(slf: PyRef<'_, Self>) -> Cursor {
        Cursor { reader: slf.into() }
    }

    fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let subscription = self.subscription.get();
        if self.settles {
            subscription.settle(self.id)?;
        }
        if self.run.lock().must_yield() {
            return Ok(py.None());
        }
        let step = match self.look(py, None)? {
            Step::Wait => {
                subscription.port.get().check_here(py, "subscription")?;
                let future = subscription.waiters.add(subscription.port.get(), py)?;
                match self.look(py, Some(&self.waker)) {
                    Ok(Step::Wait) => {
                        self.run.lock().rest();
                        return Ok(future.unbind());
                    }
                    other => {
                        subscription.waiters.remove(&future);
                        other?
                    }
                }
            }
            other => other,
        };
        match step {
            Step::Messages(taken) => Err(PyStopIteration::new_err((self.hand_out(py, &taken)?,))),
            Step::Ended | Step::Wait if self.is_loop => Err(PyStopAsyncIteration::new_err(())),
            Step::Ended | Step::Wait => Err(Failure::Closed.to_py(py)),
        }
    }

    fn send(&self, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.__next__(value.py())
    }

    #[pyo3(signature = (kind, value=None, traceback=None))]
    #[expect(clippy::unused_self, reason = "a method of the coroutine protocol")]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Err(super::bridge::thrown(kind, value, traceback))
    }

    #[expect(clippy::unused_self, reason = "a method of the coroutine protocol")]
    fn close(&self) {}

    /// The same reader, asking for so many more without being done with those before.
    fn more(&self, py: Python<'_>, max: usize) -> Self {
        Self {
            subscription: self.subscription.clone_ref(py),
            id: self.id,
            max: Some(max),
            is_loop: self.is_loop,
            settles: false,
            waker: self.waker.clone(),
            run: Mutex::default(),
        }
    }

    /// What is there now, without waiting.
    fn now(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.subscription.get().settle(self.id)?;
        match self.look(py, None)? {
            Step::Messages(taken) => self.hand_out(py, &taken).map(Some),
            Step::Wait => Ok(None),
            Step::Ended => Err(Failure::Closed.to_py(py)),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.subscription)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.settles {
            self.subscription.get().forget_reader(self.id);
        }
    }
}

/// What `async for` steps through. Apart from the reader, so that a reader cannot be looped over by accident.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct Cursor {
    reader: Py<Reader>,
}

#[pymethods]
impl Cursor {
    fn __aiter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __anext__(&self, py: Python<'_>) -> Py<Reader> {
        self.reader.clone_ref(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.reader)
    }
}
