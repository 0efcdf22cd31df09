//! A broker that does what a test says, packet by packet, and small helpers for tests of the client.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail by panicking"
)]

use bytes::{Buf, BytesMut};
use rmqtt::client::{
    Client, ClientOptions, Delivery, Inbox, Subscription, SubscriptionSettings, Taken,
};
use rmqtt::codec::{
    self, Ack, AckKind, ConnAck, ConnAckProperties, Connect, Limits, Packet, PacketId,
    ProtocolVersion, Publish, ReasonCode, SendBuffer, SubAck, SubscribeFilter, SubscriptionOptions,
};
use rmqtt::message::{Message, QoS};
use rmqtt::topic::TopicName;
use rmqtt::transport::{Address, Listener, Stream};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

pub(crate) const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V5, ProtocolVersion::V3_1_1];

/// Where the scripted broker listens.
pub(crate) struct Stage {
    listener: Listener,
    pub(crate) options: ClientOptions,
}

/// One connection, from the broker's side.
pub(crate) struct Peer {
    stream: Stream,
    input: BytesMut,
    version: ProtocolVersion,
    pub(crate) connect: Connect,
}

impl Stage {
    /// `name` is this test's own. The client asks for `version` and has no jitter.
    pub(crate) async fn new(name: &str, version: ProtocolVersion) -> Self {
        let address = Address::Memory {
            name: format!("{name}-{version:?}"),
        };
        let listener = Listener::bind(&address).await.unwrap();
        let mut options = ClientOptions::new(address);
        options.version = version;
        options.reconnect.as_mut().unwrap().jitter = false;
        Self { listener, options }
    }

    /// With a session that outlives the connection.
    pub(crate) fn keep_session(&mut self) {
        self.options.clean_start = false;
        self.options.session_expiry = 600;
    }

    /// The next connection, whose CONNECT has been read.
    pub(crate) async fn accept(&self) -> Peer {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        let mut peer = Peer {
            stream,
            input: BytesMut::new(),
            version: self.options.version,
            connect: Connect {
                version: self.options.version,
                clean_start: false,
                keep_alive: 0,
                client_id: "".into(),
                will: None,
                username: None,
                password: None,
                properties: codec::ConnectProperties::default(),
            },
        };
        match peer.heard().await {
            Packet::Connect(connect) => {
                peer.version = connect.version;
                peer.connect = *connect;
            }
            other => panic!("{other:?} instead of CONNECT"),
        }
        peer
    }

    /// The next connection, accepted with this answer.
    pub(crate) async fn welcome(&self, connack: ConnAck) -> Peer {
        let mut peer = self.accept().await;
        peer.say(&Packet::ConnAck(Box::new(connack))).await;
        peer
    }

    /// A client, connected to the peer.
    pub(crate) async fn pair(&self, connack: ConnAck) -> (Client, Peer) {
        let client = Client::new(self.options.clone());
        let (connected, peer) = tokio::join!(soon(client.connect()), self.welcome(connack));
        connected.unwrap();
        (client, peer)
    }
}

impl Peer {
    /// The next packet but PINGREQ, which is answered.
    pub(crate) async fn heard(&mut self) -> Packet {
        loop {
            match self.heard_or_end().await.expect("the client closed") {
                Packet::PingReq => self.say(&Packet::PingResp).await,
                packet => return packet,
            }
        }
    }

    /// The next packet, or `None` at the end.
    pub(crate) async fn heard_or_end(&mut self) -> Option<Packet> {
        loop {
            let decoded = codec::decode(&mut self.input, self.version, &Limits::default());
            if let Some(packet) = decoded.unwrap() {
                return Some(packet);
            }
            if soon(self.stream.read_buf(&mut self.input)).await.unwrap() == 0 {
                assert!(self.input.is_empty());
                return None;
            }
        }
    }

