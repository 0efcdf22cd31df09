//! Topic aliases that we give: when, to which topics, what they save, and that the peer can always look them up.

use crate::client_script::{Peer, Stage, accepted, message, resumed, soon};
use crate::raw::bytes::{Connect, Publish as Raw};
use crate::raw::{Server, V4, V5};
use crate::seed::{Seed, each};
use rmqtt::client::Client;
use rmqtt::codec::{self, AckKind, Packet, ProtocolVersion, Publish};
use rmqtt::message::{Message, QoS};
use rmqtt::session::OutboundAliases;
use rmqtt::topic::TopicName;
use std::collections::BTreeMap;
use std::num::NonZeroU32;

fn publish(topic: &str) -> Publish {
    Publish::new(Message::new(
        TopicName::new(topic.to_owned()).expect("valid"),
        "21.5",
    ))
}

fn size(publish: &Publish) -> usize {
    codec::encoded_size(&Packet::Publish(publish.clone()), ProtocolVersion::V5)
        .expect("well formed")
}

fn given(peer_maximum: u16, own_maximum: u16) -> OutboundAliases {
    let mut aliases = OutboundAliases::default();
    aliases.begin(peer_maximum, own_maximum);
    aliases
}

/// Whatever is written or not, and however the topics come: what the peer looks up is the topic that was meant.
#[test]
fn the_peer_can_look_up_every_alias_that_it_is_sent() {
    each(300, |mut seed: Seed| {
        let maximum = seed.pick(0..6);
        let topics = seed.pick(1..12);
        let mut aliases = given(u16::try_from(maximum).expect("small"), 4);
        let mut known: BTreeMap<u16, String> = BTreeMap::new();
        let mut unnamed = 0;
        for _ in 0..400 {
            let topic = format!("topics/{}", seed.pick(0..topics));
            let mut packet = publish(&topic);
            aliases.apply(&mut packet, None);
            if seed.one_in(5) {
                aliases.take_back(&packet);
                continue;
            }
            if let Some(alias) = packet.topic_alias {
                assert!(usize::from(alias.get()) <= maximum.min(4));
                if packet.topic_on_wire {
                    known.insert(alias.get(), topic.clone());
                }
                assert_eq!(known.get(&alias.get()), Some(&topic));
            }
            unnamed += usize::from(!packet.topic_on_wire);
        }
        assert!(aliases.len() <= maximum.min(4));
        assert!(topics > maximum.min(4) || unnamed > 250, "{unnamed}");
    });
}

/// How many bytes the topics of a run take, and how many they would take without aliases.
fn cost(maximum: u16, topics: impl Iterator<Item = String>) -> (usize, usize) {
    let mut aliases = given(maximum, u16::MAX);
    topics.fold((0, 0), |(with, without), topic| {
        let mut packet = publish(&topic);
        let plain = size(&packet);
        aliases.apply(&mut packet, None);
        (with + size(&packet), without + plain)
    })
}

#[test]
fn aliases_save_bytes_where_topics_come_again_and_cost_nothing_where_they_do_not() {
    let sensor = |number: usize| format!("plant/7/line/{number:05}/temperature");
    let (with, without) = cost(16, (0..1_000).map(|n| sensor(n % 10)));
    assert!(with * 2 < without, "ten topics: {with} of {without}");
    let (with, without) = cost(16, (0..1_000).map(|n| sensor(n % 16)));
    assert!(
        with * 2 < without,
        "as many topics as numbers: {with} of {without}"
    );
    let (with, without) = cost(16, (0..10_000).map(sensor));
    assert_eq!(with, without + 16 * 3, "every topic once");
    let (with, without) = cost(16, (0..10_000).map(|n| sensor(n % 1_000)));
    assert!(with <= without, "far too many topics: {with} of {without}");
    let (with, without) = cost(16, (0..10_000).map(|n| sensor(n % 32)));
    assert!(
        with * 10 < without * 9,
        "twice as many: {with} of {without}"
    );
    let (with, without) = cost(16, (0..1_000).map(|n| format!("s/{:04}", n % 10)));
    assert_eq!(with, without, "shorter than what an alias costs");
    let (with, without) = cost(0, (0..1_000).map(|n| sensor(n % 10)));
    assert_eq!(with, without, "the peer takes none");
}

#[test]
fn the_topic_used_longest_ago_gives_its_alias_up() {
    let mut aliases = given(2, 10);
    let mut next = |topic: &str| {
        let mut packet = publish(topic);
        aliases.apply(&mut packet, None);
        (
            packet.topic_alias.map_or(0, u16::from),
            packet.topic_on_wire,
        )
    };
    for (topic, alias) in [("topics/a", 1), ("topics/b", 2)] {
        assert_eq!(next(topic), (alias, true));
        assert_eq!(next(topic), (alias, false));
    }
    assert_eq!(next("topics/a"), (1, false));
    assert_eq!(next("topics/c"), (0, true), "it may never come again");
    assert_eq!(next("topics/c"), (2, true), "in the place of b");
    assert_eq!(next("topics/a"), (1, false));
    assert!(next("topics/b").1, "which is named again");
}

