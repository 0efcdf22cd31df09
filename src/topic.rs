//! Topic names and topic filters: what is valid, and what matches what.
//!
//! Owns the rules of section 4.7 of both standards and nothing else: which client may use a topic, and who subscribed to
//! what, is the broker's business. A value of [`TopicName`] or [`TopicFilter`] is valid by construction, and cloning one
//! is a reference count: topics cut out of a read buffer stay there. Next: [`crate::message`].

mod template;

pub use template::TopicTemplate;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use std::fmt;

/// The longest topic name or filter, in bytes of UTF-8: the wire has two bytes for its length.
///
/// spec(4): MQTT-4.7.3-3
/// spec(5): MQTT-4.7.3-3
pub const LENGTH_MAX: usize = 65_535;

/// Why a text is not a topic name or not a topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// Names and filters have at least one character.
    #[error("a topic must not be empty")]
    Empty,
    /// More than [`LENGTH_MAX`] bytes.
    #[error("a topic must not be longer than 65535 bytes, this one has {0}")]
    TooLong(usize),
    /// The character U+0000.
    #[error("a topic must not contain the character U+0000 (at byte {0})")]
    Nul(usize),
    /// `+` or `#` in a topic name.
    #[error("a topic name must not contain the wildcard '{wildcard}' (at byte {at})")]
    WildcardInName {
        /// The wildcard found.
        wildcard: char,
        /// Where, in bytes from the start.
        at: usize,
    },
    /// `#` that is not the whole last level.
    #[error("'#' must be the whole last level of a topic filter (at byte {0})")]
    MisplacedHash(usize),
    /// `+` that shares its level with other characters.
    #[error("'+' must be a whole level of a topic filter (at byte {0})")]
    MisplacedPlus(usize),
    /// `$share/name/filter` without a name, with a wildcard in the name, or without a filter.
    #[error("a shared subscription has the form $share/name/filter, with no wildcard in the name")]
    BadShare,
    /// `a/{name}/{name}`: which of the two would be meant?
    #[error("a topic template must not give one name to two levels")]
    NamedTwice,
}

/// A topic name: what a message is published to. Not empty, no wildcard, no U+0000.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(ByteString);

impl TopicName {
    /// Checks and takes a topic name.
    ///
    /// # Errors
    /// [`TopicError`] names the first fault and where it is.
    pub fn new(text: impl Into<ByteString>) -> Result<Self, TopicError> {
        let text = text.into();
        Self::check(&text).map(|()| Self(text))
    }

    /// Checks a text as [`TopicName::new`] does, without taking it.
    ///
    /// # Errors
    /// As there.
    pub fn check(text: &str) -> Result<(), TopicError> {
        // One look at each byte, with no branch between them, since every message that arrives comes this way; which
        // fault it is, and where, is looked up only when there is one.
        let is_plain = text.bytes().fold(true, |is_plain, byte| {
            is_plain & !matches!(byte, 0 | b'+' | b'#')
        });
        if is_plain && !text.is_empty() && text.len() <= LENGTH_MAX {
            return Ok(());
        }
        check_text(text)?;
        // spec(4): MQTT-4.7.1-1, MQTT-3.3.2-2
        // spec(5): MQTT-4.7.0-1, MQTT-3.3.2-2
        match text.bytes().position(|byte| byte == b'+' || byte == b'#') {
            Some(at) => Err(TopicError::WildcardInName {
                wildcard: char::from(text.as_bytes()[at]),
                at,
            }),
            None => Ok(()),
        }
    }

