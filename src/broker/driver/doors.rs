//! One listener: who comes through it, who is turned away at once, and how they are seen out.
//!
//! Where a connection has to shake hands first, as with TLS, it does so in a task of its own, which is gone when the
//! connection is served: others do not wait for it, and it costs nobody memory for longer than it takes.

use super::admission::{Admission, Guard, Named};
use super::connection::Connection;
use super::cores::Cores;
use super::failures::{Failure, Failures};
use super::inquiry::Desk;
use super::pipe::Pipe;
use crate::broker::bell::Bell;
use crate::broker::hub::Hub;
use crate::broker::memory::Claim;
use crate::broker::places::{Place, Places, network_of};
use crate::broker::protocol::Protocol;
use crate::broker::quota::Turns;
use crate::broker::seams::Seams;
use crate::broker::{Limit, ListenerOptions, Terms};
use crate::clock::Clock;
use crate::codec::ReasonCode;
use crate::transport::{Address, CertificateName, Gate, Listener, PeerInfo, Stream};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

/// After a failed accept (mostly: no file descriptors left) the next is tried this much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// So much of a handshake is not counted: with the certificates of a client, or the cookies of a browser, few have more.
const HANDSHAKE_FREE: usize = 8 << 10;

/// What goes for all who come through one listener.
#[derive(Debug)]
pub(super) struct Entrance {
    /// Which of the options it is; `None`: the broker's own name in memory.
    index: Option<usize>,
    pub(super) gate: Gate,
    address: Arc<Address>,
    guard: Option<Arc<Guard>>,
    username_from: Option<CertificateName>,
    connections_max: usize,
    /// Connections that came through it.
    open: Arc<AtomicUsize>,
}

impl Entrance {
    pub(super) fn of(options: &ListenerOptions, index: usize, guard: Option<Arc<Guard>>) -> Self {
        Self {
            index: Some(index),
            gate: options.gate.clone(),
            address: Arc::new(options.address.clone()),
            guard,
            username_from: options.username_from,
            connections_max: options.connections_max.unwrap_or(usize::MAX),
            open: Arc::default(),
        }
    }

    pub(super) fn inside(address: Address, guard: Option<Arc<Guard>>) -> Self {
        Self {
            index: None,
            gate: Gate::default(),
            address: Arc::new(address),
            guard,
            username_from: None,
            connections_max: usize::MAX,
            open: Arc::default(),
        }
    }
}

/// Somebody who has connected, and is not served yet.
pub(super) struct Arrival {
    stream: Stream,
    peer: PeerInfo,
    since: Instant,
    place: Place,
    seat: Seat,
    /// The thread it stays on.
    core: Option<Handle>,
}

/// One listener and the connections that came through it.
pub(super) struct Doors {
    pub(super) hub: Arc<Hub>,
    pub(super) terms: Terms,
    pub(super) desk: Arc<Desk>,
    pub(super) seams: Arc<Seams>,
    pub(super) cores: Arc<Cores>,
    /// Of all listeners.
    pub(super) places: Arc<Places>,
    pub(super) entrance: Entrance,
    /// Those for whom connections have come too fast.
    pub(super) waiting: Turns<IpAddr, (Stream, SocketAddr)>,
    /// Those that shake hands.
    pub(super) arrivals: JoinSet<Result<Arrival, Failure>>,
    pub(super) connections: JoinSet<()>,
    pub(super) bells: HashMap<Id, Arc<Bell>>,
    pub(super) failures: Failures,
}

