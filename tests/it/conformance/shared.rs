//! Shared subscriptions: each message to one member of the group, whatever becomes of the others.

use crate::raw::bytes::{Connect, Publish, ack, packet, subscribe, subscribe_with};
use crate::raw::{BOTH, Peer, Server, V4, V5, Version, until};

const SHARED: &str = "$share/g/t";

/// Members of one group, with these QoS, in the order in which they joined.
async fn members(server: &Server, version: Version, granted: &[u8]) -> Vec<Peer> {
    let mut members = Vec::new();
    for (number, qos) in granted.iter().enumerate() {
        let connect = Connect::new(version, format!("member-{number}")).resume();
        let (mut member, _) = server.connect(&connect).await;
        member.about(&format!("member {number}"));
        assert_eq!(member.subscribe(&[(SHARED, *qos)]).await, [*qos]);
        members.push(member);
    }
    members
}

async fn connected(server: &Server, count: usize) {
    let is_so = |broker: &rmqtt::broker::Broker| broker.stats().connections == count;
    until("connections", server.broker(), is_so).await;
}

/// Ends a session, by a successor that starts a clean one and leaves.
async fn end_session(server: &Server, version: Version, client_id: &str) {
    let client = server.client(version, client_id).await;
    client.disconnect().await;
}

/// spec(5): MQTT-4.8.2-3
/// spec(5): RMQTT-4.8.2-1
#[tokio::test]
async fn each_message_goes_to_one_member_at_the_qos_it_was_granted() {
    for version in BOTH {
        let server = Server::start().await;
        let mut publisher = server.client(version, "publisher").await;
        let mut members = members(&server, version, &[0, 1, 2]).await;
        for published in 0..=2 {
            for granted in 0..=2 {
                publisher.publish(published, Publish::new("t", "x")).await;
                let delivery = members[usize::from(granted)].take().await;
                assert_eq!(delivery.qos(), published.min(granted));
            }
        }
        for member in &mut members {
            member.expect_nothing().await;
        }
    }
}

/// spec(5): MQTT-4.8.2-4
#[tokio::test]
async fn qos_2_begun_with_a_member_is_finished_with_it() {
    for version in BOTH {
        for has_answered in [false, true] {
            let server = Server::start().await;
            let mut publisher = server.client(version, "publisher").await;
            let mut members = members(&server, version, &[2, 2]).await;
            publisher.publish(2, Publish::new("t", "x")).await;
            let first = members[0].delivery().await;
            if has_answered {
                members[0].send(&ack(0x50, first.id)).await;
                members[0].expect(&ack(0x62, first.id)).await;
            }
            members.remove(0).abort();
            connected(&server, 2).await;
            members[0].expect_nothing().await;
            let again = Connect::new(version, "member-0").resume();
            let (mut resumed, session_present) = server.connect(&again).await;
            assert!(session_present);
            if has_answered {
                resumed.expect(&ack(0x62, first.id)).await;
                resumed.send(&ack(0x70, first.id)).await;
            } else {
                let second = resumed.take().await;
                assert_eq!((second.id, second.dup()), (first.id, true));
                assert_eq!(second.payload, first.payload);
            }
            resumed.expect_nothing().await;
            members[0].expect_nothing().await;
        }
    }
}

/// spec(5): MQTT-4.8.2-5
#[tokio::test]
async fn qos_2_begun_with_a_member_is_never_sent_to_another() {
    for version in BOTH {
        let server = Server::start().await;
        let mut publisher = server.client(version, "publisher").await;
        let mut members = members(&server, version, &[2, 2]).await;
        publisher.publish(2, Publish::new("t", "begun")).await;
        members[0].delivery().await;
        members.remove(0).abort();
        end_session(&server, version, "member-0").await;
        members[0].expect_nothing().await;
        publisher.publish(2, Publish::new("t", "next")).await;
        assert_eq!(members[0].take().await.text(), "next");
    }
}

