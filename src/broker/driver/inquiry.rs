//! What a client may do, where the application has to be asked: once it is known who it is, and before it is let in; and
//! again when the application wants to be asked again.
//!
//! A bounded number of questions is open at a time. Who gets no answer is not let in, or has to go.

use super::connection::{Connection, End, Link};
use crate::broker::ClientInfo;
use crate::broker::hub::{Arrival, Hub};
use crate::broker::rights::{Referee, RefereeLimits, Rights, Ruling};
use crate::clock::Clock;
use crate::codec::ReasonCode;
use bytestring::ByteString;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Of all connections of a broker.
pub(super) struct Desk {
    hub: Arc<Hub>,
    clock: Clock,
    /// Questions that may be open at a time.
    open: Semaphore,
    timeout: Duration,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// Nobody has said what the client may do.
struct Unanswered;

type Answer = Result<Arc<Rights>, Unanswered>;

type Asking = Pin<Box<dyn Future<Output = Answer> + Send>>;

impl Desk {
    pub(super) fn new(limits: &RefereeLimits, hub: Arc<Hub>, clock: Clock) -> Self {
        Self {
            hub,
            clock,
            open: Semaphore::new(limits.open_max.min(Semaphore::MAX_PERMITS)),
            timeout: limits.timeout,
        }
    }

    fn ask(self: &Arc<Self>, referee: Arc<dyn Referee>, client: ClientInfo) -> Asking {
        let desk = Arc::clone(self);
        Box::pin(async move {
            let _busy = desk.clock.busy();
            let client = Arc::new(client);
            let _permit = desk.open.acquire().await;
            // By the system's clock: the application does not live by that of a test.
            let said = tokio::time::timeout(desk.timeout, referee.ask(Arc::clone(&client))).await;
            let Ok(Some(acl)) = said else {
                desk.hub.counters().hooks_failed.add_one();
                return Err(Unanswered);
            };
            let user = client.user.as_deref();
            Ok(Arc::new(acl.rights(&client.client_id, user)))
        })
    }
}

/// A question about one client.
pub(super) struct Inquiry {
    asking: Asking,
    /// Who waits for the answer, with the client id that was chosen for it. `None`: a client that is in.
    arrival: Option<(Arrival, Option<ByteString>)>,
    answer: Option<Answer>,
    /// As of [`Ruling`].
    edition: u64,
}

impl Inquiry {
    /// Whether nothing more is to be read before the answer is there.
    pub(super) fn is_at_the_door(&self) -> bool {
        self.arrival.is_some()
    }

    /// Whether the answer has come.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if self.answer.is_some() {
            return false;
        }
        let Poll::Ready(answer) = self.asking.as_mut().poll(cx) else {
            return false;
        };
        self.answer = Some(answer);
        true
    }
}

impl Connection {
    /// Goes in, or has somebody asked first what it may do.
    pub(super) fn inquire(
        &mut self,
        arrival: Arrival,
        assigned: Option<ByteString>,
        now: Instant,
    ) -> Result<(), End> {
        // First: what changes from here on makes the answer one of before.
        let edition = self.hub.rights_edition();
        let Some(referee) = self.hub.referee(arrival.request.listener) else {
            return self.arrive(arrival, assigned, now);
        };
        self.inquiry = Some(Box::new(Inquiry {
            asking: self.desk.ask(referee, arrival.info.clone()),
            arrival: Some((arrival, assigned)),
            answer: None,
            edition,
        }));
        Ok(())
    }

    /// Has somebody asked again what the client may do, if that is wanted.
    pub(super) fn inquire_again(&mut self) {
        let Link::Attached(attached) = &self.link else {
            return;
        };
        if let Some((referee, client)) = self.hub.take_question(attached) {
            self.inquiry = Some(Box::new(Inquiry {
                asking: self.desk.ask(referee, client),
                arrival: None,
                answer: None,
                edition: attached.rights_edition,
            }));
        }
    }

    /// Does what follows from an answer.
    pub(super) fn heed_answer(&mut self, now: Instant) -> Result<(), End> {
        let answered = self.inquiry.take_if(|inquiry| inquiry.answer.is_some());
        let answered = answered.map(|it| (it.arrival, it.answer, it.edition));
        let Some((arrival, Some(answer), edition)) = answered else {
            return Ok(());
        };
        match (arrival, answer) {
            (Some((mut arrival, assigned)), Ok(rights)) => {
                arrival.request.rights = Some(Ruling { rights, edition });
                self.arrive(arrival, assigned, now)
            }
            (Some((arrival, _)), Err(Unanswered)) => {
                // Not the client's fault, and it may come again.
                let reason = ReasonCode::ServerUnavailable;
                let address = arrival.info.peer.address;
                self.note_refused(Some(&arrival.info.client_id), address, reason);
                self.protocol.refuse(reason);
                Err(End::Refused)
            }
            (None, Ok(rights)) => {
                if let Link::Attached(attached) = &self.link {
                    self.hub.set_rights(attached, rights);
                }
                self.heed_rights();
                Ok(())
            }
            (None, Err(Unanswered)) => Err(End::ToldToGo(ReasonCode::ServerBusy.into())),
        }
    }
}
