//! Enhanced authentication, the client's turns of it: AUTH before CONNACK, and again while the connection lives. What the
//! bytes say is the mechanism's; here is whose turn it is, and that a broker counts as one only when it is believed.
//!
//! | where | taken from the broker | left by |
//! |---|---|---|
//! | its turn | AUTH 0x18, and what ends the exchange: CONNACK, or AUTH 0x00 | [`Event::Authenticate`] |
//! | our turn | before CONNACK is believed nothing; afterwards all but AUTH | [`Protocol::answer_auth`], [`Protocol::trust`] |

use super::{Event, Protocol, State};
use crate::client::ClientError;
use crate::codec::{Auth, ConnAck, Disconnect, Packet, ProtocolVersion, ReasonCode};
use bytes::Bytes;
use bytestring::ByteString;
use std::time::Instant;

/// A broker that asks more often in one exchange than this never ends it.
pub const AUTH_ROUNDS_MAX: u32 = 16;

/// What the broker says in an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It wants to know more. Answer with [`Protocol::answer_auth`].
    More(Option<Bytes>),
    /// It is content. Answer with [`Protocol::trust`], or with [`Protocol::distrust`].
    Content(Option<Bytes>),
}

/// An exchange that is going on.
#[derive(Debug)]
pub(super) struct Exchange {
    rounds: u32,
    is_our_turn: bool,
    /// The consent that is not believed yet.
    connack: Option<Box<ConnAck>>,
}

impl Exchange {
    fn begun() -> Self {
        Self {
            rounds: 0,
            is_our_turn: false,
            connack: None,
        }
    }
}

impl Protocol {
    /// As [`Protocol::connect`], with the first word of the options' mechanism.
    ///
    /// # Errors
    /// As there.
    pub fn connect_as(&mut self, first: Option<Bytes>, now: Instant) -> Result<(), ClientError> {
        self.first_word = first;
        self.connect(now)
    }

    /// From now on CONNECT has this password, and none that it had before.
    pub fn renew_password(&mut self, password: Bytes) {
        self.options.password = Some(password);
    }

    /// The method that CONNECT names. Only MQTT 5 can.
    pub(super) fn method(&self) -> Option<ByteString> {
        let auth = self.options.auth.as_ref()?;
        (self.version == ProtocolVersion::V5).then(|| auth.method().into())
    }

    pub(super) fn begin_authentication(&mut self) {
        self.exchange = self.method().map(|_| Exchange::begun());
    }

    /// Whether nothing is read, since what has been read last is not believed yet.
    pub(super) fn is_proving(&self) -> bool {
        self.exchange
            .as_ref()
            .is_some_and(|exchange| exchange.is_our_turn)
    }

    // spec(5, client): MQTT-4.12.0-5, MQTT-4.12.0-7, MQTT-3.15.2-1
    pub(super) fn on_auth(&mut self, auth: Auth) -> Result<Event, ClientError> {
        let Some(method) = self.method() else {
            return Err(self.violated(
                "AUTH without an authentication method in CONNECT",
                "4.12",
                ReasonCode::ProtocolError,
            ));
        };
        if auth.method != method {
            return Err(self.violated(
                "AUTH with another method than CONNECT's",
                "MQTT-4.12.0-5",
                ReasonCode::ProtocolError,
            ));
        }
        let is_connected = self.state == State::Connected;
        let said = match (&mut self.exchange, auth.reason) {
            (Some(exchange), reason) if !exchange.is_our_turn => match reason {
                ReasonCode::ContinueAuthentication if exchange.rounds < AUTH_ROUNDS_MAX => {
                    exchange.rounds += 1;
                    Some(Said::More(auth.data))
                }
                ReasonCode::Success if is_connected => Some(Said::Content(auth.data)),
                _ => None,
            },
            _ => None,
        };
        match (said, &mut self.exchange) {
            (Some(said), Some(exchange)) => {
                exchange.is_our_turn = true;
                Ok(Event::Authenticate(said))
            }
            _ => Err(self.violated(
                "AUTH out of its turn, or too often",
                "MQTT-3.15.2-1",
                ReasonCode::ProtocolError,
            )),
        }
    }

