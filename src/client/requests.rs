//! Requests: a message that asks, and the message that answers it (MQTT 5).
//!
//! Answers come by one subscription for all requests of a client, made with the first, to a topic that no other client
//! has; which request one belongs to, its correlation data says. What answers nothing that is asked is dropped: it is
//! late, or not for us. One short lock; a request that is given up takes its place in the table with it.

use super::{Ack, Client, ClientError, Delivery, Inbox, SubscriptionSettings, Taken};
use crate::codec::{
    ProtocolVersion, ReasonCode, RetainHandling, SubscribeFilter, SubscriptionOptions,
};
use crate::message::{Message, MessageProperties, QoS};
use crate::topic::TopicName;
use bytes::Bytes;
use bytestring::ByteString;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::{Semaphore, oneshot};

/// Requests of one client that may wait for their answers.
const REQUESTS_MAX: usize = 65_536;
/// Where answers come to, where the broker has no wish.
const ANSWERS: &str = "rmqtt/response";
/// The user property of an answer that says why there is none.
const ERROR_PROPERTY: &str = "rmqtt-error";

type Correlation = [u8; 16];
type Answered = Result<Delivery, ClientError>;

/// What a client has asked, and who waits for it.
pub(super) struct Requests {
    state: Mutex<State>,
    /// One subscribes, the others wait for it.
    opening: Semaphore,
}

#[derive(Default)]
struct State {
    /// Where answers come to, while somebody listens there.
    topic: Option<TopicName>,
    waiting: BTreeMap<Correlation, oneshot::Sender<Answered>>,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            opening: Semaphore::new(1),
        }
    }
}

impl Client {
    /// Publishes a message that asks, and waits for the answer. The response topic and the correlation data are set here.
    /// Dropping the future takes the message back if it is not on its way, and nobody hears of the answer.
    ///
    /// # Errors
    /// As [`Client::publish`] and [`Client::subscribe`]; nobody has subscribed to the topic, where the broker says so; the
    /// answer says that there is none; the connection speaks 3.1.1.
    pub async fn request(&self, message: Message) -> Result<Delivery, ClientError> {
        let requests = &self.shared.requests;
        let (topic, correlation, answer) = loop {
            let topic = requests.open(self).await?;
            if let Some((correlation, answer)) = requests.place(&topic)? {
                break (topic, correlation, answer);
            }
        };
        let _place = Place {
            requests,
            correlation,
        };
        let mut answer = pin!(answer);
        let told = |answer: Result<Answered, _>| answer.unwrap_or(Err(ClientError::Closed));
        let published = tokio::select! {
            biased;
            answer = &mut answer => return told(answer).and_then(said),
            published = self.publish(asking(message, topic, correlation)) => published?,
        };
        if published.reason == ReasonCode::NoMatchingSubscribers {
            return Err(ClientError::RequestFailed {
                reason: Some(published.reason),
                cause: "nobody has subscribed to the topic".to_owned(),
            });
        }
        told(answer.await).and_then(said)
    }
}

impl Requests {
    /// Where answers come to; the first who asks subscribes.
    async fn open(self: &Arc<Self>, client: &Client) -> Result<TopicName, ClientError> {
        let Some(negotiated) = client.negotiated() else {
            return Err(ClientError::NotConnected);
        };
        if negotiated.version != ProtocolVersion::V5 {
            return Err(ClientError::NotSupportedByBroker(
                "requests: they need MQTT 5, and this connection speaks 3.1.1",
            ));
        }
        // It is never closed.
        let _turn = self.opening.acquire().await;
        if let Some(topic) = &self.state.lock().topic {
            return Ok(topic.clone());
        }
        let topic = answers_topic(
            negotiated
                .connack
                .properties
                .response_information
                .as_deref(),
        )?;
        let filter = SubscribeFilter {
            filter: ByteString::from(topic.as_str()),
            options: SubscriptionOptions {
                qos: QoS::ExactlyOnce,
                retain_handling: RetainHandling::Never,
                ..SubscriptionOptions::default()
            },
        };
        let settings = SubscriptionSettings {
            ack: Ack::Received,
            ..SubscriptionSettings::default()
        };
        let subscription = client.subscribe(vec![filter], settings).await?;
        self.state.lock().topic = Some(topic.clone());
        tokio::spawn(Arc::clone(self).hand_out(subscription.inbox));
        Ok(topic)
    }

