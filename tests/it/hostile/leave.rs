//! Peers that take their leave while much is on its way to them, and close at once: their last words count.

use crate::raw::bytes::{Connect, DISCONNECT, Publish, Will};
use crate::raw::{BOTH, Server, until};
use rmqtt::message::Message;
use rmqtt::topic::TopicName;

/// Closing with something unread resets the connection: the broker's next write fails while the goodbye waits to be read.
///
/// spec(4): MQTT-3.14.4-3
/// spec(5): MQTT-3.14.4-3
#[tokio::test]
async fn last_words_count_although_the_socket_is_reset_right_behind_them() {
    for version in BOTH {
        let server = Server::start().await;
        let mut will = Will::new("will", "lost");
        will.retain = true;
        let connect = Connect::new(version, "busy").will(&will);
        let (mut peer, _) = server.connect(&connect).await;
        peer.subscribe(&[("flood", 0)]).await;
        let topic = TopicName::new("flood").expect("a topic");
        let flood = Message::new(topic, vec![b'x'; 512 << 10]);
        // Until the queue does not empty any more, since nothing can be written.
        while server.stats().queued_messages < 3 {
            server.broker().publish(flood.clone()).expect("room");
            tokio::task::yield_now().await;
        }
        let last = [
            Publish::new("last/0", "0").retain().bytes(version),
            Publish::new("last/1", "1")
                .qos(1, 7)
                .retain()
                .bytes(version),
            DISCONNECT.to_vec(),
        ];
        // On the one thread of this test the broker does not run between the two.
        peer.send(&last.concat()).await;
        drop(peer);
        until("the end", server.broker(), |broker| {
            broker.stats().connections == 0
        })
        .await;
        let retained = server.broker().retained();
        let topics: Vec<_> = retained.iter().map(|kept| kept.topic.as_str()).collect();
        assert_eq!(topics, ["last/0", "last/1"], "{version:?}");
    }
}
