//! The one integration binary: each suite is a module.

mod broker_tcp;
mod conformance;
mod hostile;
mod pair;
mod qos;
mod raw;
mod router;
mod seed;
mod sim;
mod spec;
mod tcp;
mod tidy;
mod wire;
