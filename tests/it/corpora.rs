//! The laws that are fuzzed (`fuzz/README.md`), held against every input that fuzzing has found worth keeping.
//!
//! libFuzzer needs a toolchain of its own and time; this needs neither, so a law that breaks is seen by every `cargo test`.

#[path = "../../fuzz/laws/mod.rs"]
mod laws;

use laws::{broker, decode, explain, properties, stream, topic};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

/// Calls the law with each input of its corpus, and names the first that breaks it.
fn replay(target: &str, law: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("every target has a corpus")
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    assert!(
        paths.len() >= 20,
        "{target} has only {} inputs",
        paths.len()
    );
    for path in paths {
        let data = std::fs::read(&path).expect("a readable file");
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| law(&data))) {
            eprintln!("broken by {}", path.display());
            resume_unwind(panic);
        }
    }
}

#[test]
fn what_is_read_is_written_as_the_same() {
    replay("decode", decode::check);
}

#[test]
fn every_byte_is_explained_and_the_verdict_is_the_decoders() {
    replay("explain", explain::check);
}

#[test]
fn properties_are_read_and_written_as_the_standard_lists_them() {
    replay("properties", properties::check);
}

#[test]
fn bytes_in_pieces_are_the_same_packets() {
    replay("stream", stream::check);
}

#[test]
fn filters_match_as_they_are_defined() {
    replay("topic", topic::check);
}

#[test]
fn a_broker_survives_anything_and_says_only_what_a_server_may() {
    replay("broker", broker::check);
}
