//! Waiting for one operation in a future.

use super::{Answer, ClientError, Done};
use tokio::sync::oneshot;

/// The two ends of one operation: to be called, and to be waited for.
pub(super) fn waiter<T: Send + 'static>() -> (Done<T>, oneshot::Receiver<Result<T, ClientError>>) {
    let (sender, receiver) = oneshot::channel();
    (Box::new(Waiter(sender)), receiver)
}

struct Waiter<T>(oneshot::Sender<Result<T, ClientError>>);

impl<T: Send> Answer<T> for Waiter<T> {
    fn begins(&self) -> bool {
        !self.0.is_closed()
    }

    fn answer(self: Box<Self>, outcome: Result<T, ClientError>) {
        // Who has gone away does not need the outcome.
        let _ = self.0.send(outcome);
    }
}
