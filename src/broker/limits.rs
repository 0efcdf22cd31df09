//! The bounds of a broker. Every default is safe on loopback; docs/limits.md says why each is what it is.

use std::time::Duration;

/// The bounds of a broker. Reaching one costs the one who reached it, and is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time. Each costs memory before it has said who it is.
    pub connections_max: usize,
    /// Of those, from one address (IPv6: one network of 64 bits). 0: as many as there are.
    pub connections_per_address_max: usize,
    /// Connections of one user, where the broker has users. 0: as many as there are.
    pub connections_per_user_max: usize,
    /// Connections let in for each second, from all addresses; what comes faster waits at the door. 0: no bound.
    pub connect_rate_max: u32,
    /// The same from one address; ten seconds' worth may come at once, what is more is turned away. 0: no bound.
    pub connect_rate_per_address_max: u32,
    /// Sessions begun or resumed for each second under one client id; ten seconds' worth may come at once. 0: no bound.
    pub connect_rate_per_client_id_max: u32,
    /// Bytes held for all who have not been let in yet, beyond the first 1024 of each (9 KiB where it shakes hands first).
    pub unaccepted_bytes_max: usize,
    /// From the first byte to CONNECT complete. A silent socket must not be held for ever.
    pub connect_timeout: Duration,
    /// The largest packet taken, in bytes; announced to MQTT 5 clients.
    pub packet_size_max: usize,
    /// The largest CONNECT, SUBSCRIBE, UNSUBSCRIBE and AUTH, in bytes: what a stranger can make us hold.
    pub control_packet_size_max: usize,
    /// Levels in a topic or filter. Deep trees cost walks and memory.
    pub topic_levels_max: usize,
    /// QoS 1 and 2 messages from one client that are not settled (our Receive Maximum).
    pub receive_maximum: u16,
    /// QoS 2 messages from one client that were never released, over all its connections; and what clients of 3.1.1, which
    /// know no Receive Maximum, may leave unsettled.
    pub unreleased_max: u16,
    /// PUBLISH packets for each second from one client; a second's worth may come at once. What is more waits. 0: no bound.
    pub message_rate_max: u32,
    /// Bytes for each second from one client, likewise.
    pub byte_rate_max: u32,
    /// Deliveries for each second that the messages of one client come to, likewise: to how many sessions and groups each of
    /// them goes.
    pub delivery_rate_max: u32,
    /// QoS 1 and 2 messages to one client that are not settled, whatever more it would take.
    pub in_flight_max: u16,
    /// Messages that wait for one session.
    pub queue_messages_max: usize,
    /// And their bytes.
    pub queue_bytes_max: usize,
    /// Sessions, connected or not.
    pub sessions_max: usize,
    /// The longest a session outlives its connection, in seconds; `u32::MAX`: no ceiling.
    pub session_expiry_max: u32,
    /// Subscriptions of one session.
    pub subscriptions_max: usize,
    /// Of those, shared ones: each may have a queue of its own behind it.
    pub shared_subscriptions_max: usize,
    /// Groups of shared subscriptions, of all sessions together.
    pub groups_max: usize,
    /// Retained messages.
    pub retained_messages_max: usize,
    /// And their bytes.
    pub retained_bytes_max: usize,
    /// Bytes that the broker holds in all: queues, what is on its way, retained messages, sessions, subscriptions, buffers.
    /// 0: no bound.
    pub held_bytes_max: usize,
    /// Topic aliases taken from one client.
    pub topic_alias_max: u16,
    /// Topic aliases used towards one client that takes any. Each keeps a topic for as long as the connection.
    pub topic_alias_out_max: u16,
    /// Ceiling of the keep alive, in seconds; a client that asks for more or none gets this (MQTT 5) or is watched by it.
    /// 0: no ceiling.
    pub keep_alive_max: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 100_000,
            connections_per_address_max: 10_000,
            connections_per_user_max: 10_000,
            connect_rate_max: 0,
            connect_rate_per_address_max: 1000,
            connect_rate_per_client_id_max: 100,
            unaccepted_bytes_max: 64 << 20,
            connect_timeout: Duration::from_secs(10),
            packet_size_max: 2_000_000,
            control_packet_size_max: 100_000,
            topic_levels_max: 200,
            receive_maximum: 1024,
            unreleased_max: 10_000,
            message_rate_max: 0,
            byte_rate_max: 0,
            delivery_rate_max: 0,
            in_flight_max: 1024,
            queue_messages_max: 10_000,
            queue_bytes_max: 16 << 20,
            sessions_max: 100_000,
            session_expiry_max: u32::MAX,
            subscriptions_max: 10_000,
            shared_subscriptions_max: 100,
            groups_max: 10_000,
            retained_messages_max: 1_000_000,
            retained_bytes_max: 512 << 20,
            held_bytes_max: 1 << 30,
            topic_alias_max: 64,
            topic_alias_out_max: 16,
            keep_alive_max: 0,
        }
    }
}

/// Writes [`Limit`] and its names, which are those of the fields of [`Limits`].
macro_rules! limits {
    ($($limit:ident $name:literal,)*) => {
        /// One of the bounds, for those who count how often each was reached.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each is the field of `Limits` with its name")]
        pub enum Limit {
            $($limit,)*
        }

        impl Limit {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$limit,)*];

            /// The name of the field.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$limit => $name,)*
                }
            }
        }
    };
}

// What is not reached, but keeps to itself, is not counted: `in_flight_max` and `topic_alias_out_max`.
limits! {
    ConnectionsMax "connections_max",
    ConnectionsPerAddressMax "connections_per_address_max",
    ConnectionsPerUserMax "connections_per_user_max",
    ConnectRateMax "connect_rate_max",
    ConnectRatePerAddressMax "connect_rate_per_address_max",
    ConnectRatePerClientIdMax "connect_rate_per_client_id_max",
    UnacceptedBytesMax "unaccepted_bytes_max",
    ConnectTimeout "connect_timeout",
    PacketSizeMax "packet_size_max",
    ControlPacketSizeMax "control_packet_size_max",
    TopicLevelsMax "topic_levels_max",
    ReceiveMaximum "receive_maximum",
    UnreleasedMax "unreleased_max",
    MessageRateMax "message_rate_max",
    ByteRateMax "byte_rate_max",
    DeliveryRateMax "delivery_rate_max",
    QueueMessagesMax "queue_messages_max",
    QueueBytesMax "queue_bytes_max",
    SessionsMax "sessions_max",
    SessionExpiryMax "session_expiry_max",
    SubscriptionsMax "subscriptions_max",
    SharedSubscriptionsMax "shared_subscriptions_max",
    GroupsMax "groups_max",
    RetainedMessagesMax "retained_messages_max",
    RetainedBytesMax "retained_bytes_max",
    HeldBytesMax "held_bytes_max",
    TopicAliasMax "topic_alias_max",
    KeepAliveMax "keep_alive_max",
}
