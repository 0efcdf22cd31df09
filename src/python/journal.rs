//! What clients and brokers tell a log, as kinds with words: `rmqtt._journal` has the sentences and the levels.
//!
//! Whatever somebody else has chosen goes in here cut to a length and with every control character escaped, so that
//! nobody writes lines of his own into the log. No password is among what is told.

use super::bridge::Journal;
use super::negotiated::version_text;
use crate::broker::journal as of_broker;
use crate::client::{self, ClientError, DropCause, Event};
use pyo3::prelude::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Of names that others have chosen: so many characters are shown.
const NAME_CHARS_MAX: usize = 200;
/// Of reasons, which may have several such names in them.
const REASON_CHARS_MAX: usize = 1000;

/// What happened, and the words for its sentence.
struct Said {
    kind: &'static str,
    words: Vec<String>,
}

/// How many entries are missing, when this one was in seconds since 1970, its kind and its words.
type Fields = (u64, f64, Option<(&'static str, Vec<String>)>);

/// The entries of all clients and brokers.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct NativeJournal(Arc<Journal<Said>>);

impl NativeJournal {
    /// For a client's options.
    pub(super) fn of_client(&self) -> client::Journal {
        let journal = Arc::clone(&self.0);
        client::Journal::new(Arc::new(move |entry: &client::Entry<'_>| {
            if let Some(said) = said_by_client(entry) {
                journal.note(said);
            }
        }))
    }

    /// For a broker's options.
    pub(super) fn of_broker(&self) -> of_broker::Journal {
        let journal = Arc::clone(&self.0);
        of_broker::Journal::new(Arc::new(move |entry: &of_broker::Entry<'_>| {
            journal.note(said_by_broker(entry));
        }))
    }
}

#[pymethods]
impl NativeJournal {
    #[new]
    fn new() -> Self {
        Self(Arc::new(Journal::new()))
    }

    /// Waits for the next entry, but not before so many seconds have passed; `None`: it was closed.
    fn next(&self, py: Python<'_>, rest: f64) -> Option<Fields> {
        let rest = Duration::try_from_secs_f64(rest).unwrap_or_default();
        let noted = py.detach(|| self.0.next(rest))?;
        let since = noted.at.duration_since(SystemTime::UNIX_EPOCH);
        let at = since.unwrap_or_default().as_secs_f64();
        let said = noted.what.map(|said| (said.kind, said.words));
        Some((noted.missing, at, said))
    }

    fn close(&self) {
        self.0.close();
    }
}

fn said_by_client(entry: &client::Entry<'_>) -> Option<Said> {
    let whom = [
        name(entry.client_id),
        plain(&entry.address.to_string(), NAME_CHARS_MAX),
    ];
    let (kind, more) = match entry.event {
        None => ("connecting", vec![]),
        Some(Event::Connected(negotiated)) => {
            let version = version_text(negotiated.version).to_owned();
            (
                "connected",
                vec![version, session(negotiated.session_present)],
            )
        }
        Some(Event::Disconnected { error, retry_in }) => match (error, retry_in) {
            (error, Some(delay)) => (
                "lost",
                vec![reason(error), format!("{:.1}", delay.as_secs_f64())],
            ),
            (ClientError::Closed, None) => ("closed", vec![]),
            (error, None) => ("gave up", vec![reason(error)]),
        },
        Some(Event::SessionLost) => ("session lost", vec![]),
        Some(Event::Resubscribed { filters }) => ("resubscribed", vec![names(filters)]),
        Some(Event::Dropped {
            count,
            cause,
            filters,
        }) => match cause {
            DropCause::Overflow => ("dropped", vec![count.to_string(), names(filters)]),
            DropCause::OutboxFull => ("dropped full", vec![count.to_string()]),
            DropCause::Expired => ("dropped late", vec![count.to_string()]),
            _ => ("dropped offline", vec![count.to_string()]),
        },
        // Whoever called it has logged it, with the traceback.
        Some(Event::HandlerFailed { .. }) => return None,
        Some(Event::ServerRedirect(redirect)) => {
            let to = redirect.server_reference.as_deref();
            let to = to.map_or_else(|| "another server".to_owned(), name);
            ("redirected", vec![to])
        }
    };
    let words = whom.into_iter().chain(more).collect();
    Some(Said { kind, words })
}

fn said_by_broker(entry: &of_broker::Entry<'_>) -> Said {
    use of_broker::Entry;
    let (kind, words) = match entry {
        Entry::Listening(address) => (
            "listening",
            vec![plain(&address.to_string(), NAME_CHARS_MAX)],
        ),
        Entry::Connected {
            client,
            session_present,
        } => (
            "client connected",
            vec![
                name(&client.client_id),
                place(client.peer.address),
                version_text(client.version).to_owned(),
                session(*session_present),
            ],
        ),
        Entry::Disconnected { client, why } => (
            "client disconnected",
            vec![
                name(&client.client_id),
                place(client.peer.address),
                plain(why, REASON_CHARS_MAX),
            ],
        ),
        Entry::Refused {
            client_id,
            address,
            why,
        } => (
            "refused",
            vec![
                client_id.map_or_else(|| "without a name".to_owned(), name),
                place(*address),
                plain(why, REASON_CHARS_MAX),
            ],
        ),
        Entry::HandshakesFailed {
            listener,
            count,
            address,
            why,
        } => (
            "handshakes failed",
            vec![
                count.to_string(),
                plain(&listener.to_string(), NAME_CHARS_MAX),
                place(*address),
                plain(why, REASON_CHARS_MAX),
            ],
        ),
        Entry::LimitReached { limit, count } => (
            "limit reached",
            vec![limit.name().to_owned(), count.to_string()],
        ),
        Entry::Stopped => ("stopped", vec![]),
    };
    Said { kind, words }
}

fn reason(error: &ClientError) -> String {
    plain(&error.to_string(), REASON_CHARS_MAX)
}

fn session(is_present: bool) -> String {
    if is_present { "resumed" } else { "new" }.to_owned()
}

fn place(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "this process".to_owned(), |address| address.to_string())
}

/// What somebody has chosen, in quotes that it cannot close.
fn name(text: &str) -> String {
    match text.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn names(texts: &[String]) -> String {
    let mut shown: Vec<_> = texts.iter().take(10).map(|text| name(text)).collect();
    if texts.len() > shown.len() {
        shown.push(format!("and {} more", texts.len() - shown.len()));
    }
    shown.join(", ")
}

/// Our own words. What others have put among them is escaped.
fn plain(text: &str, chars_max: usize) -> String {
    let mut shown = String::with_capacity(text.len());
    for (index, sign) in text.chars().enumerate() {
        if index == chars_max {
            shown.push('…');
            break;
        }
        match sign {
            '"' | '\'' | '\\' => shown.push(sign),
            _ => shown.extend(sign.escape_debug()),
        }
    }
    shown
}
