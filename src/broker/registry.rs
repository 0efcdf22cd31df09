//! Client ids, their sessions and their wills.
//!
//! Owns who is connected under which client id, what happens when a second connection comes for it, when a session ends
//! and when a will is published. It decides and reports, in [`Effects`]; the hub carries out. A session's state is handed
//! from the old connection to the new one, never shared: the new one waits until the old one has let go.
//!
//! | a connection ends | will (delay 0) | will (delay > 0) | session |
//! |---|---|---|---|
//! | DISCONNECT 0x00 | forgotten | forgotten | lives its expiry interval |
//! | any other way | published | at the delay or the session's end, whichever is first | the same |
//! | taken over, session goes on | published | forgotten | goes on |
//! | taken over, session ends | published | published | ends, a new one begins |

mod ending;
mod image;

use crate::broker::auth::Proof;
use crate::broker::quota::{Meters, Pace};
use crate::broker::retained::Author;
use crate::broker::rights::{Rights, Ruling};
use crate::broker::router::SessionKey;
use crate::broker::{Limit, Limits};
use crate::codec::{ReasonCode, Will};
use crate::message::Message;
use crate::session::Session;
use bytestring::ByteString;
use ending::{compact, delay, take_will};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a client id may come faster than its rate: who tries a few times at once is no storm.
const ARRIVALS_BURST: Duration = Duration::from_secs(10);

/// The number of a connection since the broker was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What a CONNECT asks of the registry.
#[derive(Debug, Clone)]
pub struct ConnectRequest {
    /// Not empty: the caller has chosen one if the client did not.
    pub client_id: ByteString,
    /// Whether an older session is to be thrown away.
    pub clean_start: bool,
    /// How long the session outlives the connection, in seconds; `u32::MAX`: for ever.
    pub session_expiry_interval: u32,
    /// What to publish when the client is lost.
    pub will: Option<Will>,
    /// Through which of the broker's listeners it came; `None`: in memory.
    pub listener: Option<usize>,
    /// Whose the session is, where there are users.
    pub user: Option<ByteString>,
    /// What that rests upon, if it can be taken away.
    pub proof: Option<Arc<Proof>>,
    /// What the client may do, where somebody was asked for that.
    pub rights: Option<Ruling>,
}

/// A session, handed to the connection it is for.
#[derive(Debug)]
pub struct Grant {
    /// Its number.
    pub key: SessionKey,
    /// What it has kept.
    pub session: Session,
    /// Whether it was there before.
    pub session_present: bool,
}

/// What becomes of a CONNECT.
#[derive(Debug)]
pub enum Verdict {
    /// Here is the session.
    Granted(Box<Grant>),
    /// Another connection has it and was told to go: the grant comes in the [`Effects`] of its leaving.
    Wait,
    /// Not let in, and for which limit.
    Refused(ReasonCode, Option<Limit>),
}

/// How a connection ended.
#[derive(Debug)]
pub struct Leave {
    /// What the session has to keep.
    pub session: Session,
    /// Whether it ended in a way that publishes the will.
    pub publish_will: bool,
    /// The new session expiry interval, if it changed at the end.
    pub session_expiry_interval: Option<u32>,
}

/// What follows from a change, for the hub to carry out.
#[derive(Debug, Default)]
pub struct Effects {
    /// Wills to publish, in order, and whose they are if they are to be retained.
    pub wills: Vec<(Message, Option<Arc<Author>>)>,
    /// Wills that their clients have no right to, any more.
    pub wills_denied: usize,
    /// Sessions that have ended.
    pub ended: Vec<SessionKey>,
    /// A connection to be told to go, with the reason.
    pub told_to_go: Vec<(ConnectionId, ReasonCode)>,
    /// A connection that waited and now has its session.
    pub granted: Option<(ConnectionId, Grant)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Will,
    End,
}

/// A session as its owner sees it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Whose.
    pub client_id: ByteString,
    /// In seconds; `u32::MAX`: for ever.
    pub expiry_interval: u32,
    /// Who has it now.
    pub connection: Option<ConnectionId>,
    /// Whose it is: nobody else gets it by its client id.
    pub user: Option<ByteString>,
    /// What the login rests upon by which its client came last, if it can be taken away.
    pub proof: Option<Arc<Proof>>,
    /// Through which of the broker's listeners its client came last; `None`: in memory.
    pub listener: Option<usize>,
    /// What its client may do; `None`: everything.
    pub rights: Option<Arc<Rights>>,
    /// What it keeps while nobody has it. On the heap, as what follows: most entries have none of it.
    session: Option<Box<Session>>,
    will: Option<Box<Will>>,
    waiting: Option<Box<(ConnectionId, ConnectRequest)>>,
    will_due: Option<Instant>,
    ends_at: Option<Instant>,
    /// Who its client is to those who read later what it has retained, if it has.
    author: Option<Arc<Author>>,
}

impl Entry {
    /// Whether a connection of this user has it.
    pub fn is_taken_by(&self, user: &str) -> bool {
        self.connection.is_some() && self.user.as_deref() == Some(user)
    }

