//! The words of a breakdown: what codes and properties mean, in half a line each.

use super::super::properties::Id;
use super::super::{PacketType, ReasonCode};

/// What a reason code says in this kind of packet.
pub(super) fn reason_meaning(reason: ReasonCode, packet_type: PacketType) -> &'static str {
    match (reason, packet_type) {
        (ReasonCode::Success, PacketType::Disconnect) => "normal disconnection",
        (ReasonCode::Success, PacketType::SubAck) => "granted QoS 0",
        _ => reason.name(),
    }
}

/// What a return code of a CONNACK of 3.1.1 says.
pub(super) fn return_code_meaning(code: u8) -> &'static str {
    match code {
        0 => "accepted",
        1 => "refused: the protocol level is not supported",
        2 => "refused: the client identifier is not allowed",
        3 => "refused: the server is unavailable",
        4 => "refused: bad user name or password",
        5 => "refused: not authorized",
        _ => "reserved",
    }
}

pub(super) fn property_meaning(id: Id) -> &'static str {
    match id {
        Id::PayloadFormatIndicator => "0: the payload is bytes; 1: it is UTF-8 text",
        Id::MessageExpiryInterval => "seconds for which the message is of use",
        Id::ContentType => "what the payload is, usually a MIME type",
        Id::ResponseTopic => "where an answer is expected",
        Id::CorrelationData => "tells the asker which question an answer belongs to",
        Id::SubscriptionIdentifier => "the subscriber's number for a subscription",
        Id::SessionExpiryInterval => "seconds for which the session outlives the connection",
        Id::AssignedClientIdentifier => "the client identifier that the server chose",
        Id::ServerKeepAlive => "the keep alive to use instead of the client's, in seconds",
        Id::AuthenticationMethod => "the mechanism of the enhanced authentication",
        Id::AuthenticationData => "the mechanism's own bytes",
        Id::RequestProblemInformation => "1: reason strings and user properties are welcome",
        Id::WillDelayInterval => "seconds to wait for the client's return before the will",
        Id::RequestResponseInformation => "1: response information is wanted",
        Id::ResponseInformation => "what to build response topics from",
        Id::ServerReference => "another server to use",
        Id::ReasonString => "for people and logs",
        Id::ReceiveMaximum => "QoS 1 and 2 messages that may be unacknowledged at a time",
        Id::TopicAliasMaximum => "the highest topic alias that is taken",
        Id::TopicAlias => "stands for the topic on this connection",
        Id::MaximumQoS => "the highest QoS that the server takes",
        Id::RetainAvailable => "1: the server keeps retained messages",
        Id::UserProperty => "the application's own name and value",
        Id::MaximumPacketSize => "the largest packet that is taken, in bytes",
        Id::WildcardSubscriptionAvailable => "1: filters may have wildcards",
        Id::SubscriptionIdentifiersAvailable => "1: subscriptions may have identifiers",
        Id::SharedSubscriptionAvailable => "1: subscriptions may be shared",
    }
}
