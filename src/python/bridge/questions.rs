//! Questions of the network's side to callables of Python that may take their time: taken out by threads of Python's, which
//! wait here without holding the interpreter, and answered whenever they like. So neither an event loop nor a thread of
//! tokio waits for them.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What waits to be taken out, and whether anybody may.
struct Queue<Q, A> {
    waiting: VecDeque<(Q, oneshot::Sender<A>)>,
    /// Whoever came for an earlier one goes home.
    opening: u64,
    is_open: bool,
}

/// A queue of questions. It belongs to who asks: see [`Questions::asking`].
pub(crate) struct Questions<Q, A> {
    queue: Mutex<Queue<Q, A>>,
    changed: Condvar,
}

impl<Q, A> Questions<Q, A> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                opening: 0,
                is_open: false,
            }),
            changed: Condvar::new(),
        })
    }

    /// From here on questions are taken; the number that whoever answers them shows.
    pub(crate) fn open(&self) -> u64 {
        let mut queue = self.queue.lock();
        queue.opening += 1;
        queue.is_open = true;
        queue.opening
    }

    /// No more questions: who asked hears nothing, and who waits for one goes home.
    pub(crate) fn close(&self) {
        let waiting = {
            let mut queue = self.queue.lock();
            queue.is_open = false;
            std::mem::take(&mut queue.waiting)
        };
        drop(waiting);
        self.changed.notify_all();
    }

    /// Waits for the next question that somebody still wants to be answered; not while attached to Python. `None`: there
    /// will be none.
    pub(crate) fn next(&self, opening: u64) -> Option<(Q, oneshot::Sender<A>)> {
        let mut queue = self.queue.lock();
        while queue.is_open && queue.opening == opening {
            match queue.waiting.pop_front() {
                Some(question) if question.1.is_closed() => {}
                Some(question) => return Some(question),
                None => self.changed.wait(&mut queue),
            }
        }
        None
    }

    /// Whoever asks. There is one at a time.
    pub(crate) fn asking(self: &Arc<Self>) -> Asking<Q, A> {
        Asking(Arc::clone(self))
    }

    fn ask(&self, question: Q) -> impl Future<Output = Option<A>> + use<Q, A> {
        let (sender, answer) = oneshot::channel();
        let mut queue = self.queue.lock();
        if queue.is_open {
            queue.waiting.push_back((question, sender));
            self.changed.notify_one();
        }
        async { answer.await.ok() }
    }
}

/// The side that asks. When it goes, so do the threads of those who answer.
pub(crate) struct Asking<Q, A>(Arc<Questions<Q, A>>);

impl<Q, A> Asking<Q, A> {
    /// Asks; `None`: nobody has answered.
    pub(crate) fn ask(&self, question: Q) -> impl Future<Output = Option<A>> + use<Q, A> {
        self.0.ask(question)
    }
}

impl<Q, A> fmt::Debug for Asking<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callable")
    }
}

impl<Q, A> Drop for Asking<Q, A> {
    fn drop(&mut self) {
        self.0.close();
    }
}
