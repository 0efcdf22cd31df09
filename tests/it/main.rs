//! The one integration binary: each suite is a module.

mod broker_tcp;
mod pair;
mod qos;
mod router;
mod seed;
mod spec;
mod tcp;
mod tidy;
mod wire;