/// spec(5): MQTT-4.8.2-6
#[tokio::test]
async fn what_a_member_refuses_no_other_gets() {
    let server = Server::start().await;
    let mut publisher = server.client(V5, "publisher").await;
    let mut members = members(&server, V5, &[2, 2]).await;
    for qos in [1, 2] {
        publisher.publish(qos, Publish::new("t", "no")).await;
        publisher.publish(qos, Publish::new("t", "yes")).await;
        let refused = members[0].delivery().await;
        let id = refused.id.to_be_bytes();
        let no = packet(0x30 + 0x10 * qos, &[id[0], id[1], 0x80]);
        members[0].send(&no).await;
        members[0].expect_nothing().await;
        assert_eq!(members[1].take().await.text(), "yes");
    }
    members.remove(0).abort();
    end_session(&server, V5, "member-0").await;
    members[0].expect_nothing().await;
}

#[tokio::test]
async fn qos_1_that_a_member_did_not_acknowledge_goes_to_another_when_its_session_ends() {
    for version in BOTH {
        let server = Server::start().await;
        let mut publisher = server.client(version, "publisher").await;
        let mut members = members(&server, version, &[1, 1]).await;
        for text in ["0", "1", "2", "3"] {
            publisher.publish(1, Publish::new("t", text)).await;
        }
        assert_eq!(members[0].delivery().await.text(), "0");
        assert_eq!(members[0].delivery().await.text(), "2");
        for text in ["1", "3"] {
            assert_eq!(members[1].take().await.text(), text);
        }
        members.remove(0).abort();
        connected(&server, 2).await;
        members[0].expect_nothing().await;
        end_session(&server, version, "member-0").await;
        for text in ["0", "2"] {
            let delivery = members[0].take().await;
            assert_eq!((delivery.text(), delivery.dup()), (text, false));
        }
        members[0].expect_nothing().await;
    }
}

#[tokio::test]
async fn members_that_are_away_are_passed_over_and_the_group_waits_when_all_are() {
    for version in BOTH {
        let server = Server::start().await;
        let mut publisher = server.client(version, "publisher").await;
        let mut members = members(&server, version, &[1, 1]).await;
        members.remove(0).abort();
        connected(&server, 2).await;
        for text in ["a", "b"] {
            publisher.publish(1, Publish::new("t", text)).await;
            assert_eq!(members[0].take().await.text(), text);
        }
        members.remove(0).abort();
        connected(&server, 1).await;
        for (qos, text) in [(0, "lost"), (1, "c"), (2, "d")] {
            publisher.publish(qos, Publish::new("t", text)).await;
        }
        assert_eq!(server.stats().queued_messages, 2);
        let again = Connect::new(version, "member-0").resume();
        let (mut resumed, _) = server.connect(&again).await;
        for text in ["c", "d"] {
            assert_eq!(resumed.take().await.text(), text);
        }
        resumed.expect_nothing().await;
    }
}

/// spec(5): MQTT-3.10.4-1, MQTT-3.10.4-5
/// spec(5): RMQTT-4.8.2-3
#[tokio::test]
async fn a_group_is_left_by_its_whole_text_and_ends_with_its_last_member() {
    let server = Server::start().await;
    let mut publisher = server.client(V5, "publisher").await;
    let mut member = members(&server, V5, &[1]).await.remove(0);
    let others = ["t", "$share/h/t", "$share/g/t/", "$SHARE/g/t"];
    assert_eq!(member.unsubscribe(&others).await, [0x11; 4]);
    publisher.publish(1, Publish::new("t", "still")).await;
    assert_eq!(member.take().await.text(), "still");
    assert_eq!(member.unsubscribe(&[SHARED]).await, [0]);
    publisher.publish(1, Publish::new("t", "gone")).await;
    member.expect_nothing().await;
    assert_eq!(member.subscribe(&[(SHARED, 1)]).await, [1]);
    member.expect_nothing().await;
    assert_eq!(server.stats().queued_messages, 0);
}

