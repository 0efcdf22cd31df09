//! What must hold of any bytes at all: one law for each fuzz target.
//!
//! A law is a function of bytes that panics where it is broken. libFuzzer calls it with bytes it makes up
//! (`fuzz/fuzz_targets`), the tests call it with those in `fuzz/corpus` (`tests/it/corpora.rs`).

pub(crate) mod broker;
pub(crate) mod decode;
pub(crate) mod explain;
pub(crate) mod properties;
pub(crate) mod stream;
pub(crate) mod topic;
