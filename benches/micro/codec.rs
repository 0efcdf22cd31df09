//! Bytes to packets and back, a hundred at a time, as they come from a socket.

use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;
use criterion::{BatchSize, Criterion, Throughput};
use rmqtt::codec::{
    Ack, AckKind, Limits, Packet, PacketId, ProtocolVersion, Publish, ReasonCode, SendBuffer,
    Subscribe, SubscribeFilter, SubscriptionOptions, decode, encode,
};
use rmqtt::message::{Message, QoS};
use rmqtt::topic::TopicName;
use std::hint::black_box;

const BATCH: usize = 100;
const VERSIONS: [(&str, ProtocolVersion); 2] =
    [("v4", ProtocolVersion::V3_1_1), ("v5", ProtocolVersion::V5)];

fn publish(qos: QoS, size: usize) -> Packet {
    let topic = TopicName::new("bench/sensor/07/temperature").expect("a topic");
    let message = Message::new(topic, vec![0x55; size]).with_qos(qos);
    let mut publish = Publish::new(message);
    publish.packet_id = (qos > QoS::AtMostOnce).then(|| PacketId::new(7).expect("not 0"));
    Packet::Publish(publish)
}

fn subscribe() -> Packet {
    let filter = |text: &str| SubscribeFilter {
        filter: ByteString::from(text),
        options: SubscriptionOptions::default(),
    };
    Packet::Subscribe(Subscribe {
        packet_id: PacketId::new(7).expect("not 0"),
        filters: vec![filter("bench/plant/+/temperature"), filter("bench/#")],
        subscription_id: None,
        user_properties: Vec::new(),
    })
}

fn encoded(packet: &Packet, version: ProtocolVersion) -> Bytes {
    let mut out = SendBuffer::new();
    encode(packet, version, &mut out).expect("a packet");
    let length = out.len();
    out.copy_to_bytes(length)
}

/// Every packet, decoded and encoded.
pub fn codec(criterion: &mut Criterion) {
    let mut packets = Vec::new();
    for (name, qos) in [("qos0", QoS::AtMostOnce), ("qos1", QoS::AtLeastOnce)] {
        for size in [64, 1024, 16_384] {
            packets.push((format!("publish-{name}-{size}"), publish(qos, size)));
        }
    }
    let id = PacketId::new(7).expect("not 0");
    let puback = Ack::new(AckKind::PubAck, id, ReasonCode::Success);
    packets.push(("puback".to_owned(), Packet::Ack(puback)));
    packets.push(("subscribe".to_owned(), subscribe()));
    for (version_name, version) in VERSIONS {
        let mut group = criterion.benchmark_group("decode");
        group.throughput(Throughput::Elements(BATCH as u64));
        for (name, packet) in &packets {
            let bytes = encoded(packet, version).repeat(BATCH);
            group.bench_function(format!("{name}-{version_name}"), |bencher| {
                bencher.iter_batched_ref(
                    || BytesMut::from(&bytes[..]),
                    |input| {
                        let limits = Limits::default();
                        while let Ok(Some(packet)) = decode(input, version, &limits) {
                            black_box(&packet);
                        }
                    },
                    BatchSize::LargeInput,
                );
            });
        }
        group.finish();
        let mut group = criterion.benchmark_group("encode");
        group.throughput(Throughput::Elements(BATCH as u64));
        for (name, packet) in &packets {
            let mut out = SendBuffer::new();
            group.bench_function(format!("{name}-{version_name}"), |bencher| {
                bencher.iter(|| {
                    for _ in 0..BATCH {
                        encode(black_box(packet), version, &mut out).expect("a packet");
                    }
                    out.advance(out.len());
                });
            });
        }
        group.finish();
    }
}

/// Many small pieces, and few large ones.
pub fn send_buffer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("send-buffer");
    let mut out = SendBuffer::new();
    let small = [0x55; 90];
    group.throughput(Throughput::Elements(1000));
    group.bench_function("1000-of-90-bytes", |bencher| {
        bencher.iter(|| {
            for _ in 0..1000 {
                out.put_slice(black_box(&small));
            }
            drain(&mut out);
        });
    });
    let large = Bytes::from(vec![0x55; 65_536]);
    group.throughput(Throughput::Elements(10));
    group.bench_function("10-of-64-kib", |bencher| {
        bencher.iter(|| {
            for _ in 0..10 {
                out.put_slice(black_box(&small));
                out.put_bytes(black_box(&large));
            }
            drain(&mut out);
        });
    });
    group.finish();
}

/// As a vectored write does.
fn drain(out: &mut SendBuffer) {
    while out.has_remaining() {
        let mut slices = [std::io::IoSlice::new(&[]); 64];
        let count = out.chunks_vectored(&mut slices);
        let length = slices[..count].iter().map(|slice| slice.len()).sum();
        black_box(&slices);
        out.advance(length);
    }
}
