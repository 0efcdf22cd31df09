//! CONNECT with its will, and CONNACK.

use super::super::codec::{version_from, version_name};
use super::{Pairs, binary, pairs, qos, reason, string, text, topic, users};
use crate::codec::{ConnAck, ConnAckProperties, Connect, ConnectProperties, Will};
use crate::message::{Message, MessageProperties};
use pyo3::prelude::*;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

#[derive(FromPyObject, IntoPyObject)]
pub(super) struct ConnectFields {
    version: String,
    client_id: String,
    clean_start: bool,
    keep_alive: u16,
    will: Option<WillFields>,
    username: Option<String>,
    password: Option<Vec<u8>>,
    session_expiry_interval: Option<u32>,
    receive_maximum: Option<NonZeroU16>,
    maximum_packet_size: Option<NonZeroU32>,
    topic_alias_maximum: Option<u16>,
    request_response_information: Option<bool>,
    request_problem_information: Option<bool>,
    authentication_method: Option<String>,
    authentication_data: Option<Vec<u8>>,
    user_properties: Pairs,
}

#[derive(FromPyObject, IntoPyObject)]
pub(super) struct WillFields {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    delay_interval: Option<u32>,
    payload_format_indicator: Option<bool>,
    message_expiry_interval: Option<u32>,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data: Option<Vec<u8>>,
    user_properties: Pairs,
}

#[derive(FromPyObject, IntoPyObject)]
pub(super) struct ConnAckFields {
    session_present: bool,
    reason_code: u8,
    session_expiry_interval: Option<u32>,
    receive_maximum: Option<NonZeroU16>,
    maximum_qos: Option<u8>,
    retain_available: Option<bool>,
    maximum_packet_size: Option<NonZeroU32>,
    assigned_client_identifier: Option<String>,
    topic_alias_maximum: Option<u16>,
    reason_string: Option<String>,
    wildcard_subscription_available: Option<bool>,
    subscription_identifiers_available: Option<bool>,
    shared_subscription_available: Option<bool>,
    server_keep_alive: Option<u16>,
    response_information: Option<String>,
    server_reference: Option<String>,
    authentication_method: Option<String>,
    authentication_data: Option<Vec<u8>>,
    user_properties: Pairs,
}

impl ConnectFields {
    pub(super) fn make(self) -> PyResult<Connect> {
        Ok(Connect {
            version: version_from(&self.version)?,
            clean_start: self.clean_start,
            keep_alive: self.keep_alive,
            client_id: self.client_id.into(),
            will: self.will.map(WillFields::make).transpose()?,
            username: text(self.username),
            password: binary(self.password),
            properties: ConnectProperties {
                session_expiry_interval: self.session_expiry_interval,
                receive_maximum: self.receive_maximum,
                maximum_packet_size: self.maximum_packet_size,
                topic_alias_maximum: self.topic_alias_maximum,
                request_response_information: self.request_response_information,
                request_problem_information: self.request_problem_information,
                authentication_method: text(self.authentication_method),
                authentication_data: binary(self.authentication_data),
                user_properties: users(self.user_properties),
            },
        })
    }

    pub(super) fn of(connect: Connect) -> Self {
        let properties = connect.properties;
        Self {
            version: version_name(connect.version).to_owned(),
            client_id: connect.client_id.to_string(),
            clean_start: connect.clean_start,
            keep_alive: connect.keep_alive,
            will: connect.will.as_ref().map(WillFields::of),
            username: string(connect.username.as_ref()),
            password: connect.password.map(Vec::from),
            session_expiry_interval: properties.session_expiry_interval,
            receive_maximum: properties.receive_maximum,
            maximum_packet_size: properties.maximum_packet_size,
            topic_alias_maximum: properties.topic_alias_maximum,
            request_response_information: properties.request_response_information,
            request_problem_information: properties.request_problem_information,
            authentication_method: string(properties.authentication_method.as_ref()),
            authentication_data: properties.authentication_data.map(Vec::from),
            user_properties: pairs(&properties.user_properties),
        }
    }
}

