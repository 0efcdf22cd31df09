//! The heads of HTTP, read with bounds. What is in them is for others to say.

use super::Stream;
use bytes::BytesMut;
use std::io;
use tokio::io::AsyncReadExt;

/// The largest head that is read: room for the cookies that a browser sends along.
const HEAD_MAX: usize = 16 << 10;
/// How a head ends.
const END: &[u8] = b"\r\n\r\n";

/// A head, and what came behind it.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) bytes: BytesMut,
    pub(super) rest: BytesMut,
}

/// Why there is no head.
#[derive(Debug)]
pub(super) enum Flaw {
    /// It began with this instead.
    Foreign(BytesMut),
    TooLarge,
    /// The peer closed before the end.
    Ended,
    Io(io::Error),
}

/// Reads a head that begins like this. How long that may take is the caller's to say.
pub(super) async fn read(stream: &mut Stream, begins: &[u8]) -> Result<Head, Flaw> {
    let mut bytes = BytesMut::new();
    loop {
        let before = bytes.len();
        bytes.reserve(1 << 10);
        match stream.read_buf(&mut bytes).await {
            Ok(0) => return Err(Flaw::Ended),
            Ok(_) => {}
            Err(error) => return Err(Flaw::Io(error)),
        }
        let known = bytes.len().min(begins.len());
        if bytes[..known] != begins[..known] {
            return Err(Flaw::Foreign(bytes));
        }
        // Only what is new is looked at: who sends byte by byte must not cost more for it.
        let from = before.saturating_sub(END.len() - 1);
        let end = bytes[from..]
            .windows(END.len())
            .position(|window| window == END);
        match end {
            Some(at) if from + at + END.len() <= HEAD_MAX => {
                let rest = bytes.split_off(from + at + END.len());
                return Ok(Head { bytes, rest });
            }
            None if bytes.len() < HEAD_MAX => {}
            _ => return Err(Flaw::TooLarge),
        }
    }
}
