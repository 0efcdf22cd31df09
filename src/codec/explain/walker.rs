//! The walk over the bytes: takes them from the front, makes a part of each field, and remembers where it stumbled.

use super::super::ProtocolVersion;
use super::super::wire::read_variable;
use super::{PARTS_MAX, Part};
use std::borrow::Cow;
use std::ops::Range;

/// How much of a text or of bytes is shown.
const SHOWN_MAX: usize = 48;

/// The walk cannot go on.
#[derive(Debug)]
pub(super) struct Stop;

pub(super) type Step<T = ()> = Result<T, Stop>;

#[derive(Debug)]
pub(super) struct Walker<'a> {
    data: &'a [u8],
    pub(super) version: ProtocolVersion,
    pub(super) parts: Vec<Part>,
    /// Where the decoder's complaint most likely is: the first thing that looked wrong.
    pub(super) suspect: Option<Range<usize>>,
    /// What the fixed header says the size of the packet is, once it is known.
    pub(super) size: Option<usize>,
    at: usize,
    end: usize,
    depth: usize,
}

impl<'a> Walker<'a> {
    pub(super) fn new(data: &'a [u8], version: ProtocolVersion) -> Self {
        Self {
            data,
            version,
            parts: Vec::new(),
            suspect: None,
            size: None,
            at: 0,
            end: data.len(),
            depth: 0,
        }
    }

