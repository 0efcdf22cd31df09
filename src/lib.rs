//! MQTT 3.1.1 and 5.0: codec, quality-of-service engine, client and embeddable broker.
//!
//! The map of the house, from the ground up; a room may name only the rooms listed behind it:
//!
//! | room | owns | may name |
//! |---|---|---|
//! | [`topic`] | topic names and filters: valid? matches? | nothing |
//! | [`message`] | the application message, QoS | topic |
//! | [`codec`] | bytes ⇄ packets | message, topic |
//! | [`session`] | the QoS engine, for both roles and both versions | codec, message, topic |
//! | [`scram`] | SCRAM-SHA-256: the messages of both ends, verifiers of passwords | nothing |
//! | [`transport`] | byte pipes; nothing of MQTT | nothing |
//! | [`client`] | one connection, client side | session, codec, message, topic, scram, transport |
//! | [`broker`] | many connections, server side | session, codec, message, topic, scram, transport |
//! | `python` | everything PyO3 (feature `python`) | client, broker, codec, message, topic |
//!
//! Start reading at [`topic`] and go down the table; `docs/architecture.md` follows one PUBLISH through all of it.

pub mod broker;
pub mod client;
pub mod codec;
pub mod message;
pub mod scram;
pub mod session;
pub mod topic;
pub mod transport;

#[cfg(feature = "python")]
mod python;