    /// One for all that it retains.
    fn author(&mut self) -> Arc<Author> {
        let author = self.author.get_or_insert_with(|| {
            Arc::new(Author {
                client_id: self.client_id.clone(),
                // Not a piece of CONNECT, which would be kept as a whole.
                user: self.user.as_deref().map(ByteString::from),
                listener: self.listener,
            })
        });
        Arc::clone(author)
    }

    /// About how many bytes it holds beside its session.
    pub fn size(&self) -> usize {
        let will = self.will.as_ref();
        self.client_id.len() + will.map_or(0, |will| will.message.size())
    }

    /// Who waits for it, and what that login rests upon.
    pub fn waiting(&self) -> Option<(ConnectionId, Option<&Arc<Proof>>)> {
        let (connection, request) = &**self.waiting.as_ref()?;
        Some((*connection, request.proof.as_ref()))
    }

    /// What it keeps while nobody has it.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_deref()
    }

    /// Messages on their way, while nobody has it.
    pub fn in_flight(&self) -> usize {
        let session = self.session.as_ref();
        session.map_or(0, |session| session.outbound.in_flight())
    }
}

/// All sessions by client id.
#[derive(Debug, Clone)]
pub struct Registry {
    /// Only ever looked up. Strangers choose the keys, so the hash has to be one that they cannot foresee.
    by_client_id: HashMap<ByteString, SessionKey>,
    entries: Vec<Option<Entry>>,
    free: Vec<SessionKey>,
    timers: BTreeSet<(Instant, SessionKey, Timer)>,
    sessions_max: usize,
    /// How often each client id has come lately.
    arrivals: Meters<Box<str>>,
}

impl Registry {
    /// No session yet.
    pub fn new(limits: &Limits) -> Self {
        Self {
            by_client_id: HashMap::default(),
            entries: Vec::new(),
            free: Vec::new(),
            timers: BTreeSet::new(),
            sessions_max: limits.sessions_max,
            arrivals: arrivals(limits),
        }
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.by_client_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_client_id.is_empty()
    }

    /// The session with this number.
    pub fn get(&self, key: SessionKey) -> Option<&Entry> {
        self.entries.get(key.0)?.as_ref()
    }

    /// The number of a client's session.
    pub fn find(&self, client_id: &str) -> Option<SessionKey> {
        self.by_client_id.get(client_id).copied()
    }

