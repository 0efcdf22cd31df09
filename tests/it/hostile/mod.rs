//! What broke other brokers, tried on ours: bytes that are no MQTT, packets that nobody may send, and clients that are
//! slow, silent, deaf or greedy. Each ends that connection with the right code or close, and the witnesses go on.

mod counted;
mod first_packet;
mod greed;
mod groups;
mod leave;
mod malformed;
mod memory;
mod noise;
mod page;
mod patience;
mod places;
mod properties;
mod queues;
mod rates;
mod stop;
mod strings;
mod subscriptions;
mod topics;

use crate::raw::bytes::PINGREQ;
use crate::raw::{Server, Version};

/// The reasons an MQTT 5 peer is told most often.
const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;

/// One attack of a connected client on its own connection.
struct Attack {
    name: String,
    bytes: Vec<u8>,
    /// What MQTT 5 is told: one of these.
    reasons: Vec<u8>,
}

fn attack(name: impl Into<String>, bytes: impl Into<Vec<u8>>, reasons: &[u8]) -> Attack {
    Attack {
        name: name.into(),
        bytes: bytes.into(),
        reasons: reasons.to_vec(),
    }
}

/// Each attack on a connection of its own: it ends that one, a packet behind it is not looked at, and others go on.
async fn each_ends_its_connection(server: &Server, version: Version, attacks: &[Attack]) {
    let mut witness = server.witness().await;
    for attack in attacks {
        let mut peer = server.client(version, "attacker").await;
        peer.about(&attack.name);
        let bytes = [&attack.bytes, &PINGREQ[..]].concat();
        peer.send(&bytes).await;
        witness.goes_on().await;
        peer.expect_end(&attack.reasons).await;
    }
    witness.goes_on().await;
}
