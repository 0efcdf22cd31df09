//! Authenticating: with the mechanism of the options before CONNACK is believed, and again later beside the traffic.
//!
//! Before CONNACK there is nothing else to do, so the mechanism is waited for. Later its steps run in a task of their own,
//! which rings when it has an answer: messages flow meanwhile, however long the mechanism thinks.

use super::Driver;
use crate::client::auth::{AuthFailure, Exchange};
use crate::client::commands::{Queue, Reply};
use crate::client::protocol::{Event as Heard, Said};
use crate::client::{ClientError, ClientOptions};
use crate::clock::Clock;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// What the mechanism is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Start,
    More,
    Content,
}

type Answer = (Box<dyn Exchange>, Result<Option<Bytes>, AuthFailure>);

/// A step of the mechanism on its way; dropping it gives the step up.
struct Step {
    asked: Asked,
    answer: oneshot::Receiver<Answer>,
    task: AbortHandle,
}

impl Step {
    fn begin(
        (queue, clock): (&Arc<Queue>, &Clock),
        mut exchange: Box<dyn Exchange>,
        asked: Asked,
        data: Option<Bytes>,
    ) -> Self {
        let (sender, answer) = oneshot::channel();
        let queue = Arc::clone(queue);
        let task = tokio::spawn(clock.track(async move {
            let word = match asked {
                Asked::Start => exchange.start().await,
                Asked::More => exchange.step(data).await,
                Asked::Content => exchange.finish(data).await,
            };
            // Nobody listens any more when the exchange was given up.
            let _ = sender.send((exchange, word));
            queue.work.notify_one();
        }));
        Self {
            asked,
            answer,
            task: task.abort_handle(),
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whose turn it is.
enum Turn {
    Ours(Step),
    Brokers(Box<dyn Exchange>),
}

/// An exchange beside the traffic.
pub(super) struct Authenticating {
    reply: Reply<()>,
    turn: Turn,
    by: Instant,
}

/// The mechanism's part of the exchange before CONNACK is believed.
pub(super) struct Handshake {
    exchange: Option<Box<dyn Exchange>>,
}

impl Handshake {
    /// Begins it, and says what CONNECT has to carry: the password, where it is asked for, and the mechanism's first word.
    pub(super) async fn begin(
        options: &ClientOptions,
    ) -> Result<(Self, Option<Bytes>, Option<Bytes>), ClientError> {
        let password = match &options.password_source {
            Some(source) => source.ask().await.map_err(ClientError::Authentication)?,
            None => None,
        };
        let mut exchange = options.auth.as_ref().map(|auth| auth.begin());
        let first = match &mut exchange {
            Some(exchange) => exchange
                .start()
                .await
                .map_err(ClientError::Authentication)?,
            None => None,
        };
        Ok((Self { exchange }, password, first))
    }

    /// The mechanism's answer.
    async fn answer(&mut self, said: Said) -> Result<Option<Bytes>, ClientError> {
        let Some(exchange) = &mut self.exchange else {
            return Ok(None);
        };
        let word = match said {
            Said::More(data) => exchange.step(data).await,
            Said::Content(data) => exchange.finish(data).await,
        };
        word.map_err(ClientError::Authentication)
    }
}

impl Driver {
    /// One step before CONNACK is believed; what becomes of the connection, if this was the last.
    pub(super) async fn shake(
        &mut self,
        handshake: &mut Handshake,
        said: Said,
    ) -> Result<Option<Heard>, ClientError> {
        let is_last = matches!(said, Said::Content(_));
        match handshake.answer(said).await {
            Ok(_) if is_last => self.protocol.trust(self.now()),
            Ok(data) => self.protocol.answer_auth(data).map(|()| None),
            Err(error) => {
                self.protocol.distrust();
                Err(error)
            }
        }
    }

    /// The application wants to authenticate again.
    pub(super) fn reauthenticate(&mut self, reply: Reply<()>) {
        let is_busy = self.authenticating.is_some();
        let refused = match self.protocol.can_reauthenticate() {
            Ok(()) if is_busy => Some(ClientError::Misuse(
                "the client is authenticating already".to_owned(),
            )),
            Ok(()) => None,
            Err(error) => Some(error),
        };
        if let Some(error) = refused {
            reply.send(Err(error));
            return;
        }
        let Some(auth) = &self.options.auth else {
            return;
        };
        let step = Step::begin((&self.queue, &self.clock), auth.begin(), Asked::Start, None);
        self.authenticating = Some(Authenticating {
            reply,
            turn: Turn::Ours(step),
            by: self.now() + self.options.connect_timeout,
        });
    }

    /// The broker has said something in an exchange beside the traffic.
    pub(super) fn on_said(&mut self, said: Said) {
        let Some(mut authenticating) = self.authenticating.take() else {
            return;
        };
        if let Turn::Brokers(exchange) = authenticating.turn {
            let (asked, data) = match said {
                Said::More(data) => (Asked::More, data),
                Said::Content(data) => (Asked::Content, data),
            };
            let step = Step::begin((&self.queue, &self.clock), exchange, asked, data);
            authenticating.turn = Turn::Ours(step);
        }
        self.authenticating = Some(authenticating);
    }

    /// Goes on where the mechanism has answered.
    ///
    /// # Errors
    /// The exchange has failed in the middle: the connection has to end.
    pub(super) fn go_on_authenticating(&mut self) -> Result<(), ClientError> {
        let Some(mut authenticating) = self.authenticating.take() else {
            return Ok(());
        };
        let Turn::Ours(step) = &mut authenticating.turn else {
            self.authenticating = Some(authenticating);
            return Ok(());
        };
        let asked = step.asked;
        let answered = match step.answer.try_recv() {
            Ok((exchange, word)) => word.map(|word| (exchange, word)),
            Err(oneshot::error::TryRecvError::Empty) => {
                self.authenticating = Some(authenticating);
                return Ok(());
            }
            Err(oneshot::error::TryRecvError::Closed) => {
                Err(AuthFailure::new("the mechanism has broken down"))
            }
        };
        let outcome = match answered {
            Ok((exchange, word)) => self.say(asked, word).map(|()| exchange),
            Err(failure) => Err(ClientError::Authentication(failure)),
        };
        match outcome {
            Ok(_) if asked == Asked::Content => authenticating.reply.send(Ok(())),
            Ok(exchange) => {
                authenticating.turn = Turn::Brokers(exchange);
                self.authenticating = Some(authenticating);
            }
            Err(error) => {
                authenticating.reply.send(Err(error.clone()));
                if asked != Asked::Start {
                    // spec(5, client): MQTT-4.12.1-2
                    self.protocol.distrust();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn say(&mut self, asked: Asked, word: Option<Bytes>) -> Result<(), ClientError> {
        match asked {
            Asked::Start => self.protocol.reauthenticate(word),
            Asked::More => self.protocol.answer_auth(word),
            Asked::Content => self.protocol.trust(self.now()).map(drop),
        }
    }

    pub(super) fn authentication_by(&self) -> Option<Instant> {
        self.authenticating.as_ref().map(|exchange| exchange.by)
    }

    /// Gives up an exchange that takes too long.
    ///
    /// # Errors
    /// It took too long: the connection has to end, for its state is not known to both.
    pub(super) fn limit_authentication(&mut self, now: Instant) -> Result<(), ClientError> {
        if self.authentication_by().is_none_or(|by| by > now) {
            return Ok(());
        }
        let error = ClientError::TimedOut {
            what: "authenticating again",
            limit: self.options.connect_timeout,
            missing: "",
        };
        self.fail_authentication(&error);
        self.protocol.distrust();
        Err(error)
    }

    /// The connection has ended. A broker that says why refuses the client, and not only the connection.
    pub(super) fn fail_authentication(&mut self, error: &ClientError) {
        let Some(Authenticating { reply, .. }) = self.authenticating.take() else {
            return;
        };
        reply.send(Err(match error {
            ClientError::ServerDisconnected(farewell) => ClientError::ConnectRefused {
                reason: farewell.reason,
                reason_string: farewell.reason_string.clone(),
                server_reference: farewell.server_reference.clone(),
                user_properties: farewell.user_properties.clone(),
            },
            other => other.clone(),
        }));
    }
}
