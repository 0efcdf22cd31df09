//! libFuzzer calls the law in `fuzz/laws/stream.rs`.

#![no_main]

#[path = "../laws/stream.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|data: &[u8]| law::check(data));
