//! What can go wrong with a store.

/// Why a store cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Another process, or another client of this one, has it.
    #[error("the outbox {path:?} is in use by another client or process")]
    InUse {
        /// Where it is.
        path: String,
    },
    /// It was made for another client.
    #[error("the outbox {path:?} belongs to the client id {owner:?}, not to {asked:?}")]
    OtherClient {
        /// Where it is.
        path: String,
        /// Whose it is.
        owner: String,
        /// Who wanted it.
        asked: String,
    },
    /// It cannot be read, and was renamed.
    #[error(
        "the outbox {path:?} {cause}; it was set aside as {aside:?}, and the next try begins an empty one"
    )]
    SetAside {
        /// Where it was.
        path: String,
        /// Where it is now.
        aside: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The operating system says no: no room, no rights, no directory.
    #[error("the outbox {path:?} {action}: {cause}")]
    Io {
        /// Where it is.
        path: String,
        /// What could not be done.
        action: &'static str,
        /// The operating system's words.
        cause: String,
    },
}