    /// All sessions, by number.
    pub fn iter(&self) -> impl Iterator<Item = (SessionKey, &Entry)> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(key, entry)| Some((SessionKey(key), entry.as_ref()?)))
    }

    /// A client wants to connect.
    // spec(4): MQTT-3.1.3-2, MQTT-3.1.4-2, MQTT-3.1.4-3
    // spec(5): MQTT-3.1.3-2, MQTT-3.1.4-3, MQTT-3.1.4-4
    pub fn connect(
        &mut self,
        connection: ConnectionId,
        request: ConnectRequest,
        now: Instant,
        effects: &mut Effects,
    ) -> Verdict {
        let is_too_soon = |arrivals: &mut Meters<Box<str>>| {
            !arrivals.try_take(Box::from(&*request.client_id), now)
        };
        let too_soon = Verdict::Refused(
            ReasonCode::ConnectionRateExceeded,
            Some(Limit::ConnectRatePerClientIdMax),
        );
        let Some(key) = self.find(&request.client_id) else {
            if self.len() >= self.sessions_max {
                return Verdict::Refused(ReasonCode::QuotaExceeded, Some(Limit::SessionsMax));
            }
            if is_too_soon(&mut self.arrivals) {
                return too_soon;
            }
            return Verdict::Granted(Box::new(self.open(connection, &request)));
        };
        let Some(entry) = self.entries.get_mut(key.0).and_then(Option::as_mut) else {
            return Verdict::Refused(ReasonCode::UnspecifiedError, None);
        };
        if entry.user != request.user {
            return Verdict::Refused(ReasonCode::NotAuthorized, None);
        }
        // Not before it is known to be the owner: others must not be able to use up what is the owner's.
        if is_too_soon(&mut self.arrivals) {
            return too_soon;
        }
        if let Some(old) = entry.connection {
            let successor = Box::new((connection, request));
            if let Some(also_waiting) = entry.waiting.replace(successor) {
                effects
                    .told_to_go
                    .push((also_waiting.0, ReasonCode::SessionTakenOver));
            }
            effects.told_to_go.push((old, ReasonCode::SessionTakenOver));
            return Verdict::Wait;
        }
        Verdict::Granted(Box::new(self.hand_over(key, connection, &request, effects)))
    }

    /// A connection that waited for its session gives up.
    pub fn give_up(&mut self, client_id: &str, connection: ConnectionId) {
        if let Some(entry) = self.find(client_id).and_then(|key| self.entry(key))
            && entry
                .waiting
                .as_ref()
                .is_some_and(|waiting| waiting.0 == connection)
        {
            entry.waiting = None;
        }
    }

    /// A connection lets go of its session.
    pub fn leave(
        &mut self,
        key: SessionKey,
        connection: ConnectionId,
        leave: Leave,
        now: Instant,
        effects: &mut Effects,
    ) {
        let Some(entry) = self.entry(key) else {
            return;
        };
        if entry.connection != Some(connection) {
            return;
        }
        entry.connection = None;
        entry.session = Some(Box::new(leave.session));
        if let Some(interval) = leave.session_expiry_interval {
            entry.expiry_interval = interval;
        }
        if !leave.publish_will {
            // spec(4): MQTT-3.1.2-10, MQTT-3.14.4-3
            // spec(5): MQTT-3.1.2-10, MQTT-3.14.4-3
            entry.will = None;
        }
        if let Some((successor, request)) = entry.waiting.take().map(|waiting| *waiting) {
            // A will without delay speaks even if the successor is the same client.
            // spec(4): MQTT-3.1.2-8
            if entry.will.as_ref().is_some_and(|will| delay(will) == 0) {
                take_will(entry, effects);
            }
            let grant = self.hand_over(key, successor, &request, effects);
            effects.granted = Some((successor, grant));
            return;
        }
        self.start_waiting(key, now, effects);
    }

    /// When [`Registry::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _, _)| *at)
    }

    /// Publishes wills and ends sessions that are due, at most `limit` of them.
    pub fn handle_timeout(&mut self, now: Instant, limit: usize, effects: &mut Effects) {
        for _ in 0..limit {
            match self.timers.first().copied() {
                Some((at, key, timer)) if at <= now => {
                    self.timers.pop_first();
                    match (timer, self.entry(key)) {
                        (Timer::Will, Some(entry)) => {
                            entry.will_due = None;
                            take_will(entry, effects);
                        }
                        // spec(5): MQTT-4.1.0-2
                        (Timer::End, _) => self.end(key, effects),
                        (Timer::Will, None) => {}
                    }
                }
                _ => return,
            }
        }
    }

    /// Who a session's client is to those who read later what it retains.
    pub fn author(&mut self, key: SessionKey) -> Option<Arc<Author>> {
        Some(self.entry(key)?.author())
    }

    /// From now on a session's client may do this.
    pub fn set_rights(&mut self, key: SessionKey, rights: Option<Arc<Rights>>) {
        if let Some(entry) = self.entry(key) {
            entry.rights = rights;
        }
    }

    fn entry(&mut self, key: SessionKey) -> Option<&mut Entry> {
        self.entries.get_mut(key.0)?.as_mut()
    }

    /// A new session for a client id that has none.
    // spec(4): MQTT-3.2.2-3
    // spec(5): MQTT-3.1.2-6, MQTT-3.2.2-3
    fn open(&mut self, connection: ConnectionId, request: &ConnectRequest) -> Grant {
        let key = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            SessionKey(self.entries.len() - 1)
        });
        let client_id = ByteString::from(request.client_id.as_ref() as &str);
        self.by_client_id.insert(client_id.clone(), key);
        self.entries[key.0] = Some(Entry {
            client_id,
            expiry_interval: request.session_expiry_interval,
            connection: Some(connection),
            user: request.user.clone(),
            proof: request.proof.clone(),
            listener: request.listener,
            rights: Ruling::given(request.rights.as_ref()),
            session: None,
            will: request.will.as_ref().map(compact).map(Box::new),
            waiting: None,
            will_due: None,
            ends_at: None,
            author: None,
        });
        Grant {
            key,
            session: Session::default(),
            session_present: false,
        }
    }

    /// A session that nobody has goes to a connection, or ends and makes room for a new one.
    fn hand_over(
        &mut self,
        key: SessionKey,
        connection: ConnectionId,
        request: &ConnectRequest,
        effects: &mut Effects,
    ) -> Grant {
        self.stop_timers(key);
        let ends = request.clean_start;
        match self.entry(key) {
            Some(entry) if !ends && entry.expiry_interval > 0 => {
                // spec(4): MQTT-3.2.2-2
                // spec(5): MQTT-3.1.2-5, MQTT-3.1.3-9, MQTT-3.2.2-3
                entry.connection = Some(connection);
                entry.expiry_interval = request.session_expiry_interval;
                entry.listener = request.listener;
                entry.author = None;
                entry.rights = Ruling::given(request.rights.as_ref());
                entry.will = request.will.as_ref().map(compact).map(Box::new);
                entry.ends_at = None;
                Grant {
                    key,
                    session: entry.session.take().map(|kept| *kept).unwrap_or_default(),
                    session_present: true,
                }
            }
            _ => {
                // spec(4): MQTT-3.1.2-6
                // spec(5): MQTT-3.1.2-4
                self.end(key, effects);
                self.open(connection, request)
            }
        }
    }
}

fn arrivals(limits: &Limits) -> Meters<Box<str>> {
    Meters::new(Pace {
        per_second: limits.connect_rate_per_client_id_max,
        burst: ARRIVALS_BURST,
    })
}
