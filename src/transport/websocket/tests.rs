//! Frames both ways, against what the standard says and against an implementation of somebody else.

use super::incoming::{Answer, End, Incoming};
use super::{Origins, Role, WebSocket};
use crate::transport::Stream;
use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use std::task::Poll;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tungstenite::protocol::{Role as OtherRole, WebSocket as Other};

const MASK: [u8; 4] = [0x11, 0xa2, 0x03, 0xf4];

fn frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        opcode,
        is_final,
        mask: Some(MASK),
        ..FrameHeader::default()
    };
    let mut bytes = Vec::new();
    header.format(payload.len() as u64, &mut bytes).unwrap();
    let masked = payload.iter().zip(MASK.iter().cycle());
    bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
    bytes
}

/// Takes `bytes` in, so many at a time; says what payload came and what was answered.
fn take(incoming: &mut Incoming, bytes: &[u8], chunk: usize) -> (Vec<u8>, Vec<Answer>) {
    let (mut payload, mut answers) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(chunk) {
        let mut piece = piece.to_vec();
        let count = incoming.take(&mut piece);
        payload.extend_from_slice(&piece[..count]);
        answers.extend(incoming.answer());
    }
    (payload, answers)
}

proptest! {
    /// spec(4): MQTT-6.0.0-2
    /// spec(5): MQTT-6.0.0-2
    #[test]
    fn payload_comes_out_whole_however_it_is_cut_into_messages_frames_and_reads(
        messages in vec(vec(vec(any::<u8>(), 0..300), 1..5), 0..8),
        chunk in 1_usize..400,
    ) {
        let (mut bytes, mut expected, mut pings) = (Vec::new(), Vec::new(), Vec::new());
        for fragments in &messages {
            let last = fragments.len() - 1;
            for (place, fragment) in fragments.iter().enumerate() {
                let kind = if place == 0 { Data::Binary } else { Data::Continue };
                bytes.extend(frame(OpCode::Data(kind), place == last, fragment));
                expected.extend_from_slice(fragment);
                let ping = vec![u8::try_from(place).unwrap(); pings.len() % 126];
                bytes.extend(frame(OpCode::Control(Control::Ping), true, &ping));
                pings.push(ping);
            }
        }
        let mut incoming = Incoming::new(Role::Listener);
        let (payload, answers) = take(&mut incoming, &bytes, chunk);
        prop_assert_eq!(payload, expected);
        prop_assert_eq!(incoming.end(), None);
        let last = answers.last().cloned();
        prop_assert_eq!(last, pings.last().cloned().map(Answer::Pong));
    }

    #[test]
    fn no_bytes_make_it_panic_or_give_more_than_came(
        bytes in vec(any::<u8>(), 0..200),
        chunk in 1_usize..50,
    ) {
        for role in [Role::Listener, Role::Client] {
            let mut incoming = Incoming::new(role);
            let (payload, _) = take(&mut incoming, &bytes, chunk);
            prop_assert!(payload.len() <= bytes.len());
        }
    }
}

#[test]
fn what_breaks_the_rules_of_frames_is_answered_with_its_code() {
    let binary = |is_final| frame(OpCode::Data(Data::Binary), is_final, b"x");
    let with_first = |first: u8| {
        let mut bytes = binary(true);
        bytes[0] = first;
        bytes
    };
    for (bytes, code) in [
        (
            frame(OpCode::Data(Data::Text), true, b"x"),
            CloseCode::Unsupported,
        ),
        (vec![0x82, 1, b'x'], CloseCode::Protocol),
        (with_first(0xc2), CloseCode::Protocol),
        (with_first(0xa2), CloseCode::Protocol),
        (with_first(0x92), CloseCode::Protocol),
        (with_first(0x83), CloseCode::Protocol),
        (with_first(0x8b), CloseCode::Protocol),
        (with_first(0x80), CloseCode::Protocol),
        (with_first(0x09), CloseCode::Protocol),
        ([binary(false), binary(true)].concat(), CloseCode::Protocol),
        (
            frame(OpCode::Control(Control::Ping), true, &[0; 126]),
            CloseCode::Protocol,
        ),
        (
            frame(OpCode::Control(Control::Close), true, &[3]),
            CloseCode::Protocol,
        ),
        (
            frame(OpCode::Control(Control::Close), true, &[0x03, 0xed]),
            CloseCode::Protocol,
        ),
        (
            frame(OpCode::Control(Control::Close), true, &[0x03, 0xe8, 0xff]),
            CloseCode::Protocol,
        ),
        (
            [vec![0x82, 0xff, 0x80], vec![0; 11]].concat(),
            CloseCode::Protocol,
        ),
    ] {
        for chunk in [1, 1000] {
            let mut incoming = Incoming::new(Role::Listener);
            let (_, answers) = take(&mut incoming, &bytes, chunk);
            assert_eq!(answers, [Answer::Close(code)], "{bytes:02x?}");
            assert!(matches!(incoming.end(), Some(End::Broken(_))));
        }
    }
}