impl Doors {
    /// Takes connections until told to stop, then sees them out.
    pub(super) async fn keep(
        mut self,
        listener: Listener,
        mut stopped: watch::Receiver<Option<Duration>>,
    ) {
        loop {
            let turn = self.next_turn();
            tokio::select! {
                biased;
                _ = stopped.changed() => break,
                Some(ended) = self.connections.join_next_with_id(), if !self.connections.is_empty() => {
                    self.forget(ended);
                }
                Some(arrived) = self.arrivals.join_next(), if !self.arrivals.is_empty() => {
                    match arrived {
                        Ok(Ok(arrival)) => self.welcome(arrival),
                        Ok(Err(failure)) => self.turn_away(failure),
                        Err(_) => self.turn_away(Failure::Ours),
                    }
                }
                () = self.seams.clock.sleep_until(turn), if !self.waiting.is_empty() => {
                    if let Some((stream, from)) = self.waiting.pop() {
                        self.take_in(stream, Some(from));
                    }
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => self.receive(stream, from),
                    Err(_) => self.seams.clock.sleep(ACCEPT_PAUSE).await,
                },
            }
        }
        drop(listener);
        self.arrivals.shutdown().await;
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

    /// Somebody has connected. Where many come at once they wait for their turns, each address for its own; what comes
    /// through memory need not wait.
    fn receive(&mut self, stream: Stream, from: Option<SocketAddr>) {
        let is_open = || {
            let closed_until = self.places.closed_until(self.seams.clock.now());
            self.waiting.is_empty() && closed_until.is_none()
        };
        if !self.entrance.gate.trusts(from) {
            let why = io::Error::other("it is none of the proxies that were named");
            return self.turn_away(Failure::Handshake(from, why));
        }
        let Some(address) = from.filter(|_| !is_open()) else {
            return self.take_in(stream, from);
        };
        let counters = self.hub.counters();
        counters.reached(Limit::ConnectRateMax);
        if self
            .waiting
            .push(network_of(address.ip()), (stream, address))
            .is_some()
        {
            counters.connects_refused.add_one();
        }
    }

    /// When the next one who waits may come in.
    fn next_turn(&self) -> Instant {
        let now = self.seams.clock.now();
        self.places.closed_until(now).unwrap_or(now)
    }

    /// Somebody may come in.
    fn take_in(&mut self, stream: Stream, address: Option<SocketAddr>) {
        let now = self.seams.clock.now();
        // Not a proxy's, but of whom it speaks for.
        let known = address.filter(|_| self.entrance.gate.forwarders.is_none());
        let place = self.places.take(known.map(|address| address.ip()), now);
        let seat = Seat::take(&self.entrance.open, self.entrance.connections_max);
        let seat = seat.ok_or(Limit::ConnectionsMax);
        let room = self.hub.memory().grants(Claim::Rest);
        let room = room.then_some(()).ok_or(Limit::HeldBytesMax);
        let (place, seat) = match place.and_then(|place| room.and(Ok((place, seat?)))) {
            Ok(taken) => taken,
            Err(limit) => {
                // Before CONNECT there is nothing that could be said.
                return self.turn_away(limit.into());
            }
        };
        let core = self.cores.place(&stream).cloned();
        // What is made here, timers too, belongs to the runtime that will use it.
        let entered = core.as_ref().map(Handle::enter);
        let stream = match core {
            Some(_) => stream.adopt(),
            None => Ok(stream),
        };
        drop(entered);
        let Ok(stream) = stream else {
            // As if it had been lost just after it was taken.
            return self.turn_away(Failure::Ours);
        };
        let peer = PeerInfo {
            address,
            certificate: None,
            listener: self.entrance.index,
        };
        let arrival = Arrival {
            stream,
            peer,
            since: now,
            place,
            seat,
            core,
        };
        if self.entrance.gate.is_open(&self.entrance.address) {
            self.welcome(arrival);
        } else {
            self.shake_hands(arrival);
        }
    }

    /// Lets it pass the gate, for as long as CONNECT may take.
    fn shake_hands(&mut self, arrival: Arrival) {
        let (gate, address) = (
            self.entrance.gate.clone(),
            Arc::clone(&self.entrance.address),
        );
        let limit = self.hub.limits().connect_timeout;
        let clock = self.seams.clock.clone();
        let core = arrival.core.clone();
        let _entered = core.as_ref().map(Handle::enter);
        let outside = clock.outside();
        let task = self.seams.clock.track(async move {
            let _outside = outside;
            let passed = clock
                .timeout(limit, pass(&gate, &address, arrival, &clock))
                .await;
            passed.unwrap_or(Err(Limit::ConnectTimeout.into()))
        });
        match &core {
            Some(core) => self.arrivals.spawn_on(task, core),
            None => self.arrivals.spawn(task),
        };
    }

    /// It has not passed the gate.
    fn turn_away(&mut self, failure: Failure) {
        let counters = self.hub.counters();
        counters.connects_refused.add_one();
        match failure {
            Failure::Limit(limit) => counters.reached(limit),
            Failure::Handshake(address, why) => {
                let now = self.seams.clock.now();
                self.failures.note(&self.hub, (address, &why), now);
            }
            Failure::Ours => {}
        }
    }

    /// Serves it.
    fn welcome(&mut self, arrival: Arrival) {
        let Arrival {
            stream,
            peer,
            since,
            place,
            seat,
            core,
        } = arrival;
        let _entered = core.as_ref().map(Handle::enter);
        let bell = Arc::new(Bell::default());
        let clock = &self.seams.clock;
        let limits = Arc::clone(self.hub.limits());
        let protocol = Protocol::new(limits, since).with_terms(self.terms.clone());
        let hub = Arc::clone(&self.hub);
        let named = Named::by(self.entrance.username_from, &peer);
        let admission = Admission::new(self.entrance.guard.clone(), named);
        let asked = (admission, Arc::clone(&self.desk));
        let outside = match &stream {
            Stream::Memory(_) => None,
            _ => Some(clock.outside()),
        };
        let pipe = Pipe::new(stream, Arc::clone(&self.seams));
        let mut connection =
            Connection::new(pipe, place, protocol, hub, asked, (peer, Arc::clone(&bell)));
        let task = clock.track(async move {
            let _held = (seat, outside);
            connection.run().await;
        });
        let task = match &core {
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

/// By way of the gate, to who is at its other end.
async fn pass(
    gate: &Gate,
    address: &Address,
    mut arrival: Arrival,
    clock: &Clock,
) -> Result<Arrival, Failure> {
    if gate.forwarders.is_some() {
        let heard = gate.hear_source(&mut arrival.stream, &mut arrival.peer);
        let heard = heard.await;
        heard.map_err(|error| Failure::Handshake(arrival.peer.address, error))?;
        let said = arrival.peer.address.map(|said| said.ip());
        arrival.place.assign(said, clock.now())?;
    }
    let peer_address = arrival.peer.address;
    let (stream, read) = arrival.stream.counted();
    let place = &mut arrival.place;
    let mut admitted = pin!(gate.admit(address, stream, arrival.peer));
    let admitted = poll_fn(|cx| {
        let polled = admitted.as_mut().poll(cx);
        // What is read of a handshake is held until it is over, and its length is the stranger's to choose.
        let held = read.load(Ordering::Relaxed);
        if place.hold(held.saturating_sub(HANDSHAKE_FREE)) {
            polled.map_err(|error| Failure::Handshake(peer_address, error))
        } else {
            Poll::Ready(Err(Limit::UnacceptedBytesMax.into()))
        }
    });
    let (stream, peer) = admitted.await?;
    Ok(Arrival {
        stream: stream.uncounted(),
        peer,
        ..arrival
    })
}

/// One of the places of one listener; free again when dropped.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(open: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let seat = Self(Arc::clone(open));
        (open.fetch_add(1, Ordering::Relaxed) < max).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
