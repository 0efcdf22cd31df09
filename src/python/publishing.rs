//! Publishing: from what Python says to a message in the client's outbound queue, and to what is returned for it.

use super::bridge::{LoopPort, Op, Remote, within};
use super::client::{NativeClient, timed_out};
use super::errors::Failure;
use super::options::{self, Given, PropertyArguments};
use super::outcome::Outcome;
use super::payload;
use crate::client::{Client, ClientError, Rouse, TryPublish};
use crate::message::{Message, MessageProperties, QoS};
use crate::topic::TopicName;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use std::sync::Arc;
use std::time::Duration;

/// What a publish was given.
pub(super) struct Asked<'a, 'py> {
    pub(super) topic: &'a Bound<'py, PyString>,
    pub(super) payload: &'a Bound<'py, PyAny>,
    pub(super) qos: i64,
    pub(super) retain: bool,
    pub(super) extra: Option<Given<Extra>>,
}

/// Of a publish: what is rarely given.
#[derive(FromPyObject)]
pub(crate) struct Extra {
    #[pyo3(item)]
    timeout: Option<f64>,
    #[pyo3(item)]
    properties: PropertyArguments,
}

/// What is done where the outbound queue has no room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenFull {
    Wait,
    Raise,
}

/// Where a publish is waited for, and for how long.
struct Waiter {
    port: Py<LoopPort>,
    rouse: Rouse,
    when_full: WhenFull,
    limit: Option<Duration>,
}

impl Waiter {
    fn op(&self, py: Python<'_>) -> PyResult<(Py<Op>, Remote)> {
        let port = self.port.clone_ref(py);
        match self.limit {
            None => Op::new(py, port),
            Some(limit) => Op::with_limit(py, port, limit, timed_out("publish", limit)),
        }
    }
}

impl Asked<'_, '_> {
    /// As `message`, to the topic that was asked for.
    pub(super) fn whole_message(self, speaks_v5: bool) -> PyResult<(Message, Option<Duration>)> {
        let name = TopicName::new(self.topic.to_cow()?.as_ref())
            .map_err(|error| options::topic_error(error, self.topic.py()))?;
        self.message(name, speaks_v5)
    }

    /// The message, and how long it may take.
    pub(super) fn message(
        self,
        topic: TopicName,
        speaks_v5: bool,
    ) -> PyResult<(Message, Option<Duration>)> {
        let py = self.payload.py();
        let given = payload::take(self.payload)?;
        let is_text = given.is_text && speaks_v5;
        let (limit, properties) = match self.extra {
            Some(Given(extra)) => extra.read(is_text, py)?,
            None => (None, is_text.then(options::text_properties)),
        };
        let message = Message {
            topic,
            payload: given.bytes,
            qos: options::qos(self.qos)?,
            retain: self.retain,
            properties,
        };
        Ok((message, limit))
    }
}

impl Extra {
    fn read(
        self,
        is_text: bool,
        py: Python<'_>,
    ) -> PyResult<(Option<Duration>, Option<Arc<MessageProperties>>)> {
        let limit = options::limit(self.timeout)?;
        Ok((limit, self.properties.read(is_text, py)?))
    }
}

impl NativeClient {
    /// Puts a message in, and gives back what to wait for.
    pub(super) fn publish_or(
        slf: &Bound<'_, Self>,
        asked: Asked<'_, '_>,
        when_full: WhenFull,
    ) -> PyResult<Py<PyAny>> {
        let this = slf.get();
        let py = slf.py();
        let client = this.client.get()?;
        let topic = asked.topic.to_cow()?;
        let topic_error = |error| options::topic_error(error, py);
        if asked.qos == 0
            && asked.extra.is_none()
            && let Ok(payload) = asked.payload.cast::<PyBytes>()
        {
            TopicName::check(&topic).map_err(topic_error)?;
            let (port, rouse) = this.open_port(py)?;
            if this.backlog.is_empty()
                && client.try_publish_brief(rouse, &topic, payload.as_bytes(), asked.retain)
            {
                Self::rouse(slf, client, &port, rouse);
                return Ok(this.finished.clone_ref(py).into_any());
            }
        }
        let topic = TopicName::new(topic.as_ref()).map_err(topic_error)?;
        let (message, limit) = asked.message(topic, this.speaks_v5())?;
        let (port, rouse) = this.open_port(py)?;
        let waiter = Waiter {
            port,
            rouse,
            when_full,
            limit,
        };
        let published = this.publish_now(py, client, &waiter, message)?;
        Self::rouse(slf, client, &waiter.port, rouse);
        Ok(published)
    }

    /// Publishes a request, and gives back what to wait for.
    pub(super) fn ask(slf: &Bound<'_, Self>, asked: Asked<'_, '_>) -> PyResult<Py<Op>> {
        let this = slf.get();
        let py = slf.py();
        let client = this.client.get()?.clone();
        let (message, limit) = asked.whole_message(this.speaks_v5())?;
        let (port, _) = this.open_port(py)?;
        // What was published before is on its way before.
        client.rouse();
        Op::spawn(py, port, async move {
            let answer = client.request(message);
            match limit {
                None => answer.await.into(),
                Some(limit) => within(limit, answer)
                    .await
                    .map_or_else(|| timed_out("request", limit), Outcome::from),
            }
        })
    }

    /// The network hears of what was put in: now, or at the end of the loop's turn.
    pub(super) fn rouse(slf: &Bound<'_, Self>, client: &Client, port: &Py<LoopPort>, rouse: Rouse) {
        if rouse == Rouse::Later && !client.is_roused() {
            let flush = || slf.getattr(intern!(slf.py(), "flush"));
            let rouser = &slf.get().rouser;
            if rouser.is_time(port.get(), slf.py(), flush, client.rouser()) {
                client.rouse();
            }
        }
    }

    fn publish_now(
        &self,
        py: Python<'_>,
        client: &Client,
        waiter: &Waiter,
        message: Message,
    ) -> PyResult<Py<PyAny>> {
        let fail = |error: ClientError| Failure::from(error).to_py(py);
        if !self.backlog.is_empty() {
            return self.wait_for_room(py, client, waiter, message);
        }
        if message.qos == QoS::AtMostOnce {
            let put_in = client.try_publish_and(waiter.rouse, message, None);
            return match put_in.map_err(fail)? {
                TryPublish::Queued => Ok(self.finished.clone_ref(py).into_any()),
                TryPublish::Full(message, _) => self.wait_for_room(py, client, waiter, message),
            };
        }
        let (op, remote) = waiter.op(py)?;
        let publisher = Box::new(self.backlog.publisher(remote));
        match client.try_publish_and(waiter.rouse, message, Some(publisher)) {
            Ok(TryPublish::Queued) => Ok(op.into_any()),
            Ok(TryPublish::Full(message, _)) => {
                op.get().disregard();
                self.wait_for_room(py, client, waiter, message)
            }
            Err(error) => {
                op.get().disregard();
                Err(fail(error))
            }
        }
    }

    fn wait_for_room(
        &self,
        py: Python<'_>,
        client: &Client,
        waiter: &Waiter,
        message: Message,
    ) -> PyResult<Py<PyAny>> {
        if waiter.when_full == WhenFull::Raise {
            return Err(Failure::OutboxFull.to_py(py));
        }
        let (op, remote) = waiter.op(py)?;
        let pushed = self.backlog.push(py, client, message, remote);
        if pushed.is_err() {
            op.get().disregard();
        }
        pushed.map(|()| op.into_any())
    }
}