    pub(super) fn is_v5(&self) -> bool {
        self.version == ProtocolVersion::V5
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next byte, which stays where it is; 0 at the end.
    pub(super) fn peek(&self) -> u8 {
        self.data.get(self.at).copied().unwrap_or_default()
    }

    /// The byte that was taken last.
    pub(super) fn previous(&self) -> u8 {
        let at = self.at.checked_sub(1);
        at.and_then(|at| self.data.get(at))
            .copied()
            .unwrap_or_default()
    }

    /// Bytes left in the packet or list at hand.
    pub(super) fn left(&self) -> usize {
        self.end - self.at
    }

    /// Lets the walk end `length` bytes from here, or at the end it has; gives back that one, for [`Walker::widen`].
    pub(super) fn narrow(&mut self, length: usize) -> usize {
        let end = self.end;
        self.end = self.at.saturating_add(length).min(end);
        end
    }

    pub(super) fn widen(&mut self, end: usize) {
        self.end = end;
    }

    pub(super) fn suspect(&mut self, range: Range<usize>) {
        self.suspect.get_or_insert(range);
    }

    pub(super) fn suspect_last(&mut self, length: usize) {
        self.suspect(self.at.saturating_sub(length)..self.at);
    }

    /// What the fault says when the packet is not all there.
    pub(super) fn missing(&self) -> String {
        let there = self.data.len();
        match self.size {
            Some(size) => format!("the packet is incomplete: {there} of {size} bytes are there"),
            None => format!("the fixed header is incomplete: {there} bytes are there"),
        }
    }

    /// A part that holds all that `inside` makes.
    pub(super) fn group(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        inside: impl FnOnce(&mut Self) -> Step<(String, String)>,
    ) -> Step {
        let index = self.parts.len();
        self.push(self.at..self.at, None, field.into());
        self.depth += 1;
        let said = inside(self);
        self.depth -= 1;
        let end = self.at;
        if let Some(part) = self.parts.get_mut(index) {
            part.range.end = end;
            if let Ok((value, meaning)) = &said {
                part.value.clone_from(value);
                part.meaning.clone_from(meaning);
            }
        }
        said.map(|_| ())
    }

    /// A part of `length` bytes. If they are not all there, what is there becomes a part, and the walk ends.
    pub(super) fn take(&mut self, length: usize, field: &'static str) -> Step<&'a [u8]> {
        let available = self.left();
        if self.parts.len() >= PARTS_MAX {
            return Err(Stop);
        }
        let bytes = self.data.get(self.at..self.at + length.min(available));
        let bytes = bytes.unwrap_or_default();
        self.push(self.at..self.at + bytes.len(), None, field.into());
        self.at += bytes.len();
        if length > available {
            self.say(
                show_bytes(bytes),
                format!("cut off: {length} bytes are needed, {available} are left"),
            );
            self.suspect_last(available);
            return Err(Stop);
        }
        Ok(bytes)
    }

    /// Completes the part that was made last.
    pub(super) fn say(&mut self, value: impl Into<String>, meaning: impl Into<String>) {
        if let Some(part) = self.parts.last_mut() {
            part.value = value.into();
            part.meaning = meaning.into();
        }
    }

    /// Some bits of the byte that was taken last, with their value.
    pub(super) fn bits(&mut self, high: u8, low: u8, field: &'static str, meaning: &str) {
        let width = high - low + 1;
        let value = self.previous() >> low & (0xFF >> (8 - width));
        self.depth += 1;
        self.push(
            self.at.saturating_sub(1)..self.at,
            Some((high, low)),
            field.into(),
        );
        self.depth -= 1;
        let digits = format!("{value:0width$b}", width = usize::from(width));
        self.say(digits, meaning);
    }

    pub(super) fn byte(&mut self, field: &'static str) -> Step<u8> {
        let byte = self.take(1, field)?.first().copied().unwrap_or_default();
        self.say(byte.to_string(), "");
        Ok(byte)
    }

    pub(super) fn two(&mut self, field: &'static str) -> Step<u16> {
        let number = self
            .take(2, field)?
            .iter()
            .fold(0, |number, &byte| number << 8 | u16::from(byte));
        self.say(number.to_string(), "");
        Ok(number)
    }

    pub(super) fn four(&mut self, field: &'static str) -> Step<u32> {
        let number = self
            .take(4, field)?
            .iter()
            .fold(0, |number, &byte| number << 8 | u32::from(byte));
        self.say(number.to_string(), "");
        Ok(number)
    }

    /// A variable byte integer, digit by digit.
    pub(super) fn variable(&mut self, field: &'static str) -> Step<usize> {
        let rest = self.data.get(self.at..self.end).unwrap_or_default();
        let found = read_variable(rest);
        let start = self.at;
        let mut value = 0;
        self.group(field, |walker| {
            for (index, name) in ["digit 1", "digit 2", "digit 3", "digit 4"]
                .into_iter()
                .enumerate()
            {
                let byte = walker.byte(name)?;
                let digit = usize::from(byte & 0x7F);
                let more = if byte < 0x80 {
                    "the last"
                } else {
                    "more follow"
                };
                walker.say(
                    digit.to_string(),
                    format!("times {}, {more}", 1_usize << (7 * index)),
                );
                value |= digit << (7 * index);
                if byte < 0x80 {
                    return Ok((value.to_string(), String::new()));
                }
            }
            walker.suspect(start..walker.at);
            Err(Stop)
        })?;
        if found.is_ok_and(|found| found.is_some_and(|found| !found.is_shortest)) && self.is_v5() {
            self.suspect(start..self.at);
        }
        Ok(value)
    }

    /// A text with its length in front.
    pub(super) fn text(&mut self, field: &'static str, meaning: &str) -> Step<&'a [u8]> {
        let mut text: &[u8] = &[];
        self.group(field, |walker| {
            let length = walker.two("length")?;
            walker.say(length.to_string(), "bytes of UTF-8");
            text = walker.take(length.into(), "text")?;
            let (value, complaint) = show_text(text);
            walker.say(value.clone(), complaint);
            if !complaint.is_empty() {
                walker.suspect_last(text.len());
            }
            Ok((value, meaning.to_owned()))
        })?;
        Ok(text)
    }

    /// Bytes with their length in front.
    pub(super) fn binary(&mut self, field: &'static str, meaning: &str) -> Step<&'a [u8]> {
        let mut bytes: &[u8] = &[];
        self.group(field, |walker| {
            let length = walker.two("length")?;
            walker.say(length.to_string(), "bytes");
            bytes = walker.take(length.into(), "bytes")?;
            let value = show_bytes(bytes);
            walker.say(value.clone(), "");
            Ok((value, meaning.to_owned()))
        })?;
        Ok(bytes)
    }

    /// Whatever has not become a part yet.
    pub(super) fn cover_rest(&mut self) {
        let rest = self.at..self.data.len();
        if rest.is_empty() {
            return;
        }
        let value = show_bytes(self.data.get(rest.clone()).unwrap_or_default());
        let end = self.size.unwrap_or(usize::MAX);
        let meaning = if rest.start >= end {
            "these bytes belong to what follows the packet"
        } else if self.parts.len() >= PARTS_MAX {
            "not broken down: there are too many parts before"
        } else {
            "not read: what they mean depends on what is wrong before"
        };
        self.depth = 0;
        self.push(rest, None, "rest".into());
        self.say(value, meaning);
        self.at = self.data.len();
    }

    fn push(&mut self, range: Range<usize>, bits: Option<(u8, u8)>, field: Cow<'static, str>) {
        self.parts.push(Part {
            range,
            bits,
            depth: self.depth,
            field,
            value: String::new(),
            meaning: String::new(),
        });
    }
}

/// A text as it is shown, and what is wrong with it.
pub(super) fn show_text(bytes: &[u8]) -> (String, &'static str) {
    let complaint = match std::str::from_utf8(bytes) {
        Ok(text) if text.contains('\0') => "contains the character U+0000",
        Ok(_) => "",
        Err(_) => "not valid UTF-8",
    };
    // Cut before anything is made of it: a text may be long.
    let shown = bytes.get(..SHOWN_MAX).unwrap_or(bytes);
    let mut value = format!("{:?}", String::from_utf8_lossy(shown));
    if bytes.len() > shown.len() {
        value.push('…');
    }
    (value, complaint)
}

/// Bytes as they are shown.
pub(super) fn show_bytes(bytes: &[u8]) -> String {
    let mut shown: Vec<String> = bytes
        .iter()
        .take(SHOWN_MAX / 3)
        .map(|byte| format!("{byte:02X}"))
        .collect();
    if bytes.len() > shown.len() {
        shown.push(format!("… ({} bytes)", bytes.len()));
    }
    shown.join(" ")
}

/// A payload as it is shown: text if it looks like text.
pub(super) fn show_payload(bytes: &[u8]) -> String {
    let shown = bytes.get(..SHOWN_MAX).unwrap_or(bytes);
    let is_text = std::str::from_utf8(bytes)
        .is_ok_and(|text| text.chars().all(|c| !c.is_control() || c.is_whitespace()));
    match is_text {
        true if shown.len() < bytes.len() => {
            format!(
                "{:?}… ({} bytes)",
                String::from_utf8_lossy(shown),
                bytes.len()
            )
        }
        true => format!("{:?}", String::from_utf8_lossy(shown)),
        false => show_bytes(bytes),
    }
}
