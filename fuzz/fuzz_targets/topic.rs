//! libFuzzer calls the law in `fuzz/laws/topic.rs`.

#![no_main]

#[path = "../laws/topic.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|data: &[u8]| law::check(data));