    /// A place in the table; `None`: nobody listens there any more.
    fn place(
        &self,
        topic: &TopicName,
    ) -> Result<Option<(Correlation, oneshot::Receiver<Answered>)>, ClientError> {
        let correlation = random()?;
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        if state.topic.as_ref() != Some(topic) {
            return Ok(None);
        }
        if state.waiting.len() >= REQUESTS_MAX {
            return Err(ClientError::QueueFull);
        }
        state.waiting.insert(correlation, sender);
        Ok(Some((correlation, receiver)))
    }

    /// Gives each answer to who waits for it, until no more come.
    async fn hand_out(self: Arc<Self>, inbox: Arc<Inbox>) {
        let mut answers = VecDeque::new();
        let end = loop {
            let taken =
                poll_fn(
                    |context| match inbox.take(&mut answers, 256, Some(context.waker())) {
                        Taken::Waiting => Poll::Pending,
                        taken => Poll::Ready(taken),
                    },
                );
            match taken.await {
                Taken::Failed(error) => break error,
                Taken::Ended => break ClientError::Closed,
                Taken::Some(_) | Taken::Waiting => {}
            }
            for answer in answers.drain(..) {
                self.hand_over(answer);
            }
        };
        let waiting = {
            let mut state = self.state.lock();
            state.topic = None;
            std::mem::take(&mut state.waiting)
        };
        for (_, sender) in waiting {
            // Who has gone away does not need the outcome.
            let _ = sender.send(Err(end.clone()));
        }
    }

    fn hand_over(&self, answer: Delivery) {
        let correlation = answer.message.properties().correlation_data.as_deref();
        let Some(Ok(correlation)) = correlation.map(Correlation::try_from) else {
            return;
        };
        let sender = self.state.lock().waiting.remove(&correlation);
        if let Some(sender) = sender {
            let _ = sender.send(Ok(answer));
        }
    }
}

/// The place of one request in the table.
struct Place<'a> {
    requests: &'a Requests,
    correlation: Correlation,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.requests.state.lock().waiting.remove(&self.correlation);
    }
}

/// The message with where to answer it.
fn asking(mut message: Message, topic: TopicName, correlation: Correlation) -> Message {
    let properties = message.properties.take();
    message.properties = Some(Arc::new(MessageProperties {
        response_topic: Some(topic),
        correlation_data: Some(Bytes::copy_from_slice(&correlation)),
        ..properties.map(Arc::unwrap_or_clone).unwrap_or_default()
    }));
    message
}

/// An answer, or what it says of why there is none.
fn said(answer: Delivery) -> Answered {
    let properties = &answer.message.properties().user_properties;
    match properties.iter().find(|(name, _)| name == ERROR_PROPERTY) {
        None => Ok(answer),
        Some((_, cause)) => Err(ClientError::RequestFailed {
            reason: None,
            cause: cause.to_string(),
        }),
    }
}

/// A topic of our own, below what the broker wishes.
fn answers_topic(wish: Option<&str>) -> Result<TopicName, ClientError> {
    let base = wish.map_or(ANSWERS, |wish| wish.trim_end_matches('/'));
    let mut topic = format!("{base}/");
    for byte in random()? {
        // Writing into a string cannot fail.
        let _ = write!(topic, "{byte:02x}");
    }
    TopicName::new(topic).map_err(|error| ClientError::Protocol {
        what: format!("no topic can begin with its response information: {error}"),
        clause: "MQTT 5, 3.2.2.3.15".to_owned(),
        reason: ReasonCode::ProtocolError,
    })
}

/// Nobody guesses it.
fn random() -> Result<Correlation, ClientError> {
    let mut bytes = Correlation::default();
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(ClientError::Misuse(format!(
            "the system has no random numbers: {error}"
        ))),
    }
}