#[test]
fn a_goodbye_is_answered_with_its_own_code_and_nothing_behind_it_counts() {
    for (said, code) in [(&[][..], 1000_u16), (&[0x03, 0xe9, b'b'], 1001)] {
        let mut bytes = frame(OpCode::Data(Data::Binary), true, b"before");
        bytes.extend(frame(OpCode::Control(Control::Close), true, said));
        bytes.extend(frame(OpCode::Data(Data::Binary), true, b"behind"));
        let mut incoming = Incoming::new(Role::Listener);
        let (payload, answers) = take(&mut incoming, &bytes, 1000);
        assert_eq!(payload, b"before");
        assert_eq!(answers, [Answer::Close(CloseCode::from(code))]);
        assert_eq!(incoming.end(), Some(End::Closed));
    }
}

#[test]
fn a_frame_of_64_bits_of_length_is_handed_on_as_it_comes() {
    let mut incoming = Incoming::new(Role::Client);
    let mut bytes = vec![0x82, 127];
    bytes.extend((1_u64 << 40).to_be_bytes());
    bytes.extend([7; 100]);
    let (payload, _) = take(&mut incoming, &bytes, 33);
    assert_eq!((payload, incoming.end()), (vec![7; 100], None));
}

/// spec(4): MQTT-6.0.0-1
/// spec(5): MQTT-6.0.0-1
#[tokio::test]
async fn what_either_end_writes_is_read_by_an_implementation_of_somebody_else() {
    let sizes = [0, 1, 125, 126, 5_000, 65_535, 65_536, 300_000];
    let payloads = sizes.map(|size| (0..=255).cycle().take(size).collect::<Vec<u8>>());
    let expected = payloads.concat();
    for (role, other) in [
        (Role::Listener, OtherRole::Client),
        (Role::Client, OtherRole::Server),
    ] {
        // So narrow that heads of frames are cut as well.
        let (ours, mut theirs) = duplex(7);
        let mut socket = WebSocket::new(Stream::Memory(ours), role, BytesMut::new());
        let writing = async {
            let mut stream = Stream::WebSocket(Box::new(take_over(&mut socket)));
            for payload in &payloads {
                stream.write_all(payload).await.unwrap();
            }
            stream.shutdown().await.unwrap();
        };
        let reading = async {
            let mut bytes = Vec::new();
            theirs.read_to_end(&mut bytes).await.unwrap();
            bytes
        };
        let ((), bytes) = tokio::join!(writing, reading);
        let mut other = Other::from_raw_socket(OneWay(bytes.into()), other, None);
        let mut read = Vec::new();
        let goodbye = loop {
            match other.read().unwrap() {
                tungstenite::Message::Binary(payload) => read.extend_from_slice(&payload),
                message => break message,
            }
        };
        assert!(read == expected);
        assert!(matches!(goodbye, tungstenite::Message::Close(Some(_))));
    }
}

fn take_over(socket: &mut WebSocket) -> WebSocket {
    let (closed, _) = duplex(1);
    let closed = WebSocket::new(Stream::Memory(closed), Role::Client, BytesMut::new());
    std::mem::replace(socket, closed)
}

/// What was written, to be read.
struct OneWay(std::collections::VecDeque<u8>);

