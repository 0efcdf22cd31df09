//! The packet ids a broker gives to what it delivers, over more messages than there are ids.

use crate::broker_house::House;
use crate::broker_packets::{BOTH, V4, ack, id, options, publish, resume, subscribe};
use rmqtt::codec::AckKind;
use rmqtt::message::QoS;

/// spec(4): MQTT-2.3.1-4
/// spec(5): MQTT-2.2.1-4
/// spec(5, server): MQTT-4.3.2-1
#[test]
fn ids_go_round_and_pass_those_that_are_open() {
    let mut house = House::new();
    let publisher = house.connected(V4, "p");
    let peers = BOTH.map(|version| {
        let peer = house.connect(resume(version, &format!("{version:?}")));
        house.let_in(peer);
        house.send(peer, &subscribe(&[("t", options(QoS::AtLeastOnce))]));
        house.heard(peer);
        peer
    });
    let deliver = |house: &mut House| {
        house.send(publisher, &publish("t", "x", QoS::AtMostOnce, 0));
        peers.map(|peer| house.messages(peer).remove(0).packet_id)
    };
    // QoS 0 has no id, and takes none away.
    assert_eq!(deliver(&mut house), [None, None]);
    let deliver = |house: &mut House| {
        house.send(publisher, &publish("t", "x", QoS::AtLeastOnce, 1));
        house.heard(publisher);
        peers.map(|peer| house.messages(peer).remove(0).packet_id.expect("QoS 1"))
    };
    let open = [deliver(&mut house), deliver(&mut house)];
    assert_eq!(open, [[id(1); 2], [id(2); 2]]);
    let mut last = 2;
    for _ in 0..65_700 {
        let next = if last == u16::MAX { 3 } else { last + 1 };
        assert_eq!(deliver(&mut house), [id(next); 2], "neither 0 nor 1 nor 2");
        last = next;
        for peer in peers {
            house.send(peer, &ack(AckKind::PubAck, id(next)));
        }
    }
}
