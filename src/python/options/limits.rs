//! What `rmqtt.Limits` says.

use super::{duration, out_of_range, seconds_u32};
use crate::broker::Limits;
use pyo3::prelude::*;

/// `rmqtt.Limits`.
#[derive(FromPyObject)]
pub(crate) struct LimitsArguments {
    connections_max: usize,
    connections_per_address_max: usize,
    connections_per_user_max: usize,
    connect_rate_max: u32,
    connect_rate_per_address_max: u32,
    connect_rate_per_client_id_max: u32,
    unaccepted_bytes_max: usize,
    connect_timeout: f64,
    packet_size_max: usize,
    control_packet_size_max: usize,
    topic_levels_max: usize,
    receive_maximum: u16,
    unreleased_max: u16,
    message_rate_max: u32,
    byte_rate_max: u32,
    delivery_rate_max: u32,
    in_flight_max: u16,
    queue_messages_max: usize,
    queue_bytes_max: usize,
    sessions_max: usize,
    session_expiry_max: Option<f64>,
    subscriptions_max: usize,
    shared_subscriptions_max: usize,
    groups_max: usize,
    retained_messages_max: usize,
    retained_bytes_max: usize,
    held_bytes_max: usize,
    topic_alias_max: u16,
    topic_alias_out_max: u16,
    keep_alive_max: u16,
}

impl LimitsArguments {
    /// # Errors
    /// `ValueError` naming the limit and its range.
    pub(super) fn read(&self) -> PyResult<Limits> {
        if self.receive_maximum == 0 || self.in_flight_max == 0 {
            return Err(out_of_range(
                "limits.receive_maximum and limits.in_flight_max",
                "1 to 65535",
            ));
        }
        let ceiling = self.session_expiry_max;
        Ok(Limits {
            connections_max: self.connections_max,
            connections_per_address_max: self.connections_per_address_max,
            connections_per_user_max: self.connections_per_user_max,
            connect_rate_max: self.connect_rate_max,
            connect_rate_per_address_max: self.connect_rate_per_address_max,
            connect_rate_per_client_id_max: self.connect_rate_per_client_id_max,
            unaccepted_bytes_max: self.unaccepted_bytes_max,
            connect_timeout: duration("limits.connect_timeout", self.connect_timeout)?,
            packet_size_max: self.packet_size_max,
            control_packet_size_max: self.control_packet_size_max,
            topic_levels_max: self.topic_levels_max,
            receive_maximum: self.receive_maximum,
            unreleased_max: self.unreleased_max,
            message_rate_max: self.message_rate_max,
            byte_rate_max: self.byte_rate_max,
            delivery_rate_max: self.delivery_rate_max,
            in_flight_max: self.in_flight_max,
            queue_messages_max: self.queue_messages_max,
            queue_bytes_max: self.queue_bytes_max,
            sessions_max: self.sessions_max,
            session_expiry_max: ceiling.map_or(Ok(u32::MAX), |ceiling| {
                seconds_u32("limits.session_expiry_max", ceiling)
            })?,
            subscriptions_max: self.subscriptions_max,
            shared_subscriptions_max: self.shared_subscriptions_max,
            groups_max: self.groups_max,
            retained_messages_max: self.retained_messages_max,
            retained_bytes_max: self.retained_bytes_max,
            held_bytes_max: self.held_bytes_max,
            topic_alias_max: self.topic_alias_max,
            topic_alias_out_max: self.topic_alias_out_max,
            keep_alive_max: self.keep_alive_max,
        })
    }
}
