//! Many messages with one call into native code for each batch of them, and without an operation for each.
//!
//! [`NativeMany`] reads an iterator of Python's, as far as window and queue allow, and says why it stopped. What the
//! network's side answers is counted in [`Tally`], which whoever waits shares with it; nothing of Python is in there.

use super::bridge::{LoopPort, Op, Remote, Run};
use super::client::NativeClient;
use super::errors::Failure;
use super::options::{self, Given};
use super::outcome::Outcome;
use super::publishing::{Asked, Extra};
use crate::client::{Answer, Client, ClientError, Done, Published, Rouse, TryPublish};
use crate::message::{Message, QoS};
use crate::topic::TopicName;
use parking_lot::Mutex;
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyString, PyTuple};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// So many failures are told one by one; all are counted.
const FAILURES_MAX: usize = 1000;

/// What became of the messages so far.
#[derive(Default)]
struct Counts {
    /// With the network, and not settled.
    open: usize,
    published: u64,
    failed: u64,
    /// By place in the iterable.
    failures: Vec<(u64, Failure)>,
    /// Who waits until no more than so many are open.
    waits: Option<(usize, Remote)>,
}

#[derive(Default)]
struct Tally {
    counts: Mutex<Counts>,
    /// Nobody waits any more: what is not on its way need not be sent.
    is_given_up: AtomicBool,
}

impl Tally {
    fn settle(&self, place: u64, outcome: Result<Published, ClientError>) {
        let woken = {
            let mut counts = self.counts.lock();
            counts.open -= 1;
            match outcome {
                Ok(_) => counts.published += 1,
                Err(error) => counts.fail(place, error.into()),
            }
            let open = counts.open;
            counts.waits.take_if(|(below, _)| open <= *below)
        };
        if let Some((_, remote)) = woken {
            remote.complete(Outcome::Nothing);
        }
    }
}

impl Counts {
    fn fail(&mut self, place: u64, failure: Failure) {
        self.failed += 1;
        if self.failures.len() < FAILURES_MAX {
            self.failures.push((place, failure));
        }
    }
}

/// One message of many, for the network's side.
struct Member {
    tally: Arc<Tally>,
    place: u64,
}

impl Answer<Published> for Member {
    fn begins(&self) -> bool {
        !self.tally.is_given_up.load(Ordering::Acquire)
    }

    fn answer(self: Box<Self>, outcome: Result<Published, ClientError>) {
        self.tally.settle(self.place, outcome);
    }
}

/// What only the loop's thread changes.
#[derive(Default)]
struct Progress {
    /// Messages read from the iterable.
    read: u64,
    /// Read, and refused by a queue without room.
    held_back: Option<(u64, Message)>,
    /// What could not be sent at all, by place in the iterable.
    refused: Vec<(u64, Py<PyAny>)>,
    run: Run,
    /// The last topic, as it came and as it is sent: mostly it is the next one too.
    topic: Option<(Py<PyString>, TopicName)>,
}

/// The native half of `Client.publish_many`.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct NativeMany {
    client: Py<NativeClient>,
    port: Py<LoopPort>,
    qos: QoS,
    window: usize,
    tally: Arc<Tally>,
    progress: Mutex<Progress>,
}

/// What `rmqtt.Outgoing` has: topic, payload, QoS, retain, and the rest where there is any.
type Parts<'py> = (
    Bound<'py, PyString>,
    Bound<'py, PyAny>,
    i64,
    bool,
    Option<Given<Extra>>,
);

/// Why reading stopped.
enum Stop {
    End,
    Turn,
    Window,
    Full,
}

/// A message, or why it is none.
type Read = Result<Message, PyErr>;

#[pymethods]
impl NativeMany {
    #[new]
    fn new(py: Python<'_>, client: Py<NativeClient>, qos: i64, window: usize) -> PyResult<Self> {
        let (port, _) = client.get().open_port(py)?;
        Ok(Self {
            client,
            port,
            qos: options::qos(qos)?,
            window,
            tally: Arc::default(),
            progress: Mutex::default(),
        })
    }

