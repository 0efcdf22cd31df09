//! WebSocket by hand: bytes go out as a test gives them, and what comes back is looked at frame by frame.

use crate::raw::in_time;
use bytes::{Buf, BytesMut};
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(super) const BINARY: u8 = 0x82;
pub(super) const TEXT: u8 = 0x81;
pub(super) const CLOSE: u8 = 0x88;
pub(super) const PING: u8 = 0x89;
pub(super) const PONG: u8 = 0x8a;

/// Of the example in RFC 6455, and what answers it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [9, 8, 7, 6];

/// A request as a good client makes it, with these headers beside or in place of the usual ones; `None`: without.
pub(super) fn request(path: &str, headers: &[(&str, Option<&str>)]) -> String {
    let mut all = vec![
        ("Host", Some("127.0.0.1")),
        ("Connection", Some("keep-alive, Upgrade")),
        ("Upgrade", Some("websocket")),
        ("Sec-WebSocket-Version", Some("13")),
        ("Sec-WebSocket-Key", Some(KEY)),
        ("Sec-WebSocket-Protocol", Some("mqtt")),
    ];
    for (name, value) in headers {
        all.retain(|(usual, _)| usual != name);
        all.push((name, *value));
    }
    let lines: String = all
        .iter()
        .filter_map(|(name, value)| value.map(|value| format!("{name}: {value}\r\n")))
        .collect();
    format!("GET {path} HTTP/1.1\r\n{lines}\r\n")
}

/// A frame of a client.
pub(super) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(first, payload.len());
    bytes[1] |= 0x80;
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b));
    bytes
}

/// A frame of a server.
pub(super) fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(first, payload.len());
    bytes.extend_from_slice(payload);
    bytes
}

fn head(first: u8, length: usize) -> Vec<u8> {
    match length {
        0..=125 => vec![first, u8::try_from(length).unwrap()],
        126..=0xffff => {
            let length = u16::try_from(length).unwrap().to_be_bytes();
            [&[first, 126], &length[..]].concat()
        }
        _ => [&[first, 127], &(length as u64).to_be_bytes()[..]].concat(),
    }
}

/// One end of a connection.
pub(super) struct Raw {
    stream: TcpStream,
    input: BytesMut,
}

impl Raw {
    /// A socket that has said nothing yet.
    pub(super) async fn open(port: u16) -> Self {
        let connecting = TcpStream::connect(("127.0.0.1", port));
        let stream = in_time("to connect", connecting).await.unwrap();
        let input = BytesMut::new();
        Self { stream, input }
    }

    /// A client that has shaken hands.
    pub(super) async fn client(port: u16) -> Self {
        let mut raw = Self::open(port).await;
        raw.send(request("/mqtt", &[]).as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }

    /// The server's end of the next connection, and the head of its request.
    pub(super) async fn asked(listener: &TcpListener) -> (Self, String) {
        let (stream, _) = in_time("a client", listener.accept()).await.unwrap();
        let mut raw = Self {
            stream,
            input: BytesMut::new(),
        };
        let head = raw.head().await;
        (raw, head)
    }

    /// The same, answered as a good server does.
    pub(super) async fn server(listener: &TcpListener) -> Self {
        let (mut raw, head) = Self::asked(listener).await;
        raw.send(good_answer(&head).as_bytes()).await;
        raw
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        in_time("to send", self.stream.write_all(bytes))
            .await
            .unwrap();
    }

    /// Sends, and says whether the other end still took it.
    pub(super) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        let sending = self.stream.write_all(bytes);
        in_time("to send", sending).await.is_ok()
    }

    async fn fill(&mut self) -> bool {
        match in_time("bytes", self.stream.read_buf(&mut self.input)).await {
            Ok(count) => count > 0,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next head of HTTP.
    pub(super) async fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.input.windows(4).position(|end| end == b"\r\n\r\n") {
                return String::from_utf8(self.input.split_to(at + 4).to_vec()).unwrap();
            }
            assert!(self.fill().await, "{:?} and then the end", self.input);
        }
    }

    /// Everything until the end.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        self.input.split().to_vec()
    }

    /// The next frame: its first byte, whether it was masked, and its payload. `None` at the end.
    pub(super) async fn frame(&mut self) -> Option<(u8, bool, Vec<u8>)> {
        loop {
            if let Some(frame) = take_frame(&mut self.input) {
                return Some(frame);
            }
            if !self.fill().await {
                assert!(self.input.is_empty(), "{:?}", self.input);
                return None;
            }
        }
    }

    /// So many bytes out of binary frames, and nothing else.
    pub(super) async fn binary(&mut self, count: usize, is_masked: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let (first, masked, payload) = self.frame().await.unwrap();
            assert_eq!((first, masked), (BINARY, is_masked), "{payload:?}");
            bytes.extend(payload);
        }
        bytes
    }

    /// A goodbye with this code, and the end.
    pub(super) async fn expect_goodbye(&mut self, code: u16) {
        loop {
            match self.frame().await {
                Some((CLOSE, _, payload)) => break assert_eq!(payload, code.to_be_bytes()),
                Some((PONG, ..)) => {}
                other => panic!("{other:?} instead of a goodbye"),
            }
        }
        assert_eq!(self.frame().await, None);
    }
}

/// The answer to a request, by its key.
pub(super) fn good_answer(head: &str) -> String {
    let key = value(head, "sec-websocket-key").unwrap();
    let accept = if key == KEY {
        ACCEPT.to_owned()
    } else {
        tungstenite::handshake::derive_accept_key(key.as_bytes())
    };
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
}

/// The value of a header.
pub(super) fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (named, value) = line.split_once(':')?;
        named.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn take_frame(input: &mut BytesMut) -> Option<(u8, bool, Vec<u8>)> {
    let (first, second) = (*input.first()?, *input.get(1)?);
    let (length, mut at) = match second & 0x7f {
        126 => (
            u16::from_be_bytes(input.get(2..4)?.try_into().ok()?).into(),
            4,
        ),
        127 => {
            let length = u64::from_be_bytes(input.get(2..10)?.try_into().ok()?);
            (usize::try_from(length).ok()?, 10)
        }
        short => (usize::from(short), 2),
    };
    let is_masked = second & 0x80 != 0;
    let mut mask = [0; 4];
    if is_masked {
        mask.copy_from_slice(input.get(at..at + 4)?);
        at += 4;
    }
    let payload = input.get(at..at + length)?;
    let payload = payload.iter().zip(mask.iter().cycle());
    let payload = payload.map(|(a, b)| a ^ b).collect();
    input.advance(at + length);
    Some((first, is_masked, payload))
}
