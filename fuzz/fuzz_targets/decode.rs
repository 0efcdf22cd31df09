//! libFuzzer calls the law in `fuzz/laws/decode.rs`.

#![no_main]

#[path = "../laws/decode.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|data: &[u8]| law::check(data));
