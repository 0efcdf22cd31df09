//! The one integration binary: each suite is a module.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails, also in the functions beside it"
)]

mod aliases;
mod auth;
mod broker_connect;
mod broker_house;
mod broker_ids;
mod broker_messages;
mod broker_packets;
mod broker_pressure;
mod broker_retained;
mod broker_tcp;
mod broker_wills;
mod client_connect;
mod client_deliveries;
mod client_endpoints;
mod client_granted;
mod client_leaving;
mod client_outbox;
mod client_parting;
mod client_reconnect;
mod client_restoring;
mod client_script;
mod client_stats;
mod client_wire;
mod clock;
mod conformance;
mod corpora;
mod crash;
mod faults;
mod hostile;
mod ledger;
mod pair;
mod qos;
mod quota;
mod raw;
mod rights;
mod router;
mod runs;
mod scripted;
mod seed;
mod shared;
mod sim;
mod spec;
mod tap;
mod tcp;
mod tidy;
mod topic;
mod transports;
mod wire;
