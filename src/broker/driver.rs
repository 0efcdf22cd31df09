//! The tasks that move bytes and ask the clock: accept loop, connection task, timer task.
//!
//! Owns what runs while a broker runs, and its end: after [`Server::stop`] no task, socket or port is left. It decides
//! nothing about MQTT: that is `protocol` for one connection and `hub` for all. Who is let through a listener is in `doors`,
//! one connection's task in `connection`, its way to a session in `arrival`, and with users in `admission`.

mod admission;
mod arrival;
mod connection;
mod cores;
mod delivering;
mod doors;
mod failures;
mod inquiry;
mod leaving;
mod noting;
mod pipe;
mod publishing;
mod relay;
mod reload;
mod rights;
mod throttle;
mod timer;
mod watched;

use crate::broker::auth::Auth;
use crate::broker::group::Sharing;
use crate::broker::hub::{Batch, Hub};
use crate::broker::journal::Entry;
use crate::broker::places::Places;
use crate::broker::quota::Turns;
use crate::broker::rights::{Policies, Policy};
use crate::broker::seams::Seams;
use crate::broker::{BrokerError, BrokerOptions, Keep, ListenerOptions, Local, Snapshot};
use crate::clock::{Clock, yield_now};
use crate::message::Message;
use crate::transport::{Address, Gate, Listener};
use admission::Guard;
use cores::Cores;
use doors::{Doors, Entrance};
use failures::Failures;
use inquiry::Desk;
use noting::Told;
use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a stop may take beyond its grace, before tasks are cut off.
const STOP_MARGIN: Duration = Duration::from_millis(250);

/// What the world sees of a running broker.
#[derive(Debug, Clone, Default)]
struct Status {
    is_running: bool,
    addresses: Vec<Address>,
    /// Where it listened when it crashed, ports included: it comes back there.
    crashed_at: Option<Vec<Address>>,
}

/// A running broker. Dropping it cuts its tasks off.
#[derive(Debug)]
pub(super) struct Running {
    /// `Some`: stop, within so long.
    stop: watch::Sender<Option<Duration>>,
    tasks: JoinSet<()>,
    /// The threads of connections: they end with the last of the tasks.
    threads: JoinSet<()>,
}

/// A broker, running or not.
#[derive(Debug)]
pub(super) struct Server {
    options: BrokerOptions,
    hub: Arc<Hub>,
    guard: Option<Arc<Guard>>,
    /// Of listeners that have their own.
    guards: Vec<Arc<Guard>>,
    desk: Arc<Desk>,
    seams: Arc<Seams>,
    memory_address: Address,
    places: Arc<Places>,
    status: watch::Sender<Status>,
}