impl WillFields {
    pub(super) fn make(self) -> PyResult<Will> {
        let properties = MessageProperties {
            payload_is_utf8: self.payload_format_indicator,
            message_expiry_interval: self.message_expiry_interval,
            content_type: text(self.content_type),
            response_topic: self.response_topic.map(topic).transpose()?,
            correlation_data: binary(self.correlation_data),
            user_properties: users(self.user_properties),
        };
        Ok(Will {
            message: Message {
                topic: topic(self.topic)?,
                payload: self.payload.into(),
                qos: qos(self.qos)?,
                retain: self.retain,
                properties: Some(Arc::new(properties)),
            },
            delay_interval: self.delay_interval,
        })
    }

    pub(super) fn of(will: &Will) -> Self {
        let message = &will.message;
        let properties = message.properties();
        Self {
            topic: message.topic.to_string(),
            payload: message.payload.to_vec(),
            qos: message.qos as u8,
            retain: message.retain,
            delay_interval: will.delay_interval,
            payload_format_indicator: properties.payload_is_utf8,
            message_expiry_interval: properties.message_expiry_interval,
            content_type: string(properties.content_type.as_ref()),
            response_topic: properties.response_topic.as_ref().map(ToString::to_string),
            correlation_data: properties.correlation_data.as_deref().map(Vec::from),
            user_properties: pairs(&properties.user_properties),
        }
    }
}

impl ConnAckFields {
    pub(super) fn make(self) -> PyResult<ConnAck> {
        Ok(ConnAck {
            session_present: self.session_present,
            reason: reason(self.reason_code)?,
            properties: ConnAckProperties {
                session_expiry_interval: self.session_expiry_interval,
                receive_maximum: self.receive_maximum,
                maximum_qos: self.maximum_qos.map(qos).transpose()?,
                retain_available: self.retain_available,
                maximum_packet_size: self.maximum_packet_size,
                assigned_client_identifier: text(self.assigned_client_identifier),
                topic_alias_maximum: self.topic_alias_maximum,
                reason_string: text(self.reason_string),
                user_properties: users(self.user_properties),
                wildcard_subscription_available: self.wildcard_subscription_available,
                subscription_identifiers_available: self.subscription_identifiers_available,
                shared_subscription_available: self.shared_subscription_available,
                server_keep_alive: self.server_keep_alive,
                response_information: text(self.response_information),
                server_reference: text(self.server_reference),
                authentication_method: text(self.authentication_method),
                authentication_data: binary(self.authentication_data),
            },
        })
    }

    pub(super) fn of(connack: ConnAck) -> Self {
        let properties = connack.properties;
        Self {
            session_present: connack.session_present,
            reason_code: connack.reason.number(),
            session_expiry_interval: properties.session_expiry_interval,
            receive_maximum: properties.receive_maximum,
            maximum_qos: properties.maximum_qos.map(|qos| qos as u8),
            retain_available: properties.retain_available,
            maximum_packet_size: properties.maximum_packet_size,
            assigned_client_identifier: string(properties.assigned_client_identifier.as_ref()),
            topic_alias_maximum: properties.topic_alias_maximum,
            reason_string: string(properties.reason_string.as_ref()),
            wildcard_subscription_available: properties.wildcard_subscription_available,
            subscription_identifiers_available: properties.subscription_identifiers_available,
            shared_subscription_available: properties.shared_subscription_available,
            server_keep_alive: properties.server_keep_alive,
            response_information: string(properties.response_information.as_ref()),
            server_reference: string(properties.server_reference.as_ref()),
            authentication_method: string(properties.authentication_method.as_ref()),
            authentication_data: properties.authentication_data.map(Vec::from),
            user_properties: pairs(&properties.user_properties),
        }
    }
}