#[tokio::test]
async fn a_session_gets_one_copy_for_itself_and_one_for_each_of_its_groups() {
    for version in BOTH {
        let server = Server::start().await;
        let mut publisher = server.client(version, "publisher").await;
        let mut peer = server.client(version, "peer").await;
        let filters = [("t", 1), ("#", 1), (SHARED, 1), ("$share/h/+", 1)];
        assert_eq!(peer.subscribe(&filters).await, [1; 4]);
        publisher.publish(1, Publish::new("t", "x")).await;
        for _ in 0..3 {
            assert_eq!(peer.take().await.text(), "x");
        }
        peer.expect_nothing().await;
        // The filter of a group is not one of the session's.
        peer.unsubscribe(&["t", "#"]).await;
        publisher.publish(1, Publish::new("t", "y")).await;
        for _ in 0..2 {
            assert_eq!(peer.take().await.text(), "y");
        }
        peer.expect_nothing().await;
    }
}

/// spec(5): MQTT-3.3.4-3, MQTT-3.3.4-4, MQTT-3.3.4-5
#[tokio::test]
async fn each_copy_names_the_subscriptions_it_is_for_and_no_others() {
    let server = Server::start().await;
    let mut peer = server.client(V5, "peer").await;
    let filters = ["t", "#", SHARED, "$share/h/+", "$share/i/t"];
    for (number, filter) in (1..).zip(filters) {
        let identifier = [0x0B, number];
        let properties = if number < 5 { &identifier[..] } else { &[] };
        let bytes = subscribe_with(V5, 1, properties, &[(filter, 1)]);
        peer.send(&bytes).await;
        assert_eq!(peer.expect_codes(0x90, 1).await, [1]);
    }
    let mut publisher = server.client(V5, "publisher").await;
    publisher.publish(1, Publish::new("t", "x")).await;
    let mut named = Vec::new();
    for _ in 0..4 {
        named.push(peer.take().await.properties);
    }
    named.sort_unstable();
    // One for the session itself, one for each group; the last has no identifier.
    let expected: [&[u8]; 4] = [&[], &[0x0B, 1, 0x0B, 2], &[0x0B, 3], &[0x0B, 4]];
    assert_eq!(named, expected);
    peer.expect_nothing().await;
}

/// spec(5): MQTT-3.3.4-3
/// spec(5): RMQTT-4.8.2-2
#[tokio::test]
async fn each_member_has_its_own_identifier_and_its_own_retain_flag() {
    let server = Server::start().await;
    let mut publisher = server.client(V5, "publisher").await;
    publisher
        .publish(1, Publish::new("t", "old").retain())
        .await;
    let mut members = Vec::new();
    for (number, options) in [(1, 1), (2, 0x09)] {
        let mut member = server.client(V5, &format!("member-{number}")).await;
        let bytes = subscribe_with(V5, 1, &[0x0B, number], &[(SHARED, options)]);
        member.send(&bytes).await;
        assert_eq!(member.expect_codes(0x90, 1).await, [1]);
        // What was retained was never the group's to share out.
        member.expect_nothing().await;
        members.push(member);
    }
    for _ in 0..2 {
        publisher.publish(1, Publish::new("t", "x").retain()).await;
    }
    for (number, member) in (1..).zip(&mut members) {
        let delivery = member.take().await;
        assert_eq!(delivery.properties, [0x0B, number]);
        assert_eq!(delivery.retain(), number == 2);
    }
}

/// spec(5, server): MQTT-3.8.3-4
#[tokio::test]
async fn no_local_has_no_place_in_a_shared_subscription() {
    let server = Server::start().await;
    let mut peer = server.client(V5, "peer").await;
    peer.send(&subscribe(V5, 1, &[(SHARED, 0x05)])).await;
    peer.expect_end(&[0x82]).await;
}

/// spec(5): RMQTT-4.8.2-1
#[tokio::test]
async fn clients_of_both_versions_share() {
    let server = Server::start().await;
    let mut publisher = server.client(V5, "publisher").await;
    let mut members = Vec::new();
    for version in [V4, V5] {
        let mut member = server.client(version, &format!("{version:?}")).await;
        assert_eq!(member.subscribe(&[(SHARED, 1)]).await, [1]);
        members.push(member);
    }
    for text in ["0", "1", "2", "3"] {
        publisher.publish(1, Publish::new("t", text)).await;
    }
    for (member, texts) in members.iter_mut().zip([["0", "2"], ["1", "3"]]) {
        for text in texts {
            assert_eq!(member.take().await.text(), text);
        }
    }
}
