//! libFuzzer calls the law in `fuzz/laws/broker`.

#![no_main]

#[path = "../laws/broker/mod.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|data: &[u8]| law::check(data));
