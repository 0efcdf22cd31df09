//! What a log must not show: `Debug` of the packets that carry a proof of who somebody is.
//!
//! Every field is named here once more, and taken apart without `..`: one that is added has to be thought about.

use super::{Auth, Connect, ConnectProperties};
use bytes::Bytes;
use std::fmt;

/// A password, or a mechanism's bytes, of which only the length is shown.
pub struct Hidden<'a>(pub &'a Option<Bytes>);

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => write!(f, "Some(<{} bytes>)", bytes.len()),
            None => f.write_str("None"),
        }
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            version,
            clean_start,
            keep_alive,
            client_id,
            will,
            username,
            password,
            properties,
        } = self;
        f.debug_struct("Connect")
            .field("version", version)
            .field("clean_start", clean_start)
            .field("keep_alive", keep_alive)
            .field("client_id", client_id)
            .field("will", will)
            .field("username", username)
            .field("password", &Hidden(password))
            .field("properties", properties)
            .finish()
    }
}

impl fmt::Debug for ConnectProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            session_expiry_interval,
            receive_maximum,
            maximum_packet_size,
            topic_alias_maximum,
            request_response_information,
            request_problem_information,
            authentication_method,
            authentication_data,
            user_properties,
        } = self;
        f.debug_struct("ConnectProperties")
            .field("session_expiry_interval", session_expiry_interval)
            .field("receive_maximum", receive_maximum)
            .field("maximum_packet_size", maximum_packet_size)
            .field("topic_alias_maximum", topic_alias_maximum)
            .field("request_response_information", request_response_information)
            .field("request_problem_information", request_problem_information)
            .field("authentication_method", authentication_method)
            .field("authentication_data", &Hidden(authentication_data))
            .field("user_properties", user_properties)
            .finish()
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            reason,
            method,
            data,
            reason_string,
            user_properties,
        } = self;
        f.debug_struct("Auth")
            .field("reason", reason)
            .field("method", method)
            .field("data", &Hidden(data))
            .field("reason_string", reason_string)
            .field("user_properties", user_properties)
            .finish()
    }
}
