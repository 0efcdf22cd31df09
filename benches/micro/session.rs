//! Exchanges between the two halves of a session, without wire.

use criterion::{BatchSize, Criterion, Throughput};
use rmqtt::codec::ReasonCode;
use rmqtt::message::{Message, QoS};
use rmqtt::session::{Inbound, Outbound, Step};
use rmqtt::topic::TopicName;
use std::hint::black_box;
use std::num::NonZeroU16;

const WINDOW: u64 = 100;

fn message(qos: QoS) -> Message {
    let topic = TopicName::new("bench/sensor/07/temperature").expect("a topic");
    Message::new(topic, vec![0x55; 64]).with_qos(qos)
}

fn ends() -> (Outbound, Inbound) {
    let (mut outbound, mut inbound) = (Outbound::default(), Inbound::default());
    outbound.resume(NonZeroU16::MAX);
    inbound.begin(NonZeroU16::MAX, false);
    (outbound, inbound)
}

/// Fills the window, then settles all of it.
fn exchange(outbound: &mut Outbound, inbound: &mut Inbound, message: &Message) {
    for token in 0..WINDOW {
        let publish = outbound.send(message.clone(), token).expect("room");
        inbound.on_publish(&publish).expect("no violation");
        let id = publish.packet_id.expect("QoS 1 or 2");
        inbound.accepted(id, ReasonCode::Success);
    }
    while let Some(ack) = inbound.next_ack() {
        if let Step::Send(pubrel) = outbound.on_ack(&ack).expect("no violation") {
            inbound.on_pubrel(&pubrel);
        }
    }
}

/// QoS 1 and 2 with a window of a hundred, and what a resumed session has to say again.
pub fn session(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session");
    group.throughput(Throughput::Elements(WINDOW));
    for (name, qos) in [("qos1", QoS::AtLeastOnce), ("qos2", QoS::ExactlyOnce)] {
        let message = message(qos);
        let (mut outbound, mut inbound) = ends();
        group.bench_function(format!("{name}-window-100"), |bencher| {
            bencher.iter(|| exchange(&mut outbound, &mut inbound, black_box(&message)));
        });
    }
    let (mut outbound, _) = ends();
    for token in 0..1000 {
        outbound
            .send(message(QoS::AtLeastOnce), token)
            .expect("room");
    }
    group.throughput(Throughput::Elements(1000));
    group.bench_function("resume-1000", |bencher| {
        bencher.iter_batched_ref(
            || outbound.clone(),
            |outbound| {
                outbound.resume(NonZeroU16::MAX);
                while let Some(packet) = outbound.next_again() {
                    black_box(&packet);
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}
