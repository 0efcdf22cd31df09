//! The broker's protocol machine and a mechanism of the test's own: who may speak when, how often, how long.

use crate::seed::epoch;
use bytes::{Buf, Bytes, BytesMut};
use rmqtt::broker::Limits;
use rmqtt::broker::protocol::{
    AUTH_ROUNDS_MAX, Accept, Authenticate, Event, Protocol, ProtocolError,
};
use rmqtt::codec::{
    self, Auth, Connect, ConnectProperties, Packet, ProtocolVersion, ReasonCode, SendBuffer,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

const V5: ProtocolVersion = ProtocolVersion::V5;

struct Script {
    server: Protocol,
    now: Instant,
    limits: Limits,
}

impl Script {
    fn new() -> Self {
        let limits = Limits::default();
        let now = epoch();
        Self {
            server: Protocol::new(Arc::new(limits.clone()), now),
            now,
            limits,
        }
    }

    /// A client that has named the method `M`.
    fn begun() -> Self {
        let mut script = Self::new();
        let event = script.hear(&connect());
        let step = Authenticate {
            method: "M".into(),
            data: Some(Bytes::from_static(b"1")),
            is_first: true,
        };
        assert!(matches!(event, Ok(Some(Event::Authenticate(it))) if it == step));
        script
    }

    fn connected() -> Self {
        let mut script = Self::begun();
        script
            .server
            .authenticated(Some(Bytes::from_static(b"end")), script.now)
            .expect("our turn");
        let asked = script.hear_bytes(&[]);
        assert!(matches!(asked, Ok(Some(Event::ConnectRequested(_)))));
        script
            .server
            .accept(Accept::default(), script.now)
            .expect("asked");
        script.said();
        script
    }

    fn hear(&mut self, packet: &Packet) -> Result<Option<Event>, ProtocolError> {
        let mut out = SendBuffer::new();
        codec::encode(packet, V5, &mut out).expect("well formed");
        let bytes = out.copy_to_bytes(out.remaining());
        self.hear_bytes(&bytes)
    }

    fn hear_bytes(&mut self, bytes: &[u8]) -> Result<Option<Event>, ProtocolError> {
        self.server.receive(&mut BytesMut::from(bytes), self.now)
    }

    fn said(&mut self) -> Vec<Packet> {
        let out = self.server.outgoing();
        let mut bytes = BytesMut::from(&out.copy_to_bytes(out.remaining())[..]);
        let decode = || codec::decode(&mut bytes, V5, &codec::Limits::default());
        let mut decode = decode;
        std::iter::from_fn(|| decode().expect("well formed")).collect()
    }
}

fn connect() -> Packet {
    Packet::Connect(Box::new(Connect {
        version: V5,
        clean_start: true,
        keep_alive: 0,
        client_id: "c".into(),
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties {
            authentication_method: Some("M".into()),
            authentication_data: Some(Bytes::from_static(b"1")),
            ..ConnectProperties::default()
        },
    }))
}

fn auth(reason: ReasonCode, data: &'static str) -> Packet {
    Packet::Auth(Auth {
        reason,
        method: "M".into(),
        data: Some(Bytes::from_static(data.as_bytes())),
        reason_string: None,
        user_properties: Vec::new(),
    })
}

/// spec(5): MQTT-4.12.0-2
/// spec(5, server): MQTT-4.12.0-5, MQTT-3.15.2-1
#[test]
fn a_method_of_many_steps_ends_in_connack() {
    let mut script = Script::begun();
    for _ in 1..AUTH_ROUNDS_MAX {
        script
            .server
            .challenge(Some(Bytes::from_static(b"q")))
            .expect("our turn");
        assert_eq!(
            script.said(),
            [auth(ReasonCode::ContinueAuthentication, "q")]
        );
        let event = script.hear(&auth(ReasonCode::ContinueAuthentication, "a"));
        assert!(matches!(event, Ok(Some(Event::Authenticate(step))) if !step.is_first));
    }
    script
        .server
        .authenticated(None, script.now)
        .expect("our turn");
    assert!(script.said().is_empty());
    let asked = script.hear_bytes(&[]);
    assert!(matches!(asked, Ok(Some(Event::ConnectRequested(_)))));
    script
        .server
        .accept(Accept::default(), script.now)
        .expect("asked");
    let said = script.said();
    let [Packet::ConnAck(connack)] = &said[..] else {
        panic!("{said:?}")
    };
    assert_eq!(connack.properties.authentication_method, Some("M".into()));
    assert_eq!(connack.properties.authentication_data, None);
}

#[test]
fn an_exchange_of_thousands_of_steps_is_cut_short() {
    let mut script = Script::begun();
    let mut rounds = 1;
    let error = loop {
        script.server.challenge(None).expect("our turn");
        match script.hear(&auth(ReasonCode::ContinueAuthentication, "a")) {
            Ok(_) => rounds += 1,
            Err(error) => break error,
        }
        assert!(rounds < 1000);
    };
    assert_eq!(rounds, AUTH_ROUNDS_MAX);
    assert_eq!(error.reason(), ReasonCode::NotAuthorized);
    let said = script.said();
    assert!(
        matches!(said.last(), Some(Packet::ConnAck(it)) if it.reason == ReasonCode::NotAuthorized)
    );
    let after = script.hear(&auth(ReasonCode::ContinueAuthentication, "a"));
    assert!(matches!(after, Err(ProtocolError::Closed)));
}

#[test]
fn nothing_is_read_while_a_step_is_judged() {
    let mut script = Script::new();
    let mut out = SendBuffer::new();
    let packets = [
        connect(),
        auth(ReasonCode::ContinueAuthentication, "a"),
        Packet::PingReq,
    ];
    for packet in &packets {
        codec::encode(packet, V5, &mut out).expect("well formed");
    }
    let mut input = BytesMut::from(&out.copy_to_bytes(out.remaining())[..]);
    let now = script.now;
    let first = script.server.receive(&mut input, now);
    assert!(matches!(first, Ok(Some(Event::Authenticate(_)))));
    assert!(matches!(script.server.receive(&mut input, now), Ok(None)));
    script.server.challenge(None).expect("our turn");
    let second = script.server.receive(&mut input, now);
    assert!(matches!(second, Ok(Some(Event::Authenticate(_)))));
    assert!(matches!(script.server.receive(&mut input, now), Ok(None)));
    assert_eq!(input.len(), 2);
}

#[test]
fn the_whole_exchange_has_the_time_of_one_connect() {
    let mut script = Script::begun();
    let due = script.now + script.limits.connect_timeout;
    for _ in 0..5 {
        script.server.challenge(None).expect("our turn");
        script.now += Duration::from_secs(1);
        script
            .hear(&auth(ReasonCode::ContinueAuthentication, "a"))
            .expect("in its turn");
    }
    assert_eq!(script.server.next_timeout(), Some(due));
    assert_eq!(
        script.server.handle_timeout(due),
        Err(ProtocolError::ConnectTimeout)
    );
}

/// spec(5, server): MQTT-4.12.1-2
#[test]
fn authenticating_again_has_its_time_and_its_end() {
    let mut script = Script::connected();
    let first = script.hear(&auth(ReasonCode::ReAuthenticate, "2"));
    assert!(matches!(first, Ok(Some(Event::Authenticate(step))) if step.is_first));
    let due = script.now + script.limits.connect_timeout;
    assert_eq!(script.server.next_timeout(), Some(due));
    // Traffic goes on meanwhile.
    assert!(matches!(script.hear(&Packet::PingReq), Ok(None)));
    assert_eq!(script.said(), [Packet::PingResp]);
    script
        .server
        .authenticated(Some(Bytes::from_static(b"yes")), script.now)
        .expect("our turn");
    assert_eq!(script.said(), [auth(ReasonCode::Success, "yes")]);
    assert_eq!(script.server.next_timeout(), None);

    script
        .hear(&auth(ReasonCode::ReAuthenticate, "3"))
        .expect("in its turn");
    let error = script.server.handle_timeout(due).expect_err("late");
    assert_eq!(error.reason(), ReasonCode::NotAuthorized);
    let said = script.said();
    assert!(
        matches!(&said[..], [Packet::Disconnect(it)] if it.reason == ReasonCode::NotAuthorized)
    );
}

/// spec(5, server): MQTT-4.12.1-2
#[test]
fn who_fails_to_authenticate_again_is_told_and_cut() {
    let mut script = Script::connected();
    script
        .hear(&auth(ReasonCode::ReAuthenticate, "2"))
        .expect("in its turn");
    script.server.refuse(ReasonCode::NotAuthorized);
    let said = script.said();
    assert!(
        matches!(&said[..], [Packet::Disconnect(it)] if it.reason == ReasonCode::NotAuthorized)
    );
    assert!(!script.server.is_connected());
}

#[test]
fn an_answer_nobody_asked_for_is_refused() {
    let mut script = Script::new();
    assert!(script.server.challenge(None).is_err());
    let mut script = Script::connected();
    let now = script.now;
    assert!(script.server.challenge(None).is_err());
    assert!(script.server.authenticated(None, now).is_err());
    assert!(script.said().is_empty());
}

/// spec(5): MQTT-4.12.0-4, MQTT-3.14.0-1
#[test]
fn who_still_authenticates_when_the_broker_stops_is_refused() {
    let mut script = Script::begun();
    script.server.close(ReasonCode::ServerShuttingDown);
    let said = script.said();
    let [Packet::ConnAck(connack)] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!(connack.reason, ReasonCode::ServerUnavailable);
}

/// Who is held back because others are slow cannot be heard, and is not late for that.
#[test]
fn who_was_not_listened_to_has_its_time_again() {
    let mut script = Script::connected();
    let limit = script.limits.connect_timeout;
    script
        .hear(&auth(ReasonCode::ReAuthenticate, "2"))
        .expect("in its turn");
    script.server.challenge(None).expect("our turn");
    let heard_again = script.now + limit;
    script.server.resume(heard_again);
    assert_eq!(script.server.next_timeout(), Some(heard_again + limit));
    assert_eq!(script.server.handle_timeout(heard_again), Ok(()));
    let late = script.server.handle_timeout(heard_again + limit);
    assert_eq!(
        late.map_err(|error| error.reason()),
        Err(ReasonCode::NotAuthorized)
    );
}
