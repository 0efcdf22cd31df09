//! Who has published what is retained: as much as it takes to find out later whether it still may.

use bytestring::ByteString;

/// A client, as it was when it published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// Its client id.
    pub client_id: ByteString,
    /// Who it had proven to be.
    pub user: Option<ByteString>,
    /// Through which of the broker's listeners it had come; `None`: in memory.
    pub listener: Option<usize>,
}

impl Author {
    /// Of its names, in bytes.
    pub fn size(&self) -> usize {
        self.client_id.len() + self.user.as_ref().map_or(0, |user| user.len())
    }
}