    /// Stands where a topic alias has not been looked up yet.
    pub(crate) fn unresolved() -> Self {
        Self(ByteString::from_static("-"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same name in memory of its own, so that it does not keep a whole read buffer alive.
    #[must_use]
    pub fn compact(&self) -> Self {
        Self(ByteString::from(self.as_str().to_owned()))
    }
}

impl TopicName {
    /// The same name and these bytes, one behind the other at the end of `room`, which must be empty.
    pub(crate) fn compact_with(&self, bytes: &[u8], room: &mut BytesMut) -> (Self, Bytes) {
        let text = self.0.as_bytes();
        room.reserve(text.len() + bytes.len());
        room.extend_from_slice(text);
        room.extend_from_slice(bytes);
        let name = room.split_to(text.len()).freeze();
        let bytes = room.split().freeze();
        // It is the text of before, so looking at it again finds nothing.
        match ByteString::try_from(name) {
            Ok(name) => (Self(name), bytes),
            Err(_) => (self.compact(), bytes),
        }
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A topic filter: what a subscription asks for. `+` stands for one level, a last `#` for any number of them.
///
/// A filter that starts with `$share/` is kept whole here; [`TopicFilter::share`] takes it apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter(ByteString);

impl TopicFilter {
    /// Checks and takes a topic filter. The text after `$share/name/` is checked as a filter of its own only by
    /// [`TopicFilter::share`], since to MQTT 3.1.1 it is a filter like any other.
    ///
    /// # Errors
    /// [`TopicError`] names the first fault and where it is.
    pub fn new(text: impl Into<ByteString>) -> Result<Self, TopicError> {
        let text = text.into();
        check_text(&text)?;
        check_wildcards(&text)?;
        Ok(Self(text))
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the filter has a wildcard.
    pub fn has_wildcard(&self) -> bool {
        self.0.bytes().any(|byte| byte == b'+' || byte == b'#')
    }

    /// Whether the filter matches the topic name.
    pub fn matches(&self, name: &TopicName) -> bool {
        matches(&self.0, name.as_str())
    }

    /// The share name and the filter proper, if this is a shared subscription of MQTT 5.
    ///
    /// # Errors
    /// [`TopicError::BadShare`] if it starts with `$share/` but has no name, a wildcard in the name, or no filter.
    // spec(5): MQTT-4.8.2-1, MQTT-4.8.2-2
    pub fn share(&self) -> Result<Option<(&str, TopicFilter)>, TopicError> {
        let Some(rest) = self.0.strip_prefix("$share/") else {
            return Ok(None);
        };
        let (name, filter) = rest.split_once('/').ok_or(TopicError::BadShare)?;
        if name.is_empty() || filter.is_empty() || name.contains(['+', '#']) {
            return Err(TopicError::BadShare);
        }
        let start = "$share/".len() + name.len() + 1;
        Ok(Some((name, Self::new(self.0.slice_ref(&self.0[start..]))?)))
    }

    /// The same filter in memory of its own, so that it does not keep a whole read buffer alive.
    #[must_use]
    pub fn compact(&self) -> Self {
        Self(ByteString::from(self.as_str().to_owned()))
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a valid filter matches a valid name, level by level and byte for byte, with no normalisation.
// spec(4): MQTT-4.7.1-2, MQTT-4.7.1-3, MQTT-4.7.3-4
// spec(5): MQTT-4.7.1-1, MQTT-4.7.1-2, MQTT-4.7.3-4
fn matches(filter: &str, name: &str) -> bool {
    // A wildcard in the first level leaves the names that start with `$` to those who spell the `$`.
    // spec(4): MQTT-4.7.2-1
    // spec(5): MQTT-4.7.2-1
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = name.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

// spec(4): MQTT-4.7.3-1, MQTT-4.7.3-2
// spec(5): MQTT-4.7.3-1, MQTT-4.7.3-2
fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > LENGTH_MAX {
        return Err(TopicError::TooLong(text.len()));
    }
    text.bytes()
        .position(|byte| byte == 0)
        .map_or(Ok(()), |at| Err(TopicError::Nul(at)))
}

fn check_wildcards(text: &str) -> Result<(), TopicError> {
    let mut start = 0;
    for level in text.split('/') {
        let is_last = start + level.len() == text.len();
        if let Some(at) = level.find('#')
            && (level.len() > 1 || !is_last)
        {
            return Err(TopicError::MisplacedHash(start + at));
        }
        if let Some(at) = level.find('+')
            && level.len() > 1
        {
            return Err(TopicError::MisplacedPlus(start + at));
        }
        start += level.len() + 1;
    }
    Ok(())
}