impl Server {
    pub(super) fn new(options: BrokerOptions) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let sharing = Sharing {
            strategy: options.shared_strategy,
            seed: RandomState::new().hash_one(number),
        };
        let limits = Arc::new(options.limits.clone());
        let places = Places::new(Arc::clone(&limits), options.clock.now());
        let hub = Hub::with_sharing(limits, sharing).with_journal(options.journal.clone());
        let policies = policies(&options);
        if !policies.is_empty() {
            hub.set_policies(policies);
        }
        let hub = Arc::new(if options.keeps_ledger {
            hub.with_ledger()
        } else {
            hub
        });
        let guard = |auth: &Arc<Auth>| {
            let clock = options.clock.clone();
            Arc::new(Guard::new(Arc::clone(auth), Arc::clone(&hub), clock))
        };
        let own = options.listeners.iter();
        let guards = own.filter_map(|listener| listener.auth.or(None)).map(guard);
        let guards = guards.collect();
        let guard = options.auth.as_ref().map(guard);
        let clock = options.clock.clone();
        let desk = Desk::new(&options.referee_limits, Arc::clone(&hub), clock);
        Self {
            hub,
            places: Arc::new(places),
            guard,
            guards,
            desk: Arc::new(desk),
            seams: Arc::new(Seams::new(options.clock.clone(), options.wire_lines_max)),
            memory_address: Address::Memory {
                name: format!("rmqtt-broker-{number}"),
            },
            options,
            status: watch::Sender::default(),
        }
    }

    pub(super) fn seams(&self) -> &Arc<Seams> {
        &self.seams
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(super) fn auth(&self) -> Option<Arc<Auth>> {
        self.options.auth.clone()
    }

    /// Who asks those who come through a listener who they are.
    fn guard_of(&self, listener: &ListenerOptions) -> Option<Arc<Guard>> {
        let users = listener.users(self.options.auth.as_ref())?;
        let own = self.guards.iter().chain(&self.guard);
        own.into_iter().find(|guard| guard.is_of(users)).cloned()
    }

    pub(super) fn is_running(&self) -> bool {
        self.status.borrow().is_running
    }

    pub(super) fn addresses(&self) -> Vec<Address> {
        self.status.borrow().addresses.clone()
    }

    pub(super) fn memory_address(&self) -> &Address {
        &self.memory_address
    }

    pub(super) fn publish(&self, message: &Message) -> Result<usize, BrokerError> {
        if !self.is_running() {
            return Err(BrokerError::NotRunning);
        }
        if message.retain && !self.options.terms.features.retain {
            return Err(BrokerError::RetainUnavailable);
        }
        let mut batch = Batch::default();
        let published = self
            .hub
            .publish(message, None, &mut batch, self.options.clock.now());
        batch.finish();
        published.map(|published| published.matched)
    }

    pub(super) fn retained(&self) -> Vec<Message> {
        self.hub.retained(self.options.clock.now())
    }

    pub(super) fn check(&self) -> Result<(), BrokerError> {
        check(&self.options)?;
        check_names(&self.options, &self.hub.policies())
    }

    pub(super) async fn start(&self) -> Result<Running, BrokerError> {
        self.check()?;
        let clock = &self.options.clock;
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        let crashed_at = self.status.borrow().crashed_at.clone();
        for (index, options) in self.options.listeners.iter().enumerate() {
            let address = crashed_at.as_ref().and_then(|them| them.get(index));
            let address = address.unwrap_or(&options.address);
            let (listener, bound) = bind(address, &options.gate, clock).await?;
            options.check_reach(
                &bound,
                self.options.auth.as_ref(),
                self.options.allow_anonymous,
            )?;
            let guard = self.guard_of(options);
            listeners.push((listener, Entrance::of(options, index, guard)));
            addresses.push(bound);
        }
        let address = self.memory_address.clone();
        let inside = Entrance::inside(address, self.guard.clone());
        let (listener, _) = bind(&self.memory_address, &inside.gate, clock).await?;
        listeners.push((listener, inside));
        let (cores, threads) = Cores::start(self.options.threads)
            .map_err(|error| BrokerError::Options(format!("no threads to be had: {error}")))?;
        let cores = Arc::new(cores);
        let (stop, stopped) = watch::channel(None);
        let mut tasks = JoinSet::new();
        for (listener, entrance) in listeners {
            let doors = Doors {
                hub: Arc::clone(&self.hub),
                terms: self.options.terms.clone(),
                desk: Arc::clone(&self.desk),
                seams: Arc::clone(&self.seams),
                cores: Arc::clone(&cores),
                places: Arc::clone(&self.places),
                entrance,
                waiting: Turns::new(self.places.waiting_max()),
                arrivals: JoinSet::new(),
                connections: JoinSet::new(),
                bells: HashMap::new(),
                failures: Failures::at(listener.address().ok()),
            };
            tasks.spawn(clock.track(doors.keep(listener, stopped.clone())));
        }
        let keep_time = keep_time(Arc::clone(&self.hub), clock.clone(), stopped);
        tasks.spawn(clock.track(keep_time));
        for address in &addresses {
            self.hub.note(&Entry::Listening(address));
        }
        self.status.send_replace(Status {
            is_running: true,
            addresses,
            crashed_at: None,
        });
        Ok(Running {
            stop,
            tasks,
            threads,
        })
    }

    pub(super) async fn stop(&self, running: Running, grace: Duration) {
        let Running {
            stop,
            mut tasks,
            mut threads,
        } = running;
        self.status.send_replace(Status::default());
        stop.send_replace(Some(grace));
        let all_gone = async { while tasks.join_next().await.is_some() {} };
        let limit = grace.saturating_add(STOP_MARGIN);
        let clock = &self.options.clock;
        if clock.timeout_real(limit, all_gone).await.is_none() {
            tasks.shutdown().await;
        }
        while threads.join_next().await.is_some() {}
        self.seams.faults.let_go();
        self.hub.note(&Entry::Stopped);
    }

    pub(super) async fn snapshot(&self) -> Snapshot {
        self.hub.snapshot(|| self.options.clock.now()).await
    }

    pub(super) async fn restore(&self, snapshot: &Snapshot) {
        let clock = &self.options.clock;
        self.hub.restore(snapshot, || clock.now()).await;
    }

    /// Ends at once, with nothing said to anybody.
    pub(super) async fn crash(&self, running: Running, keep: Keep) {
        let Running {
            stop,
            mut tasks,
            mut threads,
        } = running;
        self.hub.cut_off(true);
        self.status.send_modify(|status| {
            let addresses = std::mem::take(&mut status.addresses);
            *status = Status {
                crashed_at: Some(addresses),
                ..Status::default()
            };
        });
        stop.send_replace(Some(Duration::ZERO));
        while tasks.join_next().await.is_some() {}
        self.seams.faults.let_go();
        if keep == Keep::Nothing {
            self.hub.forget_everything();
        }
        while threads.join_next().await.is_some() {}
        self.hub.cut_off(false);
        self.hub.note(&Entry::Stopped);
    }
}