    /// The bytes until the client closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = self.input.split().to_vec();
        soon(self.stream.read_to_end(&mut rest)).await.unwrap();
        rest
    }

    /// So many bytes, as they come.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.input.len() < count {
            assert!(soon(self.stream.read_buf(&mut self.input)).await.unwrap() > 0);
        }
        self.input.split_to(count).to_vec()
    }

    /// Whether nothing has been said for a while (of a paused clock).
    pub(crate) async fn is_quiet(&mut self, time: Duration) -> bool {
        let read = self.stream.read_buf(&mut self.input);
        timeout(time, read).await.is_err() && self.input.is_empty()
    }

    /// Reads and forgets what has come.
    pub(crate) async fn ignore(&mut self) {
        let brief = Duration::from_millis(1);
        while let Ok(Ok(1..)) = timeout(brief, self.stream.read_buf(&mut self.input)).await {
            self.input.clear();
        }
    }

    pub(crate) async fn say(&mut self, packet: &Packet) {
        let mut out = SendBuffer::new();
        codec::encode(packet, self.version, &mut out).unwrap();
        let bytes = out.copy_to_bytes(out.remaining());
        self.say_bytes(&bytes).await;
    }

    pub(crate) async fn say_bytes(&mut self, bytes: &[u8]) {
        soon(self.stream.write_all(bytes)).await.unwrap();
    }

    pub(crate) async fn say_ack(&mut self, kind: AckKind, id: u16) {
        let ack = Ack::new(kind, packet_id(id), ReasonCode::Success);
        self.say(&Packet::Ack(ack)).await;
    }

    /// A message for the client; `id` for QoS 1 and 2.
    pub(crate) async fn say_message(&mut self, message: Message, id: u16) {
        let mut publish = Publish::new(message);
        publish.packet_id = PacketId::new(id);
        self.say(&Packet::Publish(publish)).await;
    }

    pub(crate) async fn heard_publish(&mut self) -> Publish {
        match self.heard().await {
            Packet::Publish(publish) => publish,
            other => panic!("{other:?} instead of PUBLISH"),
        }
    }

    pub(crate) async fn heard_ack(&mut self) -> (AckKind, u16) {
        match self.heard().await {
            Packet::Ack(ack) => (ack.kind, ack.packet_id.get()),
            other => panic!("{other:?} instead of an acknowledgement"),
        }
    }

    /// Reads SUBSCRIBE and grants what it asks for.
    pub(crate) async fn grant(&mut self) -> codec::Subscribe {
        let Packet::Subscribe(subscribe) = self.heard().await else {
            panic!("no SUBSCRIBE")
        };
        let reasons = subscribe
            .filters
            .iter()
            .map(|asked| ReasonCode::granted(asked.options.qos))
            .collect();
        self.say(&Packet::SubAck(SubAck {
            packet_id: subscribe.packet_id,
            reasons,
            properties: None,
        }))
        .await;
        subscribe
    }

    /// A subscription, made and granted.
    pub(crate) async fn subscribed(
        &mut self,
        client: &Client,
        text: &str,
        settings: SubscriptionSettings,
    ) -> Subscription {
        let asked = client.subscribe(filter(text, QoS::ExactlyOnce), settings);
        let (subscription, _) = tokio::join!(soon(asked), self.grant());
        subscription.unwrap()
    }
}

pub(crate) fn accepted() -> ConnAck {
    ConnAck {
        session_present: false,
        reason: ReasonCode::Success,
        properties: ConnAckProperties::default(),
    }
}

pub(crate) fn resumed() -> ConnAck {
    ConnAck {
        session_present: true,
        ..accepted()
    }
}

pub(crate) fn packet_id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

/// Nothing here takes so long unless it is broken; with a paused clock a hang is found at once.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future)
        .await
        .expect("took too long")
}

pub(crate) fn filter(text: &str, qos: QoS) -> Vec<SubscribeFilter> {
    vec![SubscribeFilter {
        filter: text.into(),
        options: SubscriptionOptions {
            qos,
            ..SubscriptionOptions::default()
        },
    }]
}

pub(crate) fn message(topic: &str, payload: impl Into<String>, qos: QoS) -> Message {
    Message::new(TopicName::new(topic.to_owned()).unwrap(), payload.into()).with_qos(qos)
}

pub(crate) async fn subscribe(client: &Client, text: &str, qos: QoS) -> Subscription {
    soon(client.subscribe(filter(text, qos), SubscriptionSettings::default()))
        .await
        .unwrap()
}

/// The next message, or how the inbox ended.
pub(crate) async fn next(inbox: &Inbox) -> Result<Delivery, Taken> {
    let mut taken = VecDeque::new();
    soon(poll_fn(|cx| {
        match inbox.take(&mut taken, 1, Some(cx.waker())) {
            Taken::Some(_) => Poll::Ready(Ok(())),
            Taken::Waiting => Poll::Pending,
            end => Poll::Ready(Err(end)),
        }
    }))
    .await?;
    Ok(taken.pop_front().unwrap())
}

/// The payload of the next message, which is acknowledged.
pub(crate) async fn read(inbox: &Inbox) -> String {
    let delivery = next(inbox).await.unwrap();
    if let Some(receipt) = delivery.receipt {
        inbox.processed(receipt, ReasonCode::Success);
    }
    text(&delivery)
}

pub(crate) fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.payload.to_vec()).unwrap()
}