    /// A consent that has to be believed first.
    pub(super) fn prove(&mut self, connack: Box<ConnAck>) -> Result<Event, ClientError> {
        // spec(5, client): MQTT-4.12.0-5
        let is_ours = connack.properties.authentication_method == self.method();
        match &mut self.exchange {
            Some(exchange) if is_ours => {
                let data = connack.properties.authentication_data.clone();
                exchange.is_our_turn = true;
                exchange.connack = Some(connack);
                Ok(Event::Authenticate(Said::Content(data)))
            }
            _ => Err(self.violated(
                "CONNACK with another method than CONNECT's, or without any",
                "MQTT-4.12.0-5",
                ReasonCode::ProtocolError,
            )),
        }
    }

    /// Answers [`Said::More`].
    ///
    /// # Errors
    /// It is not our turn, or AUTH is larger than the broker takes.
    // spec(5): MQTT-4.12.0-3
    pub fn answer_auth(&mut self, data: Option<Bytes>) -> Result<(), ClientError> {
        match &mut self.exchange {
            Some(exchange) if exchange.is_our_turn && exchange.connack.is_none() => {
                exchange.is_our_turn = false;
                self.put_auth(ReasonCode::ContinueAuthentication, data)
            }
            _ => Err(not_our_turn()),
        }
    }

    /// Answers [`Said::Content`]: the broker is believed. The first time this is what [`Event::Connected`] comes from.
    ///
    /// # Errors
    /// It is not our turn, or CONNACK broke a rule.
    pub fn trust(&mut self, now: Instant) -> Result<Option<Event>, ClientError> {
        match self.exchange.take() {
            Some(exchange) if exchange.is_our_turn => exchange
                .connack
                .map(|connack| self.on_consent(connack, now))
                .transpose(),
            exchange => {
                self.exchange = exchange;
                Err(not_our_turn())
            }
        }
    }

    /// Ends the connection: an exchange has failed on our side, or the broker is not believed.
    // spec(5, client): MQTT-4.12.1-2
    pub fn distrust(&mut self) {
        let has_consented = self
            .exchange
            .take()
            .is_some_and(|exchange| exchange.connack.is_some());
        // Nothing else leaves, not even an answer that is due: whoever is there may be anybody.
        if has_consented || self.state == State::Connected {
            let farewell = Disconnect::new(ReasonCode::UnspecifiedError);
            // It always encodes; if not, closing says the same.
            let _ = self.encode(&Packet::Disconnect(farewell));
        }
        self.state = State::Ended;
    }

    /// Authenticates again, with the mechanism's first word.
    ///
    /// # Errors
    /// CONNECT named no method, or an exchange is going on; nothing is sent.
    // spec(5): MQTT-4.12.1-1
    pub fn reauthenticate(&mut self, first: Option<Bytes>) -> Result<(), ClientError> {
        self.can_reauthenticate()?;
        self.put_auth(ReasonCode::ReAuthenticate, first)?;
        self.exchange = Some(Exchange::begun());
        Ok(())
    }

    /// Whether [`Protocol::reauthenticate`] may be called.
    ///
    /// # Errors
    /// Why not.
    pub fn can_reauthenticate(&self) -> Result<(), ClientError> {
        // spec(5): MQTT-4.12.0-7
        if self.method().is_none() {
            return Err(ClientError::Misuse(
                "the client has not authenticated, so it cannot do so again: give it `auth`"
                    .to_owned(),
            ));
        }
        if self.state != State::Connected {
            return Err(ClientError::NotConnected);
        }
        if self.exchange.is_some() {
            return Err(ClientError::Misuse(
                "the client is authenticating already".to_owned(),
            ));
        }
        Ok(())
    }

    /// Says no more than the exchange needs: no reason string and no user property could make AUTH too large.
    // spec(5, client): MQTT-3.15.2-1, MQTT-3.15.2-2, MQTT-3.15.2-3, MQTT-4.12.0-5
    fn put_auth(&mut self, reason: ReasonCode, data: Option<Bytes>) -> Result<(), ClientError> {
        let Some(method) = self.method() else {
            return Err(not_our_turn());
        };
        self.put(&Packet::Auth(Auth {
            reason,
            method,
            data,
            reason_string: None,
            user_properties: Vec::new(),
        }))
    }
}

fn not_our_turn() -> ClientError {
    ClientError::Misuse("no AUTH is awaited".to_owned())
}