#[test]
fn a_new_connection_begins_without_aliases() {
    let mut aliases = given(2, 2);
    for _ in 0..3 {
        aliases.apply(&mut publish("topics/a"), None);
    }
    assert_eq!(aliases.len(), 1);
    aliases.begin(2, 2);
    assert!(aliases.is_empty());
    let mut packet = publish("topics/a");
    aliases.apply(&mut packet, None);
    assert!(packet.topic_on_wire, "it is named first");
}

#[test]
fn a_new_alias_does_not_make_a_packet_too_large() {
    let mut aliases = given(2, 2);
    let limit = size(&publish("topics/a"));
    for _ in 0..5 {
        let mut packet = publish("topics/a");
        aliases.apply(&mut packet, Some(limit));
        assert!(size(&packet) <= limit);
        assert!(packet.topic_on_wire, "the peer knows of no alias");
    }
    let mut packet = publish("topics/a");
    aliases.apply(&mut packet, Some(limit + 3));
    assert!(packet.topic_alias.is_some());
}

async fn hear(client: &Client, peer: &mut Peer, topic: &str) -> (u16, bool) {
    soon(client.publish(message(topic, "x", QoS::AtMostOnce)))
        .await
        .expect("queued");
    seen(&peer.heard_publish().await)
}

fn seen(publish: &Publish) -> (u16, bool) {
    (
        publish.topic_alias.map_or(0, u16::from),
        publish.topic_on_wire,
    )
}

/// spec(5): MQTT-3.2.2-17, MQTT-3.3.2-9
/// spec(5, client): MQTT-3.3.2-8
#[tokio::test(start_paused = true)]
async fn the_client_gives_its_topics_numbers_up_to_the_brokers_maximum_by_itself() {
    let mut connack = accepted();
    connack.properties.topic_alias_maximum = Some(2);
    let stage = Stage::new("aliased", ProtocolVersion::V5).await;
    let (client, mut peer) = stage.pair(connack).await;
    for round in 0..3 {
        for number in 0..10 {
            for _ in 0..2 {
                let (alias, is_named) =
                    hear(&client, &mut peer, &format!("plant/{number}/heat")).await;
                assert!(alias <= 2, "{round}, {number}");
                assert!(is_named || alias > 0);
            }
        }
    }
    hear(&client, &mut peer, "plant/7/heat").await;
    hear(&client, &mut peer, "plant/7/heat").await;
    let (alias, is_named) = hear(&client, &mut peer, "plant/7/heat").await;
    assert!(alias > 0 && !is_named);
}

/// spec(5): MQTT-3.2.2-18
#[tokio::test(start_paused = true)]
async fn the_client_uses_no_alias_where_the_broker_takes_none_or_we_want_none() {
    for (theirs, ours) in [(None, 64), (Some(0), 64), (Some(10), 0)] {
        let mut connack = accepted();
        connack.properties.topic_alias_maximum = theirs;
        let name = format!("unaliased-{theirs:?}-{ours}");
        let mut stage = Stage::new(&name, ProtocolVersion::V5).await;
        stage.options.topic_alias_max = ours;
        let (client, mut peer) = stage.pair(connack).await;
        assert_eq!(
            peer.connect.properties.topic_alias_maximum,
            (ours > 0).then_some(ours)
        );
        for _ in 0..4 {
            assert_eq!(hear(&client, &mut peer, "plant/7/heat").await, (0, true));
        }
    }
}

