//! The listener's end of the handshake. What is refused is answered with a status and a line of text, for whoever looks
//! with a browser or a tool of HTTP.

use super::head::{self, Flaw};
use super::{Origins, Role, SUBPROTOCOL, WebSocket};
use crate::transport::Stream;
use crate::transport::gate::turn_away;
use bytes::BytesMut;
use std::io;
use tokio::io::AsyncWriteExt;
use tungstenite::Error;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::HeaderValue;
use tungstenite::http::header::{ORIGIN, SEC_WEBSOCKET_PROTOCOL};

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refusal {
    status: &'static str,
    /// Lines of their own.
    headers: &'static str,
    words: &'static str,
}

impl Refusal {
    const fn new(status: &'static str, words: &'static str) -> Self {
        Self {
            status,
            headers: "",
            words,
        }
    }
}

const NOT_HTTP: Refusal = Refusal::new(
    "400 Bad Request",
    "here is MQTT over WebSocket, which begins with GET of HTTP/1.1",
);
const NOT_READ: Refusal = Refusal::new("400 Bad Request", "the request cannot be read");
const HASTY: Refusal = Refusal::new(
    "400 Bad Request",
    "the answer has to be waited for before anything else is sent",
);
const TOO_LARGE: Refusal = Refusal::new(
    "431 Request Header Fields Too Large",
    "the request is larger than is read here",
);
const ELSEWHERE: Refusal = Refusal::new("404 Not Found", "there is nothing at this path");
const NO_UPGRADE: Refusal = Refusal {
    status: "426 Upgrade Required",
    headers: "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    words: "here is MQTT over WebSocket (version 13, subprotocol mqtt), and nothing for a browser to show",
};
const NO_KEY: Refusal = Refusal::new("400 Bad Request", "the key of the handshake is none");
const FOREIGN_PAGE: Refusal = Refusal::new(
    "403 Forbidden",
    "pages of this origin may not connect; the listener's option origins says which may",
);
const NO_SUBPROTOCOL: Refusal = Refusal::new(
    "400 Bad Request",
    "the subprotocol mqtt has to be among those that are offered",
);

/// Makes a WebSocket of a pipe, at this path or at any.
///
/// # Errors
/// The peer wants something else, and was told so; or the pipe broke.
pub(in crate::transport) async fn accept(
    mut stream: Stream,
    path: &str,
    origins: &Origins,
) -> io::Result<Stream> {
    let judged = match head::read(&mut stream, b"GET ").await {
        Ok(head) if !head.rest.is_empty() => Err(HASTY),
        Ok(head) => judge(&head.bytes, path, origins),
        Err(Flaw::Foreign(_)) => Err(NOT_HTTP),
        Err(Flaw::TooLarge) => Err(TOO_LARGE),
        Err(Flaw::Ended) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Err(Flaw::Io(error)) => return Err(error),
    };
    match judged {
        Ok(answer) => {
            stream.write_all(&answer).await?;
            stream.flush().await?;
            let socket = WebSocket::new(stream, Role::Listener, BytesMut::new());
            Ok(Stream::WebSocket(Box::new(socket)))
        }
        Err(refusal) => {
            stream.write_all(&refused(refusal)).await?;
            turn_away(stream).await;
            Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                refusal.words,
            ))
        }
    }
}

/// What to answer.
// spec(4): MQTT-6.0.0-4
// spec(5): MQTT-6.0.0-4
fn judge(head: &[u8], path: &str, origins: &Origins) -> Result<Vec<u8>, Refusal> {
    let request = match Request::try_parse(head) {
        Ok(Some((_, request))) => request,
        Err(Error::Capacity(_)) => return Err(TOO_LARGE),
        _ => return Err(NOT_READ),
    };
    if !matches!(path, "" | "/") && request.uri().path() != path {
        return Err(ELSEWHERE);
    }
    let mut response = create_response(&request).map_err(|error| match error {
        Error::Protocol(
            ProtocolError::MissingSecWebSocketKey | ProtocolError::InvalidSecWebSocketKey,
        ) => NO_KEY,
        _ => NO_UPGRADE,
    })?;
    let mut pages = request.headers().get_all(ORIGIN).iter();
    if !pages.all(|page| page.to_str().is_ok_and(|page| origins.allow(page))) {
        return Err(FOREIGN_PAGE);
    }
    let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    let mut offered = offered.iter().filter_map(|list| list.to_str().ok());
    if !offered.any(|list| list.split(',').any(|one| one.trim() == SUBPROTOCOL)) {
        return Err(NO_SUBPROTOCOL);
    }
    let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
    response
        .headers_mut()
        .insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
    let mut answer = Vec::new();
    write_response(&mut answer, &response).map_err(|_| NOT_READ)?;
    Ok(answer)
}

fn refused(refusal: Refusal) -> Vec<u8> {
    let Refusal {
        status,
        headers,
        words,
    } = refusal;
    let length = words.len() + 1;
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {length}\r\n{headers}\r\n{words}\n"
    )
    .into_bytes()
}
