//! How clients and brokers tell what happens to them. What there is to tell is theirs: see the `Entry` of each.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A function that is told what happens. It is called in the middle of other work, so it must not wait for anything.
///
/// `Tell` is its type, `dyn Fn(&Entry<'_>) + Send + Sync`: an entry lives no longer than it takes to tell it.
pub struct Journal<Tell: ?Sized>(Arc<Tell>);

impl<Tell: ?Sized> Journal<Tell> {
    /// Tells this function.
    pub fn new(tell: Arc<Tell>) -> Self {
        Self(tell)
    }
}

impl<Tell: ?Sized> Clone for Journal<Tell> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Tell: ?Sized> Deref for Journal<Tell> {
    type Target = Tell;

    fn deref(&self) -> &Tell {
        &self.0
    }
}

impl<Tell: ?Sized> fmt::Debug for Journal<Tell> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journal")
    }
}
