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
//! | [`storage`] | what of a session outlives the process | codec, message, topic |
//! | [`scram`] | SCRAM-SHA-256: the messages of both ends, verifiers of passwords | nothing |
//! | [`clock`] | time: the system's, or one that is moved by hand | nothing |
//! | [`journal`] | how clients and brokers tell what happens to them | nothing |
//! | [`transport`] | byte pipes; nothing of MQTT | clock |
//! | [`client`] | one connection, client side | session, storage, codec, message, topic, scram, journal, transport, clock |
//! | [`broker`] | many connections, server side | session, codec, message, topic, scram, journal, transport, clock |
//! | `python` | everything PyO3 (feature `python`) | client, broker, codec, message, topic, clock |
//!
//! Start reading at [`topic`] and go down the table; `docs/architecture.md` follows one PUBLISH through all of it.

pub mod broker;
pub mod client;
pub mod clock;
pub mod codec;
pub mod journal;
pub mod message;
pub mod scram;
pub mod session;
pub mod storage;
pub mod topic;
pub mod transport;

#[cfg(feature = "python")]
mod python;
