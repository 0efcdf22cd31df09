//! What a message has with it when it arrives: properties, time, size.

use crate::raw::bytes::{Connect, Publish, field, user_property};
use crate::raw::{Peer, Server, V4, V5};
use tokio::time::Instant;

/// Every property a message may have and keep, but its expiry.
fn properties() -> Vec<u8> {
    [
        vec![0x01, 1],
        [vec![0x03], field("text/plain")].concat(),
        [vec![0x08], field("answer/h\u{e9}re")].concat(),
        [vec![0x09], field((0..=255).collect::<Vec<u8>>())].concat(),
        user_property("b", "1"),
        user_property("a", ""),
        user_property("", "\u{1F980}"),
        user_property("b", "1"),
        user_property("b", "0"),
    ]
    .concat()
}

/// The properties in the order of their numbers; those of the same number in the order given.
fn sorted(properties: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = properties;
    while let Some(&id) = rest.first() {
        let length = |at: usize| 2 + usize::from(rest[at]) * 256 + usize::from(rest[at + 1]);
        let size = match id {
            0x01 => 2,
            0x02 => 5,
            0x26 => 1 + length(1) + length(1 + length(1)),
            _ => 1 + length(1),
        };
        found.push(rest[..size].to_vec());
        rest = &rest[size..];
    }
    found.sort_by_key(|property| property[0]);
    found
}

/// Passes time with traffic between these two.
async fn pass(milliseconds: u128, publisher: &mut Peer) {
    let begin = Instant::now();
    while begin.elapsed().as_millis() < milliseconds {
        publisher.ping().await;
    }
}

/// spec(5): MQTT-3.3.2-4, MQTT-3.3.2-15, MQTT-3.3.2-16, MQTT-3.3.2-17, MQTT-3.3.2-18, MQTT-3.3.2-20
#[tokio::test]
async fn properties_arrive_as_they_were_sent() {
    let server = Server::start().await;
    let absent = Connect::new(V5, "absent").resume();
    let (mut peer, _) = server.connect(&absent).await;
    peer.subscribe(&[("t", 1)]).await;
    peer.disconnect().await;
    let mut live = server.client(V5, "live").await;
    live.subscribe(&[("t", 1)]).await;
    let mut publisher = server.client(V5, "publisher").await;
    let all = properties();
    for properties in [&all[..], &[0x01, 0], &[]] {
        let publish = Publish::new("t", "x").properties(properties).retain();
        publisher.publish(1, publish).await;
        let delivery = live.take().await;
        assert_eq!(sorted(&delivery.properties), sorted(properties));
        let mut late = server.client(V5, "late").await;
        late.subscribe(&[("t", 1)]).await;
        let delivery = late.take().await;
        assert_eq!(sorted(&delivery.properties), sorted(properties));
    }
    let (mut peer, _) = server.connect(&absent).await;
    let delivery = peer.take().await;
    assert_eq!(sorted(&delivery.properties), sorted(&all));
}

/// 3.1.1 has no place for properties, and sends none.
#[tokio::test]
async fn properties_stay_in_mqtt_5() {
    let server = Server::start().await;
    let mut old = server.client(V4, "old").await;
    let mut new = server.client(V5, "new").await;
    for peer in [&mut old, &mut new] {
        peer.subscribe(&[("t", 1)]).await;
    }
    let publish = Publish::new("t", "new").properties(&properties());
    let mut publisher = server.client(V5, "publisher").await;
    publisher.publish(1, publish).await;
    let mut publisher = server.client(V4, "publisher").await;
    publisher.publish(1, Publish::new("t", "old")).await;
    for expected in ["new", "old"] {
        assert_eq!(old.take().await.text(), expected);
        assert_eq!(new.take().await.text(), expected);
    }
}

/// spec(5): MQTT-3.3.2-5, MQTT-3.3.2-6
#[tokio::test]
async fn a_message_expires_and_says_how_long_it_has() {
    let server = Server::start().await;
    let absent = Connect::new(V5, "absent").resume();
    let (mut peer, _) = server.connect(&absent).await;
    peer.subscribe(&[("#", 1)]).await;
    peer.disconnect().await;
    let mut live = server.client(V5, "live").await;
    live.subscribe(&[("#", 1)]).await;
    let mut publisher = server.client(V5, "publisher").await;
    for (topic, seconds) in [("short", 1), ("long", 100)] {
        let expiry = [0x02, 0, 0, 0, seconds];
        let publish = Publish::new(topic, "x").properties(&expiry).retain();
        publisher.publish(1, publish).await;
        assert_eq!(live.take().await.properties, expiry);
    }
    pass(1200, &mut publisher).await;
    let (mut peer, _) = server.connect(&absent).await;
    let mut late = server.client(V5, "late").await;
    late.subscribe(&[("#", 1)]).await;
    for peer in [&mut peer, &mut late] {
        let delivery = peer.take().await;
        assert_eq!(delivery.topic, "long");
        let left = delivery.properties[4];
        assert!((60..=99).contains(&left), "{left} of 100 s are left");
        peer.expect_nothing().await;
    }
    assert_eq!(server.broker().retained().len(), 1);
}

