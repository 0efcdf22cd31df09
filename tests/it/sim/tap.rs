//! Listening in: every packet of a connection is read a second time, beside those for whom it is meant.
//!
//! A [`Tap`] reads one direction and looks topic aliases up by itself. The [`Trace`] keeps the last that was said and done,
//! when somebody wants to read it.

use bytes::{Buf, BytesMut};
use rmqtt::codec::{self, Limits, Packet, ProtocolVersion, Publish, SendBuffer};
use rmqtt::topic::TopicName;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::io::IoSlice;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How much of the end of a failed run is shown, unless `RMQTT_LAST` says otherwise.
const SHOWN: usize = 80;

/// One direction of one connection.
#[derive(Debug)]
pub(super) struct Tap {
    /// What has arrived and was not yet dealt with by the one it is for.
    unread: BytesMut,
    pub(super) version: ProtocolVersion,
    aliases: Aliases,
}

impl Tap {
    pub(super) fn new(version: ProtocolVersion) -> Self {
        Self {
            unread: BytesMut::new(),
            version,
            aliases: Aliases::default(),
        }
    }

    /// The same bytes have come to the one they are for.
    pub(super) fn arrived(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// The packets that were dealt with, when so many bytes are left.
    pub(super) fn dealt_with(&mut self, left: usize) -> Vec<Packet> {
        let taken = self.unread.len().saturating_sub(left);
        let mut bytes = self.unread.split_to(taken);
        self.packets(&mut bytes)
    }

    /// The packets that stand in a buffer behind its first `seen` bytes.
    pub(super) fn written(&mut self, out: &SendBuffer, seen: usize) -> Vec<Packet> {
        if out.len() <= seen {
            return Vec::new();
        }
        let mut slices = [IoSlice::new(&[]); 256];
        let count = out.chunks_vectored(&mut slices);
        let mut bytes = BytesMut::with_capacity(out.len() - seen);
        let mut skip = seen;
        for slice in &slices[..count] {
            let from = skip.min(slice.len());
            skip -= from;
            bytes.extend_from_slice(&slice[from..]);
        }
        self.packets(&mut bytes)
    }

    fn packets(&mut self, bytes: &mut BytesMut) -> Vec<Packet> {
        let mut packets = Vec::new();
        while let Ok(Some(mut packet)) = codec::decode(bytes, self.version, &Limits::default()) {
            match &mut packet {
                Packet::Connect(connect) => self.version = connect.version,
                Packet::Publish(publish) => self.aliases.resolve(publish),
                _ => {}
            }
            packets.push(packet);
        }
        assert!(bytes.is_empty(), "half a packet, or none: {bytes:?}");
        packets
    }
}

/// What the topic aliases of one direction of a connection stand for.
#[derive(Debug, Default)]
pub(super) struct Aliases(BTreeMap<u16, TopicName>);

impl Aliases {
    pub(super) fn resolve(&mut self, publish: &mut Publish) {
        let Some(alias) = publish.topic_alias.take() else {
            return;
        };
        if publish.topic_on_wire {
            self.0.insert(alias.get(), publish.message.topic.clone());
        } else {
            let topic = self.0.get(&alias.get()).expect("the alias was set before");
            publish.message.topic = topic.clone();
            publish.topic_on_wire = true;
        }
    }
}

/// What has happened, and a hash of it all: two runs of one seed must have the same.
#[derive(Debug, Clone)]
pub(super) struct Trace(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    epoch: Instant,
    now: Instant,
    hasher: DefaultHasher,
    lines: VecDeque<String>,
    kept: usize,
}

impl Trace {
    pub(super) fn new(now: Instant, is_kept: bool) -> Self {
        let asked = std::env::var("RMQTT_LAST").ok();
        let asked = asked.and_then(|asked| asked.parse().ok());
        Self(Rc::new(RefCell::new(State {
            epoch: now,
            now,
            hasher: DefaultHasher::new(),
            lines: VecDeque::new(),
            kept: if is_kept { asked.unwrap_or(SHOWN) } else { 0 },
        })))
    }

    pub(super) fn set_time(&self, now: Instant) {
        self.0.borrow_mut().now = now;
    }

    /// Bytes have left somewhere.
    pub(super) fn hash(&self, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        let time = state.now.duration_since(state.epoch);
        state.hasher.write_u128(time.as_nanos());
        state.hasher.write(bytes);
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.0.borrow().hasher.finish()
    }

    /// Notes something, if anybody wants to read it.
    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        let mut state = self.0.borrow_mut();
        if state.kept == 0 {
            return;
        }
        let time: Duration = state.now.duration_since(state.epoch);
        let line = format!("{:9.3} {}", time.as_secs_f64(), what());
        state.lines.push_back(line);
        if state.lines.len() > state.kept {
            state.lines.pop_front();
        }
    }

    /// The last that was noted.
    pub(super) fn tail(&self) -> String {
        let lines = &self.0.borrow().lines;
        lines
            .iter()
            .fold(String::new(), |all, line| all + line + "\n")
    }
}

/// A packet in a few words.
pub(super) fn brief(packet: &Packet) -> String {
    match packet {
        Packet::Publish(publish) => brief_publish(publish),
        Packet::Ack(ack) => {
            let name = packet.packet_type().name();
            format!("{name} {} {:?}", ack.packet_id, ack.reason)
        }
        Packet::Connect(connect) => {
            let will = connect.will.as_ref();
            format!(
                "CONNECT {:?} clean={} expiry={:?} will={:?}",
                connect.version,
                connect.clean_start,
                connect.properties.session_expiry_interval,
                will.map(|will| (brief_payload(&will.message.payload), will.delay_interval)),
            )
        }
        Packet::ConnAck(connack) => {
            let present = connack.session_present;
            format!("CONNACK {:?} present={present}", connack.reason)
        }
        Packet::Subscribe(subscribe) => {
            let filters = subscribe.filters.iter();
            let filters: Vec<_> = filters
                .map(|line| (line.filter.to_string(), line.options))
                .collect();
            format!(
                "SUBSCRIBE {} {:?} {filters:?}",
                subscribe.packet_id, subscribe.subscription_id
            )
        }
        Packet::Disconnect(disconnect) => {
            let expiry = disconnect.session_expiry_interval;
            format!("DISCONNECT {:?} expiry={expiry:?}", disconnect.reason)
        }
        other => other.packet_type().name().to_owned(),
    }
}

fn brief_publish(publish: &Publish) -> String {
    let message = &publish.message;
    let flag = |is_set: bool, name: &'static str| if is_set { name } else { "" };
    format!(
        "PUBLISH {}{}{} id={:?} {} [{}] {:?} {:?}",
        message.qos as u8,
        flag(publish.dup, " dup"),
        flag(message.retain, " retain"),
        publish.packet_id.map(codec::PacketId::get),
        message.topic,
        brief_payload(&message.payload),
        message.properties().message_expiry_interval,
        publish.subscription_ids,
    )
}

/// Who published it, and its number there.
pub(super) fn brief_payload(payload: &[u8]) -> String {
    let field = |at: usize| {
        let bytes: Option<[u8; 8]> = payload.get(at..at + 8)?.try_into().ok();
        bytes.map(u64::from_be_bytes)
    };
    match (field(0), field(8)) {
        (Some(who), Some(number)) => format!("{who}:{number}"),
        _ => format!("{} bytes", payload.len()),
    }
}
