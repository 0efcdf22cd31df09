//! Enhanced authentication and users: the exchange of AUTH packets at both ends, SCRAM-SHA-256, and plain passwords.
//!
//! [`scram`] is a second SCRAM, written from the RFC for these tests and held against its example; each side of ours is
//! played against it.

mod broker;
mod client;
mod exchange;
mod file;
mod hook;
mod password;
mod revoked;
mod scram;
mod throttle;
