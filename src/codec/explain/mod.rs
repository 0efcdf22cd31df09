//! An annotated breakdown of a packet, byte by byte: what a teacher shows and what error reports use.
//!
//! It does not decide what is right: that is [`decode`](super::decode) alone, whose verdict it carries in
//! [`Explanation::fault`]. It only says what each byte means, as far as that can be said, and where the trouble is. The
//! walk over the bytes is in `walker.rs`, the forms of the packets in `packets.rs`, the words in `words.rs`.

mod packets;
mod summary;
mod walker;
mod words;

pub use summary::summary;

use super::{DecodeError, Limits, ProtocolVersion, ReasonCode, decode};
use bytes::BytesMut;
use std::borrow::Cow;
use std::ops::Range;
use walker::Walker;

/// More parts than this are not made: what follows is one part that says so.
pub const PARTS_MAX: usize = 10_000;

/// One line of a breakdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which bytes.
    pub range: Range<usize>,
    /// Which bits of the one byte, highest first; `None` for whole bytes.
    pub bits: Option<(u8, u8)>,
    /// How deep it stands: a part holds those behind it that stand deeper.
    pub depth: usize,
    /// Which field of the packet.
    pub field: Cow<'static, str>,
    /// What it says.
    pub value: String,
    /// What that means.
    pub meaning: String,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The bytes in question; empty at the end of the data where bytes are missing.
    pub range: Range<usize>,
    /// What is wrong, in words, with the clause of the standard.
    pub what: String,
    /// What an MQTT 5 peer is told. `None`: nothing is wrong but that bytes are missing.
    pub reason: Option<ReasonCode>,
}

/// The breakdown of one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The version by which it was read: a CONNECT names its own.
    pub version: ProtocolVersion,
    /// Its lines, in the order of the bytes. The deepest ones cover all of the data without a gap.
    pub parts: Vec<Part>,
    /// What is wrong with it, if anything.
    pub fault: Option<Fault>,
}

/// Says what each byte of a packet means, also of one that is cut short or malformed.
pub fn explain(data: &[u8], version: ProtocolVersion) -> Explanation {
    let mut walker = Walker::new(data, version);
    // A walk that ends early has noted where, and the bytes behind it are still covered.
    let _ = packets::packet(&mut walker);
    walker.cover_rest();
    let verdict = decode(&mut BytesMut::from(data), version, &Limits::default());
    let fault = match verdict {
        Ok(Some(_)) => None,
        Ok(None) => Some(Fault {
            range: data.len()..data.len(),
            what: walker.missing(),
            reason: None,
        }),
        Err(error) => Some(fault(&error, &walker, data)),
    };
    Explanation {
        version: walker.version,
        parts: walker.parts,
        fault,
    }
}

fn fault(error: &DecodeError, walker: &Walker<'_>, data: &[u8]) -> Fault {
    Fault {
        range: walker.suspect.clone().unwrap_or(0..data.len()),
        what: error.to_string(),
        reason: Some(error.reason()),
    }
}