/// spec(5, client): MQTT-3.3.2-7
#[tokio::test(start_paused = true)]
async fn what_is_sent_again_after_a_cut_has_its_whole_topic() {
    let aliased = |mut connack: codec::ConnAck| {
        connack.properties.topic_alias_maximum = Some(5);
        connack
    };
    let mut stage = Stage::new("aliased-again", ProtocolVersion::V5).await;
    stage.keep_session();
    let (client, mut peer) = stage.pair(aliased(accepted())).await;
    let mut last = (0, true);
    for _ in 0..4 {
        let publish = message("plant/7/heat", "x", QoS::AtLeastOnce);
        client.try_publish(publish, None).expect("open");
        last = seen(&peer.heard_publish().await);
    }
    assert_eq!(last, (1, false));
    drop(peer);
    let mut peer = stage.welcome(aliased(resumed())).await;
    for _ in 0..4 {
        let again = peer.heard_publish().await;
        assert!(again.dup);
        assert_eq!(seen(&again), (0, true));
        assert_eq!(again.message.topic.as_str(), "plant/7/heat");
        peer.say_ack(AckKind::PubAck, again.packet_id.expect("QoS 1").get())
            .await;
    }
    for expected in [(1, true), (1, false), (1, false)] {
        assert_eq!(hear(&client, &mut peer, "plant/7/heat").await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_too_large_for_the_broker_leaves_no_alias_behind() {
    let mut connack = accepted();
    connack.properties.topic_alias_maximum = Some(5);
    connack.properties.maximum_packet_size = NonZeroU32::new(60);
    let stage = Stage::new("aliased-large", ProtocolVersion::V5).await;
    let (client, mut peer) = stage.pair(connack).await;
    for _ in 0..3 {
        let large = message("plant/7/heat", "x".repeat(60), QoS::AtMostOnce);
        soon(client.publish(large)).await.expect_err("too large");
    }
    for expected in [(1, true), (1, false), (1, false)] {
        assert_eq!(hear(&client, &mut peer, "plant/7/heat").await, expected);
    }
}

/// spec(5): MQTT-3.1.2-26, MQTT-3.3.2-11
/// spec(5, server): MQTT-3.3.2-8
#[tokio::test]
async fn the_broker_gives_numbers_to_the_topics_of_a_client_that_takes_them() {
    let server = Server::start().await;
    let connect = Connect::new(V5, "sub").properties(&[0x22, 0, 2]);
    let (mut subscriber, _) = server.connect(&connect).await;
    assert_eq!(subscriber.subscribe(&[("plant/#", 0)]).await, [0]);
    let mut publisher = server.client(V4, "pub").await;
    let mut known: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    let mut unnamed = 0;
    for n in 0..40 {
        let topic = format!("plant/{}/heat", n / 4);
        publisher.publish(0, Raw::new(&topic, "x")).await;
        let delivery = subscriber.take().await;
        if delivery.properties.is_empty() {
            assert_eq!(delivery.topic, topic);
            continue;
        }
        assert_eq!(delivery.properties[..2], [0x23, 0]);
        assert!((1..=2).contains(&delivery.properties[2]));
        if delivery.topic.is_empty() {
            unnamed += 1;
            assert_eq!(known.get(&delivery.properties), Some(&topic));
        } else {
            assert_eq!(delivery.topic, topic);
            known.insert(delivery.properties, topic);
        }
    }
    assert_eq!(
        unnamed,
        2 * 3 + 8 * 2,
        "of four each, the last two or three"
    );
}

/// spec(5): MQTT-3.1.2-27
#[tokio::test]
async fn the_broker_uses_no_alias_where_the_client_takes_none_or_the_limit_says_so() {
    let silent = Server::with(|limits| limits.topic_alias_out_max = 0).await;
    let server = Server::start().await;
    for (server, properties) in [
        (&server, &[][..]),
        (&server, &[0x22, 0, 0][..]),
        (&silent, &[0x22, 0, 9][..]),
    ] {
        let connect = Connect::new(V5, "sub").properties(properties);
        let (mut subscriber, _) = server.connect(&connect).await;
        subscriber.subscribe(&[("plant/#", 0)]).await;
        let mut publisher = server.client(V5, "pub").await;
        for _ in 0..4 {
            publisher.publish(0, Raw::new("plant/7/heat", "x")).await;
            let delivery = subscriber.take().await;
            assert_eq!(delivery.topic, "plant/7/heat");
            assert!(delivery.properties.is_empty());
        }
    }
}

/// spec(5, server): MQTT-3.3.2-7
#[tokio::test]
async fn the_broker_sends_again_with_the_whole_topic() {
    let server = Server::start().await;
    let connect = Connect::new(V5, "sub").resume().properties(&[0x22, 0, 2]);
    let (mut subscriber, _) = server.connect(&connect).await;
    subscriber.subscribe(&[("plant/#", 1)]).await;
    let mut publisher = server.client(V5, "pub").await;
    for _ in 0..3 {
        publisher.publish(1, Raw::new("plant/7/heat", "x")).await;
    }
    let mut topics = Vec::new();
    for _ in 0..3 {
        topics.push(subscriber.delivery().await.topic);
    }
    assert_eq!(topics, ["plant/7/heat", "", ""]);
    subscriber.abort();
    let (mut subscriber, is_present) = server.connect(&connect).await;
    assert!(is_present);
    for _ in 0..3 {
        let again = subscriber.take().await;
        assert!(again.dup());
        assert_eq!(
            (again.topic.as_str(), &again.properties[..]),
            ("plant/7/heat", &[][..])
        );
    }
}