/// What cannot work, or would not be safe.
fn check(options: &BrokerOptions) -> Result<(), BrokerError> {
    for listener in &options.listeners {
        listener.check(options.auth.as_ref(), options.allow_anonymous)?;
    }
    if let Some(text) = &options.terms.response_information
        && (text.len() > usize::from(u16::MAX) || text.contains('\0'))
    {
        return Err(BrokerError::Options(
            "response_information must be at most 65535 bytes, without NUL".to_owned(),
        ));
    }
    let limits = &options.limits;
    if limits.connect_timeout.is_zero() {
        return Err(BrokerError::Options(
            "connect_timeout must be more than 0: nobody could connect".to_owned(),
        ));
    }
    let must_be_positive = [
        ("receive_maximum", usize::from(limits.receive_maximum)),
        ("unreleased_max", usize::from(limits.unreleased_max)),
        ("in_flight_max", usize::from(limits.in_flight_max)),
        ("connections_max", limits.connections_max),
        ("sessions_max", limits.sessions_max),
        ("topic_levels_max", limits.topic_levels_max),
        ("queue_messages_max", limits.queue_messages_max),
        ("queue_bytes_max", limits.queue_bytes_max),
        ("packet_size_max", limits.packet_size_max),
        ("control_packet_size_max", limits.control_packet_size_max),
    ];
    match must_be_positive.iter().find(|(_, value)| *value == 0) {
        Some((name, _)) => Err(BrokerError::Options(format!("{name} must be at least 1"))),
        None => Ok(()),
    }
}

/// Rules about users say nothing where nobody has to prove to be one.
fn check_names(options: &BrokerOptions, policies: &Policies) -> Result<(), BrokerError> {
    let users = options.auth.as_ref();
    let asks = |listener: &ListenerOptions| {
        listener.users(users).is_some() || listener.username_from.is_some()
    };
    let listeners = || options.listeners.iter().enumerate();
    let is_own = |index| policies.here.contains_key(&index);
    let mut others = listeners().filter(|(index, _)| !is_own(*index));
    let is_asked_elsewhere = users.is_some() || others.any(|(_, listener)| asks(listener));
    let names_users = |policy: Option<&Policy>| policy.is_some_and(Policy::names_users);
    let is_idle = |(index, listener): (usize, &ListenerOptions)| {
        is_own(index) && names_users(policies.at(Some(index))) && !asks(listener)
    };
    if (names_users(policies.everywhere.as_ref()) && !is_asked_elsewhere)
        || listeners().any(is_idle)
    {
        return Err(BrokerError::Options(
            "the acl has rules for users, and nobody is asked to prove to be one: give the broker users (auth)"
                .to_owned(),
        ));
    }
    Ok(())
}

/// What clients may do, as the options say it.
fn policies(options: &BrokerOptions) -> Policies {
    let listeners = options.listeners.iter().enumerate();
    let own = listeners.filter_map(|(index, listener)| match &listener.acl {
        Local::AsEverywhere => None,
        Local::Here(policy) => Some((index, policy.clone())),
    });
    Policies {
        here: own.collect(),
        everywhere: options.acl.clone(),
    }
}

async fn bind(
    address: &Address,
    gate: &Gate,
    clock: &Clock,
) -> Result<(Listener, Address), BrokerError> {
    let bound = match Listener::bind_at(address, clock, gate).await {
        Ok(listener) => listener.address().map(|bound| (listener, bound)),
        Err(error) => Err(error),
    };
    bound.map_err(|error| BrokerError::Bind {
        address: address.to_string(),
        kind: error.kind(),
        os_code: error.raw_os_error(),
        cause: error.to_string(),
    })
}

/// Calls the hub when something is due, and tells of the limits that were reached.
async fn keep_time(hub: Arc<Hub>, clock: Clock, mut stopped: watch::Receiver<Option<Duration>>) {
    let mut told = Told::so_far(&hub);
    loop {
        let news_at = told.tell_news(&hub, clock.now());
        let next = hub.next_timeout();
        if next.is_some_and(|at| at <= clock.now()) {
            hub.handle_timeout(clock.now());
            // A slice at a time: others want to run too.
            yield_now().await;
            if stopped.has_changed().unwrap_or(true) {
                return told.tell_all(&hub);
            }
            continue;
        }
        let due = async {
            match [next, news_at].into_iter().flatten().min() {
                Some(at) => clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let earlier = poll_fn(|cx| {
            if hub.timer_bell().answer(cx.waker()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        tokio::select! {
            _ = stopped.changed() => return told.tell_all(&hub),
            () = earlier => {}
            () = due => {}
        }
    }
}
