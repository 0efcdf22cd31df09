//! The native half of `rmqtt.Subscription`: taking messages, waiting for them, and acknowledging what was processed.
//!
//! Messages are taken from the inbox one at a time, and not a batch ahead: so the bounds and overflow policies of the
//! inbox mean what they say (`latest` hands out the newest), and what was not handed out stays unacknowledged there.
//!
//! With `ack="processed"` a message handed to a reader is *open* until that reader asks for the next one. What a reader
//! leaves open when it goes (a `break`) counts as processed when the program asks the subscription for more, or leaves
//! its block cleanly. A block left by an exception abandons what is open and what waits: see [`Inbox::abandon`].
//! How it gets other filters is in [`updates`].

mod updates;

use super::bridge::{LoopPort, Op, Waiters, block_to_the_end};
use super::errors::{Failure, pairs};
use super::message::PyMessage;
use super::options::{self, Given, UpdateArguments, Wanted};
use super::outcome::Outcome;
use super::reader::Reader;
use crate::client::{
    Ack, Client, ClientError, Delivery, DeliveryReceipt, Inbox, Subscription, SubscriptionSettings,
    Taken, Unsubscribed,
};
use crate::codec::ReasonCode;
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;
use updates::Filtering;

/// Of a reader that is no more.
const NOBODY: u64 = 0;

/// What the network's side fills in.
#[derive(Default)]
struct Grant {
    subscription: OnceLock<Subscription>,
    /// The same after an update.
    updated: Mutex<Option<Subscription>>,
    /// Nobody wants it any more: end it as soon as it is granted.
    is_unwanted: AtomicBool,
}

/// The event loop of a subscription, and who waits there.
pub(super) struct Home {
    pub(super) port: Py<LoopPort>,
    pub(super) waiters: Arc<Waiters>,
}

/// The native half of a subscription.
#[pyclass(frozen, weakref, module = "rmqtt._rmqtt")]
pub(crate) struct NativeSubscription {
    client: super::bridge::ForkSafe<Client>,
    /// Where it is waited for; `None`: where it is used, without an event loop.
    home: Option<Home>,
    is_started: AtomicBool,
    filtering: Arc<Filtering>,
    settings: SubscriptionSettings,
    grant: Arc<Grant>,
    /// Handed out and not acknowledged, by reader.
    open: Mutex<Vec<(u64, DeliveryReceipt)>>,
    readers: AtomicU64,
}

impl NativeSubscription {
    pub(crate) fn new(client: Client, port: Option<Py<LoopPort>>, wanted: Wanted) -> Self {
        let home = port.map(|port| Home {
            waiters: Waiters::new(port.get().shared()),
            port,
        });
        Self {
            client: super::bridge::ForkSafe::new(client),
            home,
            is_started: AtomicBool::new(false),
            filtering: Arc::new(Filtering::new(wanted.filters, wanted.options)),
            settings: wanted.settings,
            grant: Arc::default(),
            open: Mutex::default(),
            readers: AtomicU64::new(NOBODY + 1),
        }
    }