    /// Reads messages and sends them, until the iterator ends (`"end"`), other tasks should have a turn (`"turn"`), as many
    /// are open as may (`"window"`), or the outbound queue is full (`"full"`).
    fn feed(&self, items: &Bound<'_, PyIterator>) -> PyResult<&'static str> {
        let py = items.py();
        let client = self.client.get().client.get()?;
        let (port, rouse) = self.client.get().open_port(py)?;
        let stop = self.read_on(client, rouse, items);
        NativeClient::rouse(self.client.bind(py), client, &port, rouse);
        Ok(match stop? {
            Stop::End => "end",
            Stop::Turn => "turn",
            Stop::Window => "window",
            Stop::Full => "full",
        })
    }

    /// Waits until no more than so many are open.
    fn below(&self, py: Python<'_>, open: usize) -> PyResult<Py<Op>> {
        let (op, remote) = Op::new(py, self.port.clone_ref(py))?;
        self.progress.lock().run.rest();
        let done = {
            let mut counts = self.tally.counts.lock();
            if counts.open <= open {
                Some(remote)
            } else {
                let before = counts.waits.replace((open, remote));
                before.map(|(_, remote)| remote)
            }
        };
        if let Some(remote) = done {
            remote.complete(Outcome::Nothing);
        }
        Ok(op)
    }

    /// Waits for room in the outbound queue.
    fn room(&self, py: Python<'_>) -> PyResult<Py<Op>> {
        let client = self.client.get().client.get()?.clone();
        let passed = self.client.get().backlog.passed();
        self.progress.lock().run.rest();
        Op::spawn(py, self.port.clone_ref(py), async move {
            passed.await;
            client.room().await.into()
        })
    }

    /// Nobody waits any more: what is not on its way need not be sent.
    fn give_up(&self) {
        self.tally.is_given_up.store(true, Ordering::Release);
    }

    /// Messages settled, well or not.
    #[getter]
    fn settled(&self) -> u64 {
        let counts = self.tally.counts.lock();
        counts.published + counts.failed
    }

    /// Messages published, messages failed, and the failures by place in the iterable.
    fn result<'py>(&self, py: Python<'py>) -> PyResult<(u64, u64, Bound<'py, PyDict>)> {
        let (published, failed, failures) = {
            let counts = self.tally.counts.lock();
            let failures = counts.failures.clone();
            (counts.published, counts.failed, failures)
        };
        let refused: Vec<(u64, Py<PyAny>)> = {
            let progress = self.progress.lock();
            let refused = progress.refused.iter();
            refused
                .map(|(at, error)| (*at, error.clone_ref(py)))
                .collect()
        };
        let told = failures
            .into_iter()
            .map(|(at, failure)| (at, failure.to_py(py).into_value(py).into_any()));
        let mut errors: Vec<(u64, Py<PyAny>)> = told.chain(refused).collect();
        errors.sort_by_key(|(at, _)| *at);
        errors.truncate(FAILURES_MAX);
        let dict = PyDict::new(py);
        for (at, error) in errors {
            dict.set_item(at, error)?;
        }
        Ok((published, failed, dict))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.client)?;
        visit.call(&self.port)?;
        if let Some(progress) = self.progress.try_lock() {
            for (_, error) in &progress.refused {
                visit.call(error)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        let progress = std::mem::take(&mut *self.progress.lock());
        drop(progress);
    }
}

impl NativeMany {
    fn read_on(
        &self,
        client: &Client,
        rouse: Rouse,
        items: &Bound<'_, PyIterator>,
    ) -> PyResult<Stop> {
        let py = items.py();
        let mut items = items.clone();
        loop {
            if !self.client.get().backlog.is_empty() {
                return Ok(Stop::Full);
            }
            if self.tally.counts.lock().open >= self.window {
                return Ok(Stop::Window);
            }
            let (place, message) = match self.fetch(&mut items)? {
                Ok(next) => next,
                Err(Some(stop)) => return Ok(stop),
                Err(None) => continue,
            };
            if let Some(message) = self.send(py, client, rouse, place, message)? {
                self.progress.lock().held_back = Some((place, message));
                return Ok(Stop::Full);
            }
        }
    }

    /// The next message with its place, or why to stop; or neither, if it is none and that has been noted.
    fn fetch(
        &self,
        items: &mut Bound<'_, PyIterator>,
    ) -> PyResult<Result<(u64, Message), Option<Stop>>> {
        {
            let mut progress = self.progress.lock();
            if let Some(held_back) = progress.held_back.take() {
                return Ok(Ok(held_back));
            }
            if progress.run.must_yield() {
                return Ok(Err(Some(Stop::Turn)));
            }
        }
        // Runs Python, so no lock is held.
        let Some(item) = items.next() else {
            return Ok(Err(Some(Stop::End)));
        };
        let read = self.read(&item?);
        let mut progress = self.progress.lock();
        let place = progress.read;
        progress.read += 1;
        drop(progress);
        match read {
            Ok(message) => Ok(Ok((place, message))),
            Err(error) => {
                self.refuse(items.py(), place, error)?;
                Ok(Err(None))
            }
        }
    }

