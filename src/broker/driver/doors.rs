//! One listener: who comes through it, who is turned away at once, and how they are seen out.

use super::admission::Guard;
use super::connection::Connection;
use super::cores::Cores;
use super::pipe::Pipe;
use crate::broker::bell::Bell;
use crate::broker::hub::Hub;
use crate::broker::protocol::Protocol;
use crate::broker::seams::Seams;
use crate::broker::{Limit, Terms};
use crate::codec::ReasonCode;
use crate::transport::{Listener, Stream};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

/// After a failed accept (mostly: no file descriptors left) the next is tried this much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One listener and the connections that came through it.
pub(super) struct Doors {
    pub(super) hub: Arc<Hub>,
    pub(super) terms: Terms,
    pub(super) guard: Option<Arc<Guard>>,
    pub(super) seams: Arc<Seams>,
    pub(super) cores: Arc<Cores>,
    /// Connections of all listeners.
    pub(super) open: Arc<AtomicUsize>,
    pub(super) connections: JoinSet<()>,
    pub(super) bells: HashMap<Id, Arc<Bell>>,
}

impl Doors {
    /// Takes connections until told to stop, then sees them out.
    pub(super) async fn keep(
        mut self,
        listener: Listener,
        mut stopped: watch::Receiver<Option<Duration>>,
    ) {
        loop {
            tokio::select! {
                biased;
                _ = stopped.changed() => break,
                Some(ended) = self.connections.join_next_with_id(), if !self.connections.is_empty() => {
                    self.forget(ended);
                }
                accepted = listener.accept() => match accepted {
                    Ok(stream) => self.welcome(stream),
                    Err(_) => self.seams.clock.sleep(ACCEPT_PAUSE).await,
                },
            }
        }
        drop(listener);
        if self.hub.is_cut_off() {
            // Sockets are closed by their ends, and sessions handed back by theirs.
            return self.connections.shutdown().await;
        }
        let grace = stopped.borrow().unwrap_or_default();
        let tell = |bell: &Arc<Bell>| bell.tell_to_go(ReasonCode::ServerShuttingDown);
        self.bells.values().for_each(tell);
        let seen_out = async { while self.connections.join_next().await.is_some() {} };
        if self
            .seams
            .clock
            .timeout_real(grace, seen_out)
            .await
            .is_none()
        {
            self.connections.shutdown().await;
        }
    }

    fn welcome(&mut self, stream: Stream) {
        let Some(place) = Place::take(&self.open, self.hub.limits().connections_max) else {
            // Before CONNECT there is nothing that could be said.
            self.hub.counters().connects_refused.add_one();
            self.hub.counters().reached(Limit::ConnectionsMax);
            return;
        };
        let core = self.cores.place(&stream);
        // What is made here, timers too, belongs to the runtime that will use it.
        let _entered = core.map(Handle::enter);
        let stream = match core {
            Some(_) => stream.adopt(),
            None => Ok(stream),
        };
        let Ok(stream) = stream else {
            // As if it had been lost just after it was taken.
            self.hub.counters().connects_refused.add_one();
            return;
        };
        let bell = Arc::new(Bell::default());
        let clock = &self.seams.clock;
        let now = clock.now();
        let limits = Arc::clone(self.hub.limits());
        let protocol = Protocol::new(limits, now).with_terms(self.terms.clone());
        let hub = Arc::clone(&self.hub);
        let guard = self.guard.clone();
        let outside = match &stream {
            Stream::Memory(_) => None,
            _ => Some(clock.outside()),
        };
        let pipe = Pipe::new(stream, Arc::clone(&self.seams));
        let mut connection = Connection::new(pipe, protocol, hub, guard, Arc::clone(&bell));
        let task = clock.track(async move {
            let _places = (place, outside);
            connection.run().await;
        });
        let task = match core {
            Some(core) => self.connections.spawn_on(task, core),
            None => self.connections.spawn(task),
        };
        self.bells.insert(task.id(), bell);
    }

    /// A connection's task has ended; if by a fault of ours, that has cost this one connection.
    fn forget(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => error.id(),
        };
        self.bells.remove(&id);
    }
}

/// One of the places for connections; free again when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let place = Self(Arc::clone(open));
        (open.fetch_add(1, Ordering::Relaxed) < max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