    pub(super) fn inbox(&self) -> PyResult<&Arc<Inbox>> {
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
    pub(super) fn settle(&self, reader: u64) -> PyResult<()> {
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
        self.acknowledge(&settled)
    }

    pub(super) fn home(&self) -> PyResult<&Home> {
        self.home.as_ref().ok_or_else(|| {
            PyRuntimeError::new_err("a subscription without an event loop cannot be awaited")
        })
    }

    /// Subscribes, once.
    fn starting(&self) -> PyResult<impl Future<Output = Result<(), ClientError>> + Send + use<>> {
        let client = self.client.get()?.clone();
        if self.is_started.swap(true, Ordering::Relaxed) {
            return Err(PyRuntimeError::new_err(
                "a subscription is started once; call client.subscribe(...) again for another",
            ));
        }
        let filters = self.filtering.wanted();
        let grant = Arc::clone(&self.grant);
        let settings = self.settings.clone();
        Ok(async move {
            let subscription = client.subscribe(filters, settings).await?;
            // Only this sets it. First set, then asked, as `give_up` does the other way round: one of the two sees it.
            let _ = grant.subscription.set(subscription.clone());
            if grant.is_unwanted.load(Ordering::SeqCst) {
                subscription.inbox.abandon();
                client.unsubscribe(&subscription).await?;
            }
            Ok(())
        })
    }

    /// Unsubscribes; see [`NativeSubscription::stop`].
    fn stopping(
        &self,
        is_clean: bool,
        user_properties: Vec<(String, String)>,
    ) -> PyResult<impl Future<Output = Outcome> + Send + use<>> {
        let user_properties = options::user_properties(user_properties);
        let client = self.client.get()?.clone();
        let inbox = Arc::clone(self.inbox()?);
        let open = std::mem::take(&mut *self.open.lock());
        if is_clean {
            let open: Vec<_> = open.into_iter().map(|(_, receipt)| receipt).collect();
            self.acknowledge(&open)?;
        } else {
            inbox.abandon();
        }
        let grant = Arc::clone(&self.grant);
        Ok(async move {
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

    fn acknowledge(&self, receipts: &[DeliveryReceipt]) -> PyResult<()> {
        self.inbox()?.all_processed(receipts);
        Ok(())
    }

    pub(super) fn hand_out(
        &self,
        py: Python<'_>,
        inbox: &Arc<Inbox>,
        reader: u64,
        delivery: &Delivery,
    ) -> PyResult<Py<PyMessage>> {
        if self.settings.ack == Ack::Processed
            && let Some(receipt) = delivery.receipt
        {
            self.open.lock().push((reader, receipt));
        }
        PyMessage::delivered(py, delivery, inbox, &self.filtering.topics)
    }

    pub(super) fn forget_reader(&self, reader: u64) {
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
        let port = &self.home()?.port;
        port.get().check_here(py, "subscription")?;
        let starting = self.starting()?;
        // To the end: given up half way, nobody would know whether the broker goes on sending.
        Op::spawn_to_the_end(py, port.clone_ref(py), async move { starting.await.into() })
    }

    /// Subscribes, and waits here. What fails or is interrupted has to be given up.
    #[pyo3(signature = (timeout=None))]
    fn start_blocking(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let limit = options::limit(timeout)?;
        wait(py, "subscribe", limit, self.starting()?)
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
        let port = self.home()?.port.clone_ref(py);
        Op::spawn_to_the_end(py, port, self.stopping(is_clean, user_properties)?)
    }

    /// Ends it on this side alone: the broker keeps it, and what is not acknowledged comes again when the session is
    /// resumed. `is_clean`: everything handed out counts as processed.
    fn keep(&self, is_clean: bool) -> PyResult<()> {
        let open = std::mem::take(&mut *self.open.lock());
        if is_clean {
            let open: Vec<_> = open.into_iter().map(|(_, receipt)| receipt).collect();
            self.acknowledge(&open)?;
        }
        self.inbox()?.keep();
        Ok(())
    }

    /// The same, waiting here. What takes longer than `timeout` goes on by itself.
    #[pyo3(signature = (is_clean, user_properties=Vec::new(), timeout=None))]
    fn stop_blocking(
        &self,
        py: Python<'_>,
        is_clean: bool,
        user_properties: Vec<(String, String)>,
        timeout: Option<f64>,
    ) -> PyResult<Py<PyAny>> {
        let limit = options::limit(timeout)?;
        let stopping = self.stopping(is_clean, user_properties)?;
        let closed = Outcome::Failed(Failure::Closed);
        match block_to_the_end(py, limit, stopping, closed)? {
            Some(outcome) => outcome.to_py(py),
            None => Err(Failure::timed_out("unsubscribe", limit).to_py(py)),
        }
    }

    /// A reader with a place of its own: what it is handed is its own to process. `max`: read lists of so many.
    /// `is_loop`: its end is that of an `async for`, and not an error.
    #[pyo3(signature = (max=None, *, is_loop=true))]
    fn reader(slf: Py<Self>, max: Option<usize>, is_loop: bool) -> Reader {
        let id = slf.get().readers.fetch_add(1, Ordering::Relaxed);
        let home = slf.get().home.as_ref();
        let waker = home.map(|home| Waker::from(Arc::clone(&home.waiters)));
        Reader::new(slf, id, waker, max, is_loop)
    }

    fn latest(&self, py: Python<'_>) -> PyResult<Option<Py<PyMessage>>> {
        let inbox = self.inbox()?;
        let newest = inbox.newest();
        newest
            .map(|delivery| PyMessage::delivered(py, &delivery, inbox, &self.filtering.topics))
            .transpose()
    }

    #[getter]
    fn pending(&self) -> PyResult<usize> {
        Ok(self.inbox()?.pending())
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyDict>> {
        super::stats::inbox_fields(py, &self.inbox()?.stats())
    }

    #[getter]
    fn dropped(&self) -> PyResult<u64> {
        Ok(self.inbox()?.dropped())
    }

    /// The filters with the QoS that was granted.
    #[getter]
    fn granted(&self, py: Python<'_>) -> PyResult<Vec<(String, Py<PyAny>)>> {
        self.inbox()?;
        let Some(subscription) = self.granted_now() else {
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

    /// What the broker added to its latest answer: words, names and values.
    #[getter]
    fn answer<'py>(&self, py: Python<'py>) -> PyResult<(Option<String>, Bound<'py, PyTuple>)> {
        self.inbox()?;
        match self.granted_now().and_then(|it| it.properties) {
            Some(properties) => {
                let own = pairs(py, &properties.user_properties)?;
                Ok((properties.reason_string.map(|it| it.to_string()), own))
            }
            None => Ok((None, PyTuple::empty(py))),
        }
    }

    /// The filters that hold, as they were given.
    #[getter]
    fn filters(&self) -> Vec<String> {
        self.filtering.texts()
    }

    /// Gives it other filters.
    fn update(
        &self,
        py: Python<'_>,
        filters: Vec<Bound<'_, PyAny>>,
        arguments: Given<UpdateArguments>,
    ) -> PyResult<Py<Op>> {
        let port = self.home()?.port.clone_ref(py);
        let updating = self.updating(py, filters, arguments.0)?;
        // To the end: given up half way, nobody would know which filters hold.
        Op::spawn_to_the_end(py, port, async move { updating.await.into() })
    }

    /// The same, waiting here. What takes longer than `timeout` goes on by itself.
    #[pyo3(signature = (filters, arguments, timeout=None))]
    fn update_blocking(
        &self,
        py: Python<'_>,
        filters: Vec<Bound<'_, PyAny>>,
        arguments: Given<UpdateArguments>,
        timeout: Option<f64>,
    ) -> PyResult<()> {
        let limit = options::limit(timeout)?;
        wait(
            py,
            "update",
            limit,
            self.updating(py, filters, arguments.0)?,
        )
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match &self.home {
            Some(home) => {
                visit.call(&home.port)?;
                home.waiters.traverse(&visit)
            }
            None => Ok(()),
        }
    }

    fn __clear__(&self) {
        if let Some(home) = &self.home {
            home.waiters.clear();
        }
    }
}

/// Waits here for what the broker says to it.
fn wait(
    py: Python<'_>,
    what: &'static str,
    limit: Option<Duration>,
    asking: impl Future<Output = Result<(), ClientError>> + Send + 'static,
) -> PyResult<()> {
    match block_to_the_end(py, limit, asking, Err(ClientError::Closed))? {
        Some(outcome) => outcome.map_err(|error| Failure::from(error).to_py(py)),
        None => Err(Failure::timed_out(what, limit).to_py(py)),
    }
}
