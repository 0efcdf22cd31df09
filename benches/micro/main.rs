//! What the quiet rooms cost by themselves: codec, filter tree, session, send buffer. No socket, no task, no lock.
//!
//! Criterion's figures are of wall time on one core; a busy machine shows in their spread.
#![allow(missing_docs, reason = "criterion makes public items of its own")]

mod codec;
mod router;
mod session;

use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

criterion_group!(
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = codec::codec, codec::send_buffer, router::route, session::session
);
criterion_main!(benches);
