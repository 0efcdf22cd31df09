//! The one integration binary: each suite is a module.

mod pair;
mod qos;
mod seed;
mod spec;
mod tidy;
mod wire;
