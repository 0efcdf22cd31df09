//! One raw peer: a socket, what it has read so far, and what is expected of it.

use super::bytes::{DISCONNECT, PINGREQ, PINGRESP, Publish, ack, subscribe, unsubscribe};
use super::{V4, V5, Version, in_time};
use ::bytes::{Buf, BytesMut};
use std::fmt::Write;
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// One end of a connection, driven by hand.
pub(crate) struct Peer {
    stream: TcpStream,
    input: BytesMut,
    pub(crate) version: Version,
    label: String,
    last_id: u16,
}

/// A PUBLISH that came from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) first: u8,
    pub(crate) topic: String,
    pub(crate) id: u16,
    pub(crate) properties: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Delivery {
    pub(crate) fn qos(&self) -> u8 {
        self.first >> 1 & 3
    }

    pub(crate) fn retain(&self) -> bool {
        self.first & 0x01 != 0
    }

    pub(crate) fn dup(&self) -> bool {
        self.first & 0x08 != 0
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap()
    }
}

impl Peer {
    pub(crate) async fn open(port: u16, version: Version) -> Self {
        Self::open_from([127, 0, 0, 1], port, version).await
    }

    /// From another address of this machine: only Linux has those without being asked.
    pub(crate) async fn open_from(address: [u8; 4], port: u16, version: Version) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        // Small, so that a peer which does not read is soon felt at the other end.
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let address = ([127, 0, 0, 1], port).into();
        let stream = in_time("to connect", socket.connect(address))
            .await
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            input: BytesMut::new(),
            version,
            label: format!("{version:?}"),
            last_id: 0,
        }
    }

    /// Says what this peer is about, for when it fails.
    pub(crate) fn about(&mut self, label: &str) {
        self.label = format!("{:?}, {label}", self.version);
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let sent = in_time("to send", self.stream.write_all(bytes)).await;
        assert!(sent.is_ok(), "{}: {sent:?}", self.label);
    }

    /// Sends, and says whether the other end still took it.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        in_time("to send", self.stream.write_all(bytes))
            .await
            .is_ok()
    }

    /// What can be sent without waiting; the number of bytes that went.
    pub(crate) fn send_now(&mut self, bytes: &[u8]) -> usize {
        self.stream.try_write(bytes).unwrap_or(0)
    }

    /// Whether something more came; not if the connection has ended.
    async fn fill(&mut self) -> bool {
        let read = in_time(&self.label, self.stream.read_buf(&mut self.input)).await;
        match read {
            Ok(count) => count > 0,
            // A peer that closes with something unread resets: closed all the same.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{}: {error}", self.label),
        }
    }

    /// The next packet, whole, or `None` when the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(size) = size_of_first(&self.input) {
                return Some(self.input.split_to(size).to_vec());
            }
            if !self.fill().await {
                assert!(self.input.is_empty(), "{}: half a packet", self.label);
                return None;
            }
        }
    }

    pub(crate) async fn expect_packet(&mut self) -> Vec<u8> {
        match self.next().await {
            Some(packet) => packet,
            None => panic!("{}: closed, a packet was expected", self.label),
        }
    }

    /// Exactly these bytes come next, and they are whole packets.
    pub(crate) async fn expect(&mut self, bytes: &[u8]) {
        let mut got = Vec::new();
        while got.len() < bytes.len() {
            got.extend(self.expect_packet().await);
        }
        assert_eq!(hex(&got), hex(bytes), "{}", self.label);
    }

    /// The connection ends, and nothing comes before.
    pub(crate) async fn expect_closed(&mut self) {
        let packet = self.next().await;
        let got = packet.map(|packet| hex(&packet));
        assert_eq!(got, None, "{}: closed was expected", self.label);
    }

    /// The broker ends the connection: an MQTT 5 peer is told one of these reasons, a 3.1.1 peer nothing.
    pub(crate) async fn expect_end(&mut self, reasons: &[u8]) {
        if self.version == V5 {
            let packet = self.expect_packet().await;
            let got = hex(&packet);
            assert_eq!(packet[0], 0xE0, "{}: {got}, not DISCONNECT", self.label);
            let reason = packet.get(2).copied().unwrap_or(0);
            let label = &self.label;
            assert!(
                reasons.contains(&reason),
                "{label}: {got}, not {reasons:02x?}"
            );
        }
        self.expect_closed().await;
    }

    /// CONNECT is not accepted: 3.1.1 is closed in silence, MQTT 5 may be told a reason first.
    pub(crate) async fn expect_refused(&mut self) {
        match self.next().await {
            None => {}
            Some(packet) => {
                let got = hex(&packet);
                assert_eq!(self.version, V5, "{}: {got}", self.label);
                assert_eq!((packet[0], packet[2]), (0x20, 0), "{}: {got}", self.label);
                assert!(packet[3] >= 0x80, "{}: {got}", self.label);
                self.expect_closed().await;
            }
        }
    }

    /// CONNACK with success; whether the session was present.
    pub(crate) async fn expect_accepted(&mut self) -> bool {
        let (flags, _) = self.expect_connack(0).await;
        flags == 1
    }

    /// CONNACK with this code: its flags and its properties.
    pub(crate) async fn expect_connack(&mut self, code: u8) -> (u8, Vec<u8>) {
        let packet = self.expect_packet().await;
        let body = body_of(&packet);
        assert_eq!((packet[0], body[1]), (0x20, code), "{}", self.label);
        assert!(body[0] <= 1, "{}: {packet:02x?}", self.label);
        let properties = match self.version {
            V4 => Vec::new(),
            V5 => split_block(&mut &body[2..]),
        };
        (body[0], properties)
    }

    /// A PUBLISH comes next. It is not acknowledged.
    pub(crate) async fn delivery(&mut self) -> Delivery {
        let packet = self.expect_packet().await;
        assert_eq!(packet[0] >> 4, 3, "{}: {}", self.label, hex(&packet));
        let mut body = body_of(&packet);
        let length = usize::from(body.get_u16());
        let topic = String::from_utf8(body.copy_to_bytes(length).to_vec()).unwrap();
        let id = if packet[0] & 0x06 == 0 {
            0
        } else {
            body.get_u16()
        };
        let properties = match self.version {
            V4 => Vec::new(),
            V5 => split_block(&mut body),
        };
        Delivery {
            first: packet[0],
            topic,
            id,
            properties,
            payload: body.to_vec(),
        }
    }

    /// A PUBLISH comes next, and is acknowledged to the end.
    pub(crate) async fn take(&mut self) -> Delivery {
        let delivery = self.delivery().await;
        self.settle(&delivery).await;
        delivery
    }

    /// Acknowledges a delivery to the end.
    pub(crate) async fn settle(&mut self, delivery: &Delivery) {
        match delivery.qos() {
            0 => {}
            1 => self.send(&ack(0x40, delivery.id)).await,
            _ => {
                self.send(&ack(0x50, delivery.id)).await;
                self.expect(&ack(0x62, delivery.id)).await;
                self.send(&ack(0x70, delivery.id)).await;
            }
        }
    }

    /// A fresh packet id.
    pub(crate) fn fresh_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// Publishes with a fresh id, and waits until the broker has it, whatever the QoS.
    pub(crate) async fn publish(&mut self, qos: u8, publish: Publish) {
        let id = self.fresh_id();
        let bytes = publish.qos(qos, id).bytes(self.version);
        self.send(&bytes).await;
        match qos {
            0 => self.ping().await,
            1 => self.expect_ack(0x40, id).await,
            _ => {
                self.expect_ack(0x50, id).await;
                self.send(&ack(0x62, id)).await;
                self.expect_ack(0x70, id).await;
            }
        }
    }

    /// An acknowledgement of success: MQTT 5 may add that nobody was there to receive it.
    pub(crate) async fn expect_ack(&mut self, first: u8, id: u16) {
        let code = self.expect_ack_code(first, id).await;
        assert!(code == 0 || code == 0x10, "{}: code {code:02x}", self.label);
    }

    /// An acknowledgement, and its code; 0 if it has none.
    pub(crate) async fn expect_ack_code(&mut self, first: u8, id: u16) -> u8 {
        let packet = self.expect_packet().await;
        let head = [&[first], &id.to_be_bytes()[..]].concat();
        let got = [packet[0], packet[2], packet[3]];
        assert_eq!(hex(&got), hex(&head), "{}", self.label);
        packet.get(4).copied().unwrap_or(0)
    }

    /// PINGREQ, and nothing but its answer.
    pub(crate) async fn ping(&mut self) {
        self.send(&PINGREQ).await;
        self.expect(&PINGRESP).await;
    }

    /// Nothing is on its way to this peer. Twice, so that what was queued when the first PINGREQ came would be seen.
    pub(crate) async fn expect_nothing(&mut self) {
        self.ping().await;
        self.ping().await;
    }

    /// Reads whatever is on its way, and throws it away.
    pub(crate) async fn drain(&mut self) {
        self.send(&PINGREQ).await;
        while self.expect_packet().await != PINGRESP {}
    }

    /// Subscribes, and returns the codes of the SUBACK.
    pub(crate) async fn subscribe(&mut self, filters: &[(&str, u8)]) -> Vec<u8> {
        let id = self.fresh_id();
        let bytes = subscribe(self.version, id, filters);
        self.send(&bytes).await;
        self.expect_codes(0x90, id).await
    }

    /// Unsubscribes, and returns the codes of the UNSUBACK; 3.1.1 has none.
    pub(crate) async fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let id = self.fresh_id();
        let bytes = unsubscribe(self.version, id, filters);
        self.send(&bytes).await;
        self.expect_codes(0xB0, id).await
    }

    /// SUBACK or UNSUBACK with this id, and its codes.
    pub(crate) async fn expect_codes(&mut self, first: u8, id: u16) -> Vec<u8> {
        let packet = self.expect_packet().await;
        let got = hex(&packet);
        assert_eq!(packet[0], first, "{}: {got}", self.label);
        let mut body = body_of(&packet);
        assert_eq!(body.get_u16(), id, "{}: {got}", self.label);
        if self.version == V5 {
            split_block(&mut body);
        }
        body.to_vec()
    }

    /// Takes its leave as one should, and waits until the broker has closed.
    pub(crate) async fn disconnect(mut self) {
        self.send(&DISCONNECT).await;
        self.expect_closed().await;
    }

    /// Breaks the connection off, as a failing network does.
    pub(crate) fn abort(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

/// How long the first packet is, if all of it is here.
fn size_of_first(input: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (index, byte) in input.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let size = 2 + index + length;
            return (input.len() >= size).then_some(size);
        }
    }
    None
}

/// What stands behind the fixed header.
fn body_of(packet: &[u8]) -> &[u8] {
    let digits = packet[1..].iter().take_while(|byte| **byte & 0x80 != 0);
    &packet[2 + digits.count()..]
}

/// Takes a block of properties off the front.
fn split_block(body: &mut &[u8]) -> Vec<u8> {
    let mut length = 0;
    let mut shift = 0;
    loop {
        let digit = body.get_u8();
        length |= usize::from(digit & 0x7F) << shift;
        shift += 7;
        if digit & 0x80 == 0 {
            break;
        }
    }
    body.copy_to_bytes(length).to_vec()
}

/// Readable, and cut where nobody reads on.
fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes.iter().take(64) {
        write!(out, "{byte:02x} ").unwrap();
    }
    if bytes.len() > 64 {
        write!(out, "… {} bytes", bytes.len()).unwrap();
    }
    out
}
