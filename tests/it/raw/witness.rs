//! Two clients of good behaviour, to be asked during and after an attack whether they are still served.

use super::bytes::Publish;
use super::{Peer, Server, V4, V5};

/// A publisher that speaks 3.1.1 and a subscriber that speaks MQTT 5, at QoS 1.
pub(crate) struct Witness {
    publisher: Peer,
    subscriber: Peer,
    count: u32,
}

impl Witness {
    pub(super) async fn new(server: &Server) -> Self {
        let mut publisher = server.client(V4, "witness-publisher").await;
        let mut subscriber = server.client(V5, "witness-subscriber").await;
        publisher.about("the witness that publishes");
        subscriber.about("the witness that subscribes");
        assert_eq!(subscriber.subscribe(&[("witness/+", 1)]).await, [1]);
        let mut witness = Self {
            publisher,
            subscriber,
            count: 0,
        };
        witness.goes_on().await;
        witness
    }

    /// One more message goes through, is the right one, and is acknowledged at both ends.
    pub(crate) async fn goes_on(&mut self) {
        self.count += 1;
        let payload = self.count.to_be_bytes();
        self.publisher
            .publish(1, Publish::new("witness/traffic", payload))
            .await;
        let delivery = self.subscriber.take().await;
        assert_eq!((delivery.qos(), delivery.payload), (1, payload.to_vec()));
    }
}
