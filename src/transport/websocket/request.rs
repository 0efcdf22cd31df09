//! The client's end of the handshake.

use super::head::{self, Flaw};
use super::{PATH, Role, SUBPROTOCOL, WebSocket};
use crate::transport::{Address, Stream};
use bytes::BytesMut;
use std::fmt;
use std::io;
use tokio::io::AsyncWriteExt;
use tungstenite::handshake::client::{Request, Response, generate_key, generate_request};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use tungstenite::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// As much of what a server says to its refusal is passed on.
const WORDS_MAX: usize = 200;

/// What a client sends along with its request. `Debug` shows names alone: what is in them may be secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

impl Headers {
    /// Reads names and values.
    ///
    /// # Errors
    /// One is none, or belongs to the handshake; in words for users, without the value.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let taken = [HOST, CONNECTION, UPGRADE, CONTENT_LENGTH, TRANSFER_ENCODING];
        pairs
            .into_iter()
            .map(|(name, value)| {
                let named = name
                    .parse::<HeaderName>()
                    .map_err(|_| format!("{name:?} is no name of a header"))?;
                if taken.contains(&named) || named.as_str().starts_with("sec-websocket-") {
                    return Err(format!("{name:?} belongs to the handshake"));
                }
                let value = HeaderValue::from_str(value)
                    .map_err(|_| format!("the value of {name:?} cannot stand in a header"))?;
                Ok((named, value))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Makes a WebSocket of a pipe to this address.
///
/// # Errors
/// The server has something else there, in words for users; or the pipe broke.
pub(in crate::transport) async fn connect(
    mut stream: Stream,
    address: &Address,
    headers: &Headers,
) -> io::Result<Stream> {
    let (request, key) = request(address, headers)?;
    stream.write_all(&request).await?;
    stream.flush().await?;
    let head = match head::read(&mut stream, b"HTTP/1.").await {
        Ok(head) => head,
        Err(Flaw::Io(error)) => return Err(error),
        Err(Flaw::Ended) => {
            return Err(refused(
                "the server closed instead of answering: is it WebSocket that it speaks at this port?",
            ));
        }
        Err(Flaw::TooLarge) => return Err(refused("the server's answer is too large")),
        Err(Flaw::Foreign(first)) => {
            return Err(refused(match first[..] {
                [0x15, 0x03, ..] => {
                    "the server speaks TLS at this port: use wss:// instead of ws://"
                }
                _ => "the server does not speak HTTP at this port, and so no WebSocket",
            }));
        }
    };
    let Ok(Some((_, response))) = Response::try_parse(&head.bytes) else {
        return Err(refused("the server's answer cannot be read"));
    };
    check(&response, &key, &head.rest)?;
    let socket = WebSocket::new(stream, Role::Client, head.rest);
    Ok(Stream::WebSocket(Box::new(socket)))
}

/// The request, and the key in it.
// spec(4): MQTT-6.0.0-3
// spec(5): MQTT-6.0.0-3
fn request(address: &Address, headers: &Headers) -> io::Result<(Vec<u8>, String)> {
    let path = match address.path() {
        "" => PATH,
        path => path,
    };
    let mut request = Request::builder()
        .uri(path)
        .header(HOST, host(address))
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, generate_key())
        .header(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    for (name, value) in &headers.0 {
        request = request.header(name, value);
    }
    let request = request.body(()).map_err(io::Error::other)?;
    generate_request(request).map_err(io::Error::other)
}

/// The host as HTTP has it: with the port, unless it is the usual one.
fn host(address: &Address) -> String {
    let host = address.host().unwrap_or_default();
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    match (address.port(), address.is_secure()) {
        (None, _) | (Some(80), false) | (Some(443), true) => host,
        (Some(port), _) => format!("{host}:{port}"),
    }
}

/// Whether this is an answer to that key, and one to MQTT.
fn check(response: &Response, key: &str, rest: &BytesMut) -> io::Result<()> {
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(&format!(
            "the server refused the WebSocket with {status}{}",
            first_line(rest)
        )));
    }
    let headers = response.headers();
    let wrong = if !has_token(headers, &UPGRADE, "websocket")
        || !has_token(headers, &CONNECTION, "upgrade")
    {
        "it goes on with something else"
    } else if headers
        .get(SEC_WEBSOCKET_ACCEPT)
        .is_none_or(|accept| accept != derive_accept_key(key.as_bytes()).as_str())
    {
        "it is the answer to another request"
    } else if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        "it agrees to an extension that was not asked for"
    } else if headers
        .get(SEC_WEBSOCKET_PROTOCOL)
        .is_none_or(|named| named != SUBPROTOCOL)
    {
        "it does not agree to the subprotocol mqtt"
    } else {
        return Ok(());
    };
    Err(refused(&format!(
        "the server's answer to the handshake is wrong: {wrong}"
    )))
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let mut lists = headers
        .get_all(name)
        .iter()
        .filter_map(|list| list.to_str().ok());
    lists.any(|list| {
        list.split(',')
            .any(|one| one.trim().eq_ignore_ascii_case(token))
    })
}

/// What the server says to it, as far as it came with it and is text.
fn first_line(body: &[u8]) -> String {
    let line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = &line[..line.len().min(WORDS_MAX)];
    let text: String = String::from_utf8_lossy(line)
        .chars()
        .filter(|sign| !sign.is_control())
        .collect();
    match text.trim() {
        "" => String::new(),
        // A page, and not meant for us.
        page if page.starts_with('<') => String::new(),
        words => format!(": {words}"),
    }
}

fn refused(words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words.to_owned())
}