/// spec(5, server): MQTT-4.3.3-7, MQTT-4.3.3-13
#[tokio::test]
async fn a_handshake_that_has_begun_is_finished_whatever_the_time() {
    let server = Server::start().await;
    let connect = Connect::new(V5, "slow").resume();
    let (mut peer, _) = server.connect(&connect).await;
    peer.subscribe(&[("t", 2)]).await;
    let mut publisher = server.client(V5, "publisher").await;
    let publish = Publish::new("t", "x").properties(&[0x02, 0, 0, 0, 1]);
    publisher.send(&publish.qos(2, 9).bytes(V5)).await;
    publisher.expect_ack(0x50, 9).await;
    let delivery = peer.delivery().await;
    peer.abort();
    pass(1200, &mut publisher).await;
    publisher.send(&[0x62, 0x02, 0, 9]).await;
    assert_eq!(publisher.expect_ack_code(0x70, 9).await, 0);
    let (mut peer, _) = server.connect(&connect).await;
    let again = peer.delivery().await;
    assert_eq!(
        (again.id, again.dup(), again.text()),
        (delivery.id, true, "x")
    );
    peer.settle(&again).await;
    peer.expect_nothing().await;
}

/// spec(5): MQTT-3.1.2-24, MQTT-3.1.2-25
#[tokio::test]
async fn nothing_larger_than_the_client_takes_is_sent_and_it_counts_as_delivered() {
    let server = Server::start().await;
    let connect = Connect::new(V5, "small")
        .resume()
        .properties(&[0x27, 0, 0, 0, 40, 0x21, 0, 1]);
    let mut peer = server.socket(V5).await;
    peer.send(&connect.bytes()).await;
    assert!(!peer.expect_accepted().await);
    peer.subscribe(&[("t", 1)]).await;
    let mut publisher = server.client(V5, "publisher").await;
    // First byte, length, topic, id, properties: eight bytes beside the payload.
    for size in [33, 32, 5000, 1, 33] {
        publisher
            .publish(1, Publish::new("t", vec![b'x'; size]))
            .await;
    }
    for size in [32, 1] {
        assert_eq!(peer.take().await.payload.len(), size);
    }
    peer.expect_nothing().await;
    peer.disconnect().await;
    publisher
        .publish(1, Publish::new("t", vec![b'x'; 33]))
        .await;
    publisher
        .publish(1, Publish::new("t", vec![b'x'; 32]))
        .await;
    let (mut peer, is_present) = server.connect(&connect).await;
    assert!(is_present);
    assert_eq!(peer.take().await.payload.len(), 32);
    peer.expect_nothing().await;
}

/// spec(5): MQTT-3.1.2-26, MQTT-3.1.2-27, MQTT-3.3.2-11
#[tokio::test]
async fn no_topic_alias_is_used_that_the_client_did_not_allow() {
    let server = Server::start().await;
    for maximum in [None, Some(0), Some(2)] {
        let properties = maximum.map_or(vec![], |maximum| vec![0x22, 0, maximum]);
        let connect = Connect::new(V5, "peer").properties(&properties);
        let (mut peer, _) = server.connect(&connect).await;
        peer.subscribe(&[("#", 0)]).await;
        for round in 0..20 {
            let topic = format!("t/{}", round % 5);
            peer.send(&Publish::new(&topic, "x").bytes(V5)).await;
            let delivery = peer.take().await;
            match (&delivery.properties[..], maximum) {
                ([], _) => assert_eq!(delivery.topic, topic),
                ([0x23, 0, alias], Some(maximum)) => assert!((1..=maximum).contains(alias)),
                (other, _) => panic!("{other:02x?}"),
            }
        }
    }
}

/// spec(5): MQTT-3.1.2-29
/// spec(5): MQTT-3.9.2-1, MQTT-3.9.2-2, MQTT-3.11.2-1, MQTT-3.11.2-2
/// spec(5, server): MQTT-3.4.2-2, MQTT-3.4.2-3, MQTT-3.5.2-2, MQTT-3.5.2-3, MQTT-3.6.2-2, MQTT-3.6.2-3, MQTT-3.7.2-2, MQTT-3.7.2-3
#[tokio::test]
async fn answers_stay_short_for_who_wants_them_short() {
    let server = Server::start().await;
    for properties in [&[0x17, 0][..], &[0x27, 0, 0, 0, 12]] {
        let connect = Connect::new(V5, "brief").properties(properties);
        let mut peer = server.socket(V5).await;
        peer.send(&connect.bytes()).await;
        let packet = peer.expect_packet().await;
        assert_eq!((packet[0], packet[3]), (0x20, 0));
        peer.send(&Publish::new("$SYS/x", "x").qos(1, 1).bytes(V5))
            .await;
        peer.expect(&[0x40, 0x03, 0, 1, 0x87]).await;
        peer.send(&Publish::new("$SYS/x", "x").qos(2, 2).bytes(V5))
            .await;
        peer.expect(&[0x50, 0x03, 0, 2, 0x87]).await;
        peer.send(&[0x62, 0x02, 0, 3]).await;
        peer.expect(&[0x70, 0x03, 0, 3, 0x92]).await;
        assert_eq!(peer.subscribe(&[("a#", 0)]).await, [0x8F]);
        assert_eq!(peer.unsubscribe(&["a"]).await, [0x11]);
        assert_eq!(peer.subscribe(&[("t", 2)]).await, [2]);
        let mut publisher = server.client(V5, "publisher").await;
        publisher.publish(2, Publish::new("t", "x")).await;
        // This also compares the PUBREL.
        peer.take().await;
        // Neither a reason in words nor anybody's properties: the codes above were the whole of it.
        peer.send(&[0x00, 0x00]).await;
        peer.expect_end(&[0x81]).await;
    }
}
