//! The application message: what programs talk of, before and after it is a packet.
//!
//! Owns [`Message`], its [`QoS`] and its MQTT 5 properties. Packet ids, DUP, topic aliases and subscription identifiers
//! belong to one delivery and live in [`crate::codec::Publish`]. Next: [`crate::codec`].

use crate::topic::TopicName;
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use std::sync::Arc;

/// Quality of service: how hard the two ends try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0: sent once, never acknowledged.
    #[default]
    AtMostOnce = 0,
    /// QoS 1: sent until acknowledged.
    AtLeastOnce = 1,
    /// QoS 2: a two-step exchange that delivers exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// The QoS with this number, if it is 0, 1 or 2.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// One name and value of the application's own; the order among several is kept.
pub type UserProperty = (ByteString, ByteString);

/// What MQTT 5 can say about a message beyond topic and payload. All absent under MQTT 3.1.1.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessageProperties {
    /// Whether the payload is said to be UTF-8 text. `None`: nothing said, which means bytes.
    pub payload_is_utf8: Option<bool>,
    /// How long the message is of use, in seconds from when it was published. `None`: for ever.
    pub message_expiry_interval: Option<u32>,
    /// What the payload is, usually a MIME type.
    pub content_type: Option<ByteString>,
    /// Where an answer should be published.
    pub response_topic: Option<TopicName>,
    /// What tells the asker which question an answer belongs to.
    pub correlation_data: Option<Bytes>,
    /// The application's own names and values.
    pub user_properties: Vec<UserProperty>,
}

static NO_PROPERTIES: MessageProperties = MessageProperties {
    payload_is_utf8: None,
    message_expiry_interval: None,
    content_type: None,
    response_topic: None,
    correlation_data: None,
    user_properties: Vec::new(),
};

/// From this size on a payload is large: whoever counts what is held counts it once, and not for each who has it.
pub const LARGE_PAYLOAD: usize = 64 << 10;

/// An application message. Cloning one costs a few reference counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it is published to.
    pub topic: TopicName,
    /// What it says.
    pub payload: Bytes,
    /// How hard to try.
    pub qos: QoS,
    /// Publishing: keep it as the topic's last value. Receiving: it is such a kept value.
    pub retain: bool,
    /// `None` where all are absent, which is usual: read them through [`Message::properties`].
    pub properties: Option<Arc<MessageProperties>>,
}

impl Message {
    /// A message of QoS 0 that is not retained and has no properties.
    pub fn new(topic: TopicName, payload: impl Into<Bytes>) -> Self {
        Self {
            topic,
            payload: payload.into(),
            qos: QoS::AtMostOnce,
            retain: false,
            properties: None,
        }
    }

    /// The same message with another QoS.
    #[must_use]
    pub fn with_qos(self, qos: QoS) -> Self {
        Self { qos, ..self }
    }

    /// The same message, retained or not.
    #[must_use]
    pub fn with_retain(self, retain: bool) -> Self {
        Self { retain, ..self }
    }

    /// The properties, all absent where there are none.
    pub fn properties(&self) -> &MessageProperties {
        self.properties.as_deref().unwrap_or(&NO_PROPERTIES)
    }

    /// The same message in memory of its own. What is kept for long must not pin the read buffer it was cut from.
    #[must_use]
    pub fn compact(&self) -> Self {
        self.compact_into(&mut BytesMut::new())
    }

    /// The same, with topic and payload in memory that is shared with the messages made before: `room`, which must be empty.
    pub(crate) fn compact_into(&self, room: &mut BytesMut) -> Self {
        let properties = self.properties.as_deref().map(|properties| {
            Arc::new(MessageProperties {
                content_type: properties.content_type.as_ref().map(owned),
                response_topic: properties.response_topic.as_ref().map(TopicName::compact),
                correlation_data: properties
                    .correlation_data
                    .as_ref()
                    .map(|data| Bytes::copy_from_slice(data)),
                user_properties: properties
                    .user_properties
                    .iter()
                    .map(|(name, value)| (owned(name), owned(value)))
                    .collect(),
                ..properties.clone()
            })
        });
        let (topic, payload) = self.topic.compact_with(&self.payload, room);
        Self {
            topic,
            payload,
            properties,
            ..*self
        }
    }

    /// About how many bytes the message holds: topic, payload and properties. Queue bounds count these.
    pub fn size(&self) -> usize {
        let properties = self.properties.as_deref().map_or(0, |properties| {
            properties
                .content_type
                .as_ref()
                .map_or(0, |text| text.len())
                + properties
                    .response_topic
                    .as_ref()
                    .map_or(0, |topic| topic.as_str().len())
                + properties.correlation_data.as_ref().map_or(0, Bytes::len)
                + properties
                    .user_properties
                    .iter()
                    .map(|(name, value)| name.len() + value.len())
                    .sum::<usize>()
        });
        self.topic.as_str().len() + self.payload.len() + properties
    }

    /// [`Message::size`] without a large payload.
    pub fn size_apart(&self) -> usize {
        self.size() - self.large()
    }

    /// The size of the payload, if it is large.
    pub fn large(&self) -> usize {
        let size = self.payload.len();
        if size < LARGE_PAYLOAD { 0 } else { size }
    }
}

fn owned(text: &ByteString) -> ByteString {
    ByteString::from(text.as_ref() as &str)
}
