//! Streams that begin well and are spoiled somewhere: whatever comes of it, no task of the broker panics, no connection
//! is left behind, and the others go on.

use crate::raw::bytes::{
    Connect, DISCONNECT, PINGREQ, Publish, Will, ack, subscribe, unsubscribe, user_property,
};
use crate::raw::{Server, V4, V5, Version, until};
use crate::seed::{Seed, each};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts the panics in `src/`: they happen in tasks, where nobody sees them.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info
                .location()
                .is_some_and(|at| at.file().starts_with("src/"))
            {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            usual(info);
        }));
    });
}

/// A bit of everything a client may send.
fn good_stream(seed: &mut Seed, version: Version) -> Vec<u8> {
    let will = Will::new("noise/gone", "x");
    let mut connect = Connect::new(version, format!("n{}", seed.pick(0..3))).will(&will);
    if seed.one_in(2) {
        connect = connect.resume();
    }
    let mut bytes = connect.bytes();
    for _ in 0..seed.pick(1..12) {
        let id = u16::try_from(seed.pick(1..6)).unwrap_or(1);
        let topic = ["noise/a", "noise/b", "noise/$x", "noise//"][seed.pick(0..4)];
        let properties = match version {
            V4 => vec![],
            V5 => [vec![0x01, 1], user_property("name", "value")].concat(),
        };
        let publish = Publish::new(topic, "payload").properties(&properties);
        bytes.extend(match seed.pick(0..9) {
            0 => publish.bytes(version),
            1 => publish.retain().qos(1, id).bytes(version),
            2 => publish.qos(2, id).bytes(version),
            3 => subscribe(version, id, &[("noise/#", 2), (topic, 1)]),
            4 => unsubscribe(version, id, &["noise/#", topic]),
            5 => PINGREQ.to_vec(),
            6 => ack([0x40, 0x50, 0x62, 0x70][seed.pick(0..4)], id),
            7 => Publish::new(topic, "").retain().bytes(version),
            _ if seed.one_in(4) => DISCONNECT.to_vec(),
            _ => ack(0x62, id),
        });
    }
    bytes
}

fn spoil(seed: &mut Seed, bytes: &mut Vec<u8>) {
    for _ in 0..seed.pick(0..4) {
        let at = seed.pick(0..bytes.len());
        let byte = u8::try_from(seed.pick(0..256)).unwrap_or(0);
        match seed.pick(0..5) {
            0 => bytes[at] ^= 1 << seed.pick(0..8),
            1 => bytes[at] = byte,
            2 => bytes.insert(at, byte),
            3 if bytes.len() > 1 => drop(bytes.remove(at)),
            _ => bytes.truncate(at.max(1)),
        }
    }
}

#[test]
fn spoiled_streams_harm_nobody_else() {
    count_panics();
    each(60, |mut seed| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(spoiled_streams(&mut seed));
    });
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "see above");
}

async fn spoiled_streams(seed: &mut Seed) {
    let server = Server::start().await;
    let mut witness = server.witness().await;
    for _ in 0..10 {
        let version = if seed.one_in(2) { V4 } else { V5 };
        let mut bytes = good_stream(seed, version);
        spoil(seed, &mut bytes);
        let mut peer = server.socket(version).await;
        let cut = seed.pick(0..bytes.len());
        peer.try_send(&bytes[..cut]).await;
        witness.goes_on().await;
        peer.try_send(&bytes[cut..]).await;
        if seed.one_in(2) {
            peer.abort();
        }
    }
    witness.goes_on().await;
    until(
        "everybody but the witnesses to be gone",
        server.broker(),
        |broker| broker.stats().connections == 2,
    )
    .await;
    witness.goes_on().await;
}
