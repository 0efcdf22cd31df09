//! libFuzzer calls the law in `fuzz/laws/properties.rs`.

#![no_main]

#[path = "../laws/properties.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|data: &[u8]| law::check(data));
