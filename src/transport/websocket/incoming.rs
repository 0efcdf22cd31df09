//! What the peer sends, taken apart: the payload of binary frames stays, everything else is answered or ends the pipe.
//!
//! Nothing is gathered. Payload is handed on as it comes, whatever length its frame or message claims; only the head of a
//! frame and the at most 125 bytes of a control frame are kept until they are whole.

use super::{Role, mask};
use std::io::Cursor;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// The longest head: a length of 64 bits, and a mask.
const HEAD_MAX: usize = 14;
/// The longest payload of a control frame.
const CONTROL_MAX: u64 = 125;

/// What the peer has to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Pong(Vec<u8>),
    Close(CloseCode),
}

/// A rule that the peer broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Violation {
    code: CloseCode,
    pub(super) words: &'static str,
}

/// Why nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The peer has closed.
    Closed,
    /// It is no use listening.
    Broken(Violation),
}

/// The frame under way.
#[derive(Debug)]
struct Frame {
    /// `None`: payload of ours.
    control: Option<Control>,
    mask: [u8; 4],
    /// Payload that has come, and that has yet to.
    came: usize,
    left: u64,
}

/// One direction of a WebSocket.
#[derive(Debug)]
pub(super) struct Incoming {
    role: Role,
    head: [u8; HEAD_MAX],
    head_len: usize,
    frame: Option<Frame>,
    /// A message was begun, and is to be continued.
    is_fragmented: bool,
    /// Payload of a control frame.
    control: Vec<u8>,
    answer: Option<Answer>,
    end: Option<End>,
}

impl Incoming {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            head: [0; HEAD_MAX],
            head_len: 0,
            frame: None,
            is_fragmented: false,
            control: Vec::new(),
            answer: None,
            end: None,
        }
    }

    /// What to answer since this was last asked. A ping that was overtaken by another needs no answer.
    pub(super) fn answer(&mut self) -> Option<Answer> {
        self.answer.take()
    }

    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// Takes in what came. The payload is at the beginning afterwards; says how much it is.
    pub(super) fn take(&mut self, bytes: &mut [u8]) -> usize {
        let (mut at, mut kept) = (0, 0);
        while self.end.is_none() {
            let Some(frame) = &mut self.frame else {
                if at == bytes.len() {
                    break;
                }
                match self.begin(&bytes[at..]) {
                    Ok(used) => at += used,
                    Err(violation) => self.fail(violation),
                }
                continue;
            };
            let count = usize::try_from(frame.left)
                .map_or(bytes.len() - at, |left| left.min(bytes.len() - at));
            if count == 0 && frame.left > 0 {
                break;
            }
            let payload = &mut bytes[at..at + count];
            mask(payload, frame.mask, frame.came);
            frame.came += count;
            frame.left -= count as u64;
            if frame.control.is_some() {
                self.control.extend_from_slice(payload);
            } else {
                bytes.copy_within(at..at + count, kept);
                kept += count;
            }
            at += count;
            if frame.left == 0 {
                self.finish();
            }
        }
        kept
    }

    /// Reads the head of a frame, or a part of it. Says how much of `bytes` belongs to it.
    fn begin(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let before = self.head_len;
        let count = bytes.len().min(HEAD_MAX - before);
        self.head[before..before + count].copy_from_slice(&bytes[..count]);
        let mut head = Cursor::new(&self.head[..before + count]);
        let parsed = FrameHeader::parse(&mut head);
        let used = usize::try_from(head.position()).unwrap_or(HEAD_MAX);
        match parsed {
            Ok(Some((header, length))) => {
                self.head_len = 0;
                self.frame = Some(self.admit(&header, length)?);
                // It did not end before, or there would have been a frame.
                Ok(used.saturating_sub(before))
            }
            Ok(None) => {
                self.head_len = before + count;
                Ok(count)
            }
            Err(_) => Err(broken("a frame of a kind that does not exist")),
        }
    }

    /// Whether such a frame may come.
    // spec(4): MQTT-6.0.0-1, MQTT-6.0.0-2
    // spec(5): MQTT-6.0.0-1, MQTT-6.0.0-2
    fn admit(&mut self, header: &FrameHeader, length: u64) -> Result<Frame, Violation> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(broken("a frame of an extension that was not agreed on"));
        }
        if header.mask.is_some() != (self.role == Role::Listener) {
            return Err(broken(match self.role {
                Role::Listener => "a frame of a client without a mask",
                Role::Client => "a frame of a server with a mask",
            }));
        }
        if length > i64::MAX as u64 {
            return Err(broken("a frame of an impossible length"));
        }
        let control = match header.opcode {
            OpCode::Control(control) => {
                if !header.is_final || length > CONTROL_MAX {
                    return Err(broken("a control frame that is too long or in pieces"));
                }
                Some(control)
            }
            OpCode::Data(Data::Binary) if !self.is_fragmented => None,
            OpCode::Data(Data::Continue) if self.is_fragmented => None,
            OpCode::Data(Data::Text) => {
                return Err(Violation {
                    code: CloseCode::Unsupported,
                    words: "a text frame: MQTT is carried in binary frames",
                });
            }
            OpCode::Data(_) => return Err(broken("a message within another one")),
        };
        if control.is_none() {
            self.is_fragmented = !header.is_final;
        }
        Ok(Frame {
            control,
            mask: header.mask.unwrap_or_default(),
            came: 0,
            left: length,
        })
    }

    /// A frame is whole.
    fn finish(&mut self) {
        let control = self.frame.take().and_then(|frame| frame.control);
        match control {
            Some(Control::Ping) => {
                self.answer = Some(Answer::Pong(std::mem::take(&mut self.control)));
            }
            Some(Control::Close) => match close_code(&self.control) {
                Ok(code) => {
                    self.end = Some(End::Closed);
                    self.answer = Some(Answer::Close(code));
                }
                Err(violation) => self.fail(violation),
            },
            _ => {}
        }
        self.control.clear();
    }

    fn fail(&mut self, violation: Violation) {
        self.end = Some(End::Broken(violation));
        self.answer = Some(Answer::Close(violation.code));
    }
}

/// What to answer a goodbye with: its own code.
fn close_code(payload: &[u8]) -> Result<CloseCode, Violation> {
    match payload {
        [] => Ok(CloseCode::Normal),
        [high, low, reason @ ..] => {
            let code = CloseCode::from(u16::from_be_bytes([*high, *low]));
            if code.is_allowed() && std::str::from_utf8(reason).is_ok() {
                Ok(code)
            } else {
                Err(broken("a goodbye that cannot be read"))
            }
        }
        _ => Err(broken("a goodbye that cannot be read")),
    }
}

fn broken(words: &'static str) -> Violation {
    Violation {
        code: CloseCode::Protocol,
        words,
    }
}
