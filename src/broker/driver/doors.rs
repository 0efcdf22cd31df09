//! One listener: who comes through it, who is turned away at once, and how they are seen out.

use super::admission::Guard;
use super::connection::Connection;
use super::cores::Cores;
use super::pipe::Pipe;
use crate::broker::bell::Bell;
use crate::broker::hub::Hub;
use crate::broker::places::Places;
use crate::broker::protocol::Protocol;
use crate::broker::seams::Seams;
use crate::broker::{Limit, Terms};
use crate::clock::Clock;
use crate::codec::ReasonCode;
use crate::transport::{Listener, Stream};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
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
    /// Of all listeners.
    pub(super) places: Arc<Places>,
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
                accepted = accept(&listener, &self.places, &self.seams.clock) => match accepted {
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
        let clock = &self.seams.clock;
        let now = clock.now();
        let counters = self.hub.counters();
        let address = stream.peer_address().map(|address| address.ip());
        let place = self.places.take(address, now);
        if self.places.closed_until(now).is_some() {
            counters.reached(Limit::ConnectRateMax);
        }
        let place = match place {
            Ok(place) => place,
            Err(limit) => {
                // Before CONNECT there is nothing that could be said.
                counters.connects_refused.add_one();
                return counters.reached(limit);
            }
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
            counters.connects_refused.add_one();
            return;
        };
        let bell = Arc::new(Bell::default());
        let limits = Arc::clone(self.hub.limits());
        let protocol = Protocol::new(limits, now).with_terms(self.terms.clone());
        let hub = Arc::clone(&self.hub);
        let guard = self.guard.clone();
        let outside = match &stream {
            Stream::Memory(_) => None,
            _ => Some(clock.outside()),
        };
        let pipe = Pipe::new(stream, Arc::clone(&self.seams));
        let mut connection = Connection::new(pipe, place, protocol, hub, guard, Arc::clone(&bell));
        let task = clock.track(async move {
            let _outside = outside;
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

/// The next connection, once it may be let through. What comes through memory need not wait.
async fn accept(listener: &Listener, places: &Places, clock: &Clock) -> io::Result<Stream> {
    if !matches!(listener, Listener::Memory(_))
        && let Some(at) = places.closed_until(clock.now())
    {
        clock.sleep_until(at).await;
    }
    listener.accept().await
}
