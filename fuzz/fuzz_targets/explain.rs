//! libFuzzer calls the law in `fuzz/laws/explain.rs`.

#![no_main]

#[path = "../laws/explain.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|data: &[u8]| law::check(data));
