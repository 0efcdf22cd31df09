//! HTTP's CONNECT (RFC 9110, 9.3.6): one request, one answer of which only the head is read, then the pipe is ours.

use super::{Login, failed};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A longer head of an answer is not read to its end.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// Nor one with more headers.
const HEADERS_MAX: usize = 64;
/// So much of its words is repeated.
const REASON_CHARS_MAX: usize = 80;

pub(super) async fn connect(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    target: &str,
    login: Option<&Login>,
) -> io::Result<()> {
    let who = login.map_or_else(String::new, |Login { user, password }| {
        let both = STANDARD.encode(format!("{user}:{password}"));
        format!("Proxy-Authorization: Basic {both}\r\n")
    });
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{who}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(512);
    while !is_whole(&head) {
        if head.len() >= HEAD_BYTES_MAX {
            return Err(no_http("answered with more than it may"));
        }
        let room = HEAD_BYTES_MAX - head.len();
        if (&mut *stream).take(room as u64).read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !b"HTTP/1.".starts_with(&head[..head.len().min(7)]) {
            return Err(no_http(match head.first() {
                Some(5) => "speaks SOCKS: write socks5:// or socks5h://",
                _ => "does not speak HTTP",
            }));
        }
    }
    read(&head, target, login)
}

fn is_whole(head: &[u8]) -> bool {
    head.windows(4).any(|window| window == b"\r\n\r\n")
}

fn no_http(what: &str) -> io::Error {
    failed(io::ErrorKind::InvalidData, what)
}

fn read(head: &[u8], target: &str, login: Option<&Login>) -> io::Result<()> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(head) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(no_http("answered with more than it may"));
        }
        Err(_) => return Err(no_http("does not speak HTTP")),
    };
    match response.code.unwrap_or_default() {
        // Neither TLS nor MQTT has the server speak first: more than the head is not from the broker.
        200..=299 if length < head.len() => Err(no_http("said more than that it is connected")),
        200..=299 => Ok(()),
        // Some say 401 to a wrong password.
        code @ (401 | 407) if login.is_some() => Err(failed(
            io::ErrorKind::PermissionDenied,
            format!("did not accept the user name and password ({code})"),
        )),
        407 => Err(failed(
            io::ErrorKind::PermissionDenied,
            "wants a user name and password (407)",
        )),
        code => {
            let reason = response.reason.unwrap_or_default().escape_debug();
            let reason: String = reason.take(REASON_CHARS_MAX).collect();
            let space = if reason.is_empty() { "" } else { " " };
            Err(failed(
                io::ErrorKind::ConnectionRefused,
                format!("did not connect to {target}: it answered {code}{space}{reason}"),
            ))
        }
    }
}
