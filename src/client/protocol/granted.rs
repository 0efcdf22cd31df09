//! What the broker takes on this connection, and the checks that follow from it, made before anything is sent.

use crate::client::ClientError;
use crate::codec::{
    self, ConnAck, Packet, PacketId, ProtocolVersion, Publish, RetainHandling, SubscribeFilter,
};
use crate::message::{Message, QoS};
use crate::topic::TopicFilter;

/// What fixed header, lengths and fixed-size fields of a PUBLISH without properties take, at most.
const PUBLISH_OVERHEAD_MAX: usize = 16;

/// The broker's limits, from its CONNACK; what it does not mention it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four features that a broker has or lacks, as the standard lists them"
)]
pub struct Granted {
    /// What is spoken.
    pub version: ProtocolVersion,
    /// The highest QoS it takes.
    pub maximum_qos: QoS,
    /// Whether it keeps retained messages.
    pub retain: bool,
    /// The largest packet it takes, in bytes; `None`: any.
    pub packet_size_max: Option<usize>,
    /// Whether filters may have wildcards.
    pub wildcards: bool,
    /// Whether subscriptions may have identifiers.
    pub subscription_ids: bool,
    /// Whether filters may be shared.
    pub shared: bool,
}

impl Granted {
    /// Before any CONNACK: nothing is known to be lacking.
    pub(super) fn none(version: ProtocolVersion) -> Self {
        Self {
            version,
            maximum_qos: QoS::ExactlyOnce,
            retain: true,
            packet_size_max: None,
            wildcards: true,
            subscription_ids: version == ProtocolVersion::V5,
            shared: true,
        }
    }

    pub(super) fn by(connack: &ConnAck, version: ProtocolVersion) -> Self {
        let properties = &connack.properties;
        let is_v5 = version == ProtocolVersion::V5;
        Self {
            version,
            maximum_qos: properties.maximum_qos.unwrap_or(QoS::ExactlyOnce),
            retain: properties.retain_available != Some(false),
            packet_size_max: properties
                .maximum_packet_size
                .map(|size| size.get() as usize),
            wildcards: properties.wildcard_subscription_available != Some(false),
            subscription_ids: is_v5 && properties.subscription_identifiers_available != Some(false),
            shared: properties.shared_subscription_available != Some(false),
        }
    }

    /// Whether MQTT 5 is spoken.
    pub fn is_v5(&self) -> bool {
        self.version == ProtocolVersion::V5
    }

    /// Whether a message can be sent at all.
    ///
    /// # Errors
    /// It is too large, or asks for what the broker lacks or the version does not know.
    // spec(5): MQTT-3.2.2-11, MQTT-3.2.2-14, MQTT-3.2.2-15
    pub fn check_publish(&self, message: &Message) -> Result<(), ClientError> {
        if message.qos > self.maximum_qos {
            return Err(ClientError::NotSupportedByBroker(match message.qos {
                QoS::ExactlyOnce => "QoS 2",
                _ => "QoS 1",
            }));
        }
        if message.retain && !self.retain {
            return Err(ClientError::NotSupportedByBroker("retained messages"));
        }
        if message.properties.is_some() {
            self.check_properties(message)?;
        }
        let limit = self.packet_size_max.unwrap_or(codec::PACKET_SIZE_MAX);
        if message.properties.is_none() && message.size() + PUBLISH_OVERHEAD_MAX <= limit {
            return Ok(());
        }
        let size = self.size_of(message)?;
        if size > limit {
            return Err(ClientError::PacketTooLarge { size, limit });
        }
        Ok(())
    }

    /// Whether a message of QoS 0 without properties can be sent, with so many bytes of topic and payload. Says no where
    /// it takes a closer look.
    pub fn takes_brief(&self, bytes: usize, retain: bool) -> bool {
        let limit = self.packet_size_max.unwrap_or(codec::PACKET_SIZE_MAX);
        (self.retain || !retain) && bytes + PUBLISH_OVERHEAD_MAX <= limit
    }

    fn size_of(&self, message: &Message) -> Result<usize, ClientError> {
        let mut publish = Publish::new(message.clone());
        if message.qos != QoS::AtMostOnce {
            publish.packet_id = PacketId::new(1);
        }
        match codec::encoded_size(&Packet::Publish(publish), self.version) {
            Ok(size) => Ok(size),
            Err(codec::EncodeError::TooLarge { size }) => Err(ClientError::PacketTooLarge {
                size,
                limit: codec::PACKET_SIZE_MAX,
            }),
            Err(error) => Err(ClientError::Misuse(error.to_string())),
        }
    }

    /// Under 3.1.1 a message has no properties. One that changes what the message means is refused rather than lost on
    /// the way; that the payload is text is a hint, and left out.
    fn check_properties(&self, message: &Message) -> Result<(), ClientError> {
        if self.version == ProtocolVersion::V5 {
            return Ok(());
        }
        let properties = message.properties();
        let name = if properties.response_topic.is_some() {
            "response_topic"
        } else if properties.correlation_data.is_some() {
            "correlation_data"
        } else if properties.content_type.is_some() {
            "content_type"
        } else if properties.message_expiry_interval.is_some() {
            "message_expiry_interval"
        } else if !properties.user_properties.is_empty() {
            "user_properties"
        } else {
            return Ok(());
        };
        Err(ClientError::Misuse(format!(
            "{name} needs MQTT 5, and this connection speaks 3.1.1"
        )))
    }

    /// Whether a subscription can be asked for.
    ///
    /// # Errors
    /// It has no filter, a filter is no filter, or it asks for what the broker lacks.
    // spec(4): MQTT-3.8.3-3
    // spec(5): MQTT-3.8.3-2, MQTT-3.8.3-4
    pub fn check_subscribe(&self, filters: &[SubscribeFilter]) -> Result<(), ClientError> {
        if filters.is_empty() {
            return Err(ClientError::Misuse(
                "a subscription needs at least one filter".to_owned(),
            ));
        }
        filters.iter().try_for_each(|line| self.check_filter(line))
    }

    fn check_filter(&self, line: &SubscribeFilter) -> Result<(), ClientError> {
        let misuse = |why: &str| ClientError::Misuse(format!("filter '{}': {why}", line.filter));
        let filter =
            TopicFilter::new(line.filter.clone()).map_err(|error| misuse(&error.to_string()))?;
        let options = &line.options;
        if self.version != ProtocolVersion::V5 {
            let is_plain = !options.no_local
                && !options.retain_as_published
                && options.retain_handling == RetainHandling::Always;
            return if is_plain {
                Ok(())
            } else {
                Err(misuse(
                    "no_local, retain_as_published and retain_handling need MQTT 5, and this connection speaks 3.1.1",
                ))
            };
        }
        let shared = filter.share().map_err(|error| misuse(&error.to_string()))?;
        if shared.is_some() && options.no_local {
            return Err(misuse("no_local is not allowed on a shared subscription"));
        }
        if shared.is_some() && !self.shared {
            return Err(ClientError::NotSupportedByBroker("shared subscriptions"));
        }
        if filter.has_wildcard() && !self.wildcards {
            return Err(ClientError::NotSupportedByBroker("wildcard subscriptions"));
        }
        Ok(())
    }
}