    /// The item as a message: a pair of topic and payload, or an `rmqtt.Outgoing`.
    fn read(&self, item: &Bound<'_, PyAny>) -> Read {
        let pair = item.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
        let Some(pair) = pair else {
            return self.read_outgoing(item);
        };
        let topic = pair.get_borrowed_item(0)?;
        let payload = pair.get_borrowed_item(1)?;
        let topic = topic.cast::<PyString>().map_err(PyErr::from)?;
        let name = self.topic(&topic)?;
        let asked = Asked {
            topic: &topic,
            payload: &payload,
            qos: self.qos as i64,
            retain: false,
            extra: None,
        };
        Ok(asked.message(name, self.client.get().speaks_v5())?.0)
    }

    fn read_outgoing(&self, item: &Bound<'_, PyAny>) -> Read {
        let Ok(parts) = item.getattr("_parts") else {
            let kind = item.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "publish_many takes (topic, payload) tuples and rmqtt.Outgoing, not {kind}"
            )));
        };
        let (topic, payload, qos, retain, extra): Parts<'_> = parts.call0()?.extract()?;
        let name = self.topic(&topic)?;
        let asked = Asked {
            topic: &topic,
            payload: &payload,
            qos,
            retain,
            extra,
        };
        Ok(asked.message(name, self.client.get().speaks_v5())?.0)
    }

    fn topic(&self, topic: &Bound<'_, PyString>) -> PyResult<TopicName> {
        let py = topic.py();
        if let Some((text, name)) = &self.progress.lock().topic
            && text.is(topic)
        {
            return Ok(name.clone());
        }
        let name = TopicName::new(topic.to_cow()?.as_ref());
        let name = name.map_err(|error| options::topic_error(error, py))?;
        let last = (topic.clone().unbind(), name.clone());
        let before = self.progress.lock().topic.replace(last);
        drop(before);
        Ok(name)
    }

    /// Puts a message in; gives it back where there is no room.
    fn send(
        &self,
        py: Python<'_>,
        client: &Client,
        rouse: Rouse,
        place: u64,
        message: Message,
    ) -> PyResult<Option<Message>> {
        let is_settled = message.qos == QoS::AtMostOnce;
        if !is_settled {
            // Before it can be answered.
            self.tally.counts.lock().open += 1;
        }
        let done = (!is_settled).then(|| -> Done<Published> {
            Box::new(Member {
                tally: Arc::clone(&self.tally),
                place,
            })
        });
        match client.try_publish_and(rouse, message, done) {
            Ok(TryPublish::Queued) => {
                if is_settled {
                    self.tally.counts.lock().published += 1;
                }
                Ok(None)
            }
            // What was not put in nobody answers.
            Ok(TryPublish::Full(message, _)) => {
                self.tally.counts.lock().open -= usize::from(!is_settled);
                Ok(Some(message))
            }
            Err(
                error @ (ClientError::NotSupportedByBroker(_)
                | ClientError::PacketTooLarge { .. }
                | ClientError::OutboxFull
                | ClientError::Misuse(_)),
            ) => {
                let mut counts = self.tally.counts.lock();
                counts.open -= usize::from(!is_settled);
                counts.fail(place, error.into());
                Ok(None)
            }
            Err(error) => {
                self.tally.counts.lock().open -= usize::from(!is_settled);
                Err(Failure::from(error).to_py(py))
            }
        }
    }

    /// Notes what cannot be sent. What is no mere error ends everything.
    fn refuse(&self, py: Python<'_>, place: u64, error: PyErr) -> PyResult<()> {
        if !error.is_instance_of::<PyException>(py) {
            return Err(error);
        }
        self.tally.counts.lock().failed += 1;
        let mut progress = self.progress.lock();
        if progress.refused.len() < FAILURES_MAX {
            progress
                .refused
                .push((place, error.into_value(py).into_any()));
        }
        Ok(())
    }
}