impl std::io::Read for OneWay {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buf)
    }
}

impl std::io::Write for OneWay {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn both_ends_understand_each_other_through_the_narrowest_pipe() {
    let (left, right) = duplex(3);
    let (mut client, mut listener) = (socket(left, Role::Client), socket(right, Role::Listener));
    let said: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let talk = async {
        client.write_all(&said).await.unwrap();
        client.flush().await.unwrap();
        let mut echo = vec![0; said.len()];
        client.read_exact(&mut echo).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0);
        echo
    };
    let answer = async {
        let mut heard = vec![0; said.len()];
        listener.read_exact(&mut heard).await.unwrap();
        listener.write_all(&heard).await.unwrap();
        assert_eq!(listener.read(&mut [0; 9]).await.unwrap(), 0);
        // The goodbye was answered when it was read, as far as there was room.
        assert!(!listener.owes_goodbye());
        listener.shutdown().await.unwrap();
    };
    let (echo, ()) = tokio::join!(talk, answer);
    assert!(echo == said);
}

#[tokio::test]
async fn a_peer_that_pings_and_never_reads_has_one_pong_kept_for_it() {
    const ROOM: usize = 256;
    let (near, mut far) = duplex(ROOM);
    let mut near = socket(near, Role::Listener);
    let ping = frame(OpCode::Control(Control::Ping), true, &[7; 100]);
    for _ in 0..1000 {
        far.write_all(&ping).await.unwrap();
        let mut nothing = [0; 64];
        let mut reading = std::pin::pin!(near.read(&mut nothing));
        // The ping is taken in, and there is no payload.
        let once = std::future::poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx).is_ready()));
        assert!(!once.await);
    }
    let mut said = Vec::new();
    let (shut, read) = tokio::join!(near.shutdown(), far.read_to_end(&mut said));
    shut.unwrap();
    read.unwrap();
    let (pong, goodbye) = (2 + 100, 2 + 2);
    assert!(
        said.len() <= ROOM + 2 * pong + goodbye,
        "{} bytes",
        said.len()
    );
}

fn socket(pipe: tokio::io::DuplexStream, role: Role) -> Stream {
    let socket = WebSocket::new(Stream::Memory(pipe), role, BytesMut::new());
    Stream::WebSocket(Box::new(socket))
}

#[test]
fn pages_of_this_machine_may_connect_and_no_others_unless_they_are_listed() {
    let listed = |origins: &[&str]| {
        let origins: Vec<String> = origins.iter().map(ToString::to_string).collect();
        Origins::listed(&origins).unwrap()
    };
    let local = Origins::default();
    for origin in [
        "http://localhost",
        "https://LOCALHOST:8443",
        "http://127.0.0.1:8000",
        "http://127.1.2.3",
        "http://[::1]:8000",
    ] {
        assert!(local.allow(origin), "{origin}");
        assert!(!listed(&["https://app.example"]).allow(origin), "{origin}");
        assert!(!listed(&[]).allow(origin), "{origin}");
    }
    for origin in [
        "null",
        "",
        "*",
        "localhost",
        "file://",
        "http://localhost.app.example",
        "http://127.0.0.1.app.example",
        "http://app.example:1883",
        "http://localhost@app.example",
        "http://192.168.1.2",
        "http://[::ffff:127.0.0.1]",
        "chrome-extension://localhost",
    ] {
        assert!(!local.allow(origin), "{origin}");
        assert!(listed(&["*"]).allow(origin), "{origin}");
    }
    let two = listed(&["https://App.example:443", "http://app.example:8080", "null"]);
    for (origin, may) in [
        ("https://app.example", true),
        ("http://app.example:8080", true),
        ("null", true),
        ("http://app.example", false),
        ("https://app.example.org", false),
        ("https://app.example:8443", false),
    ] {
        assert_eq!(two.allow(origin), may, "{origin}");
    }
    for wrong in [
        "app.example",
        "https://app.example/",
        "https://*.app.example",
        "https://",
        "",
        "https://a b",
    ] {
        let error = Origins::listed(&[wrong.to_owned()]).unwrap_err();
        assert!(error.contains("is no origin"), "{error}");
    }
}
