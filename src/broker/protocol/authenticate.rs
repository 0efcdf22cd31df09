//! Enhanced authentication: AUTH before CONNACK, and again while the connection lives. Which bytes prove what is the
//! caller's to say; here is who may speak when, how often, and for how long.
//!
//! | where | taken from the client | left by |
//! |---|---|---|
//! | our turn | nothing is read before CONNACK; afterwards all but AUTH | `challenge`, `authenticated`, `refuse` |
//! | its turn | AUTH 0x18, DISCONNECT; after CONNACK everything else too | AUTH 0x18, or an error |

use super::{Event, Phase, Protocol, ProtocolError, refusal, violation};
use crate::codec::{Auth, Connect, Hidden, Packet, ReasonCode};
use bytes::Bytes;
use bytestring::ByteString;
use std::fmt;
use std::time::Instant;

/// More AUTH packets of a client than this in one exchange lead nowhere.
pub const AUTH_ROUNDS_MAX: u32 = 16;

/// A step of an exchange, for the caller to judge. `Debug` shows how long the bytes are, and not what.
#[derive(Clone, PartialEq, Eq)]
pub struct Authenticate {
    /// Which mechanism.
    pub method: ByteString,
    /// Its bytes.
    pub data: Option<Bytes>,
    /// Whether it is the first step of an exchange.
    pub is_first: bool,
}

impl fmt::Debug for Authenticate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            method,
            data,
            is_first,
        } = self;
        f.debug_struct("Authenticate")
            .field("method", method)
            .field("data", &Hidden(data))
            .field("is_first", is_first)
            .finish()
    }
}

/// An exchange that is going on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exchange {
    rounds: u32,
    is_our_turn: bool,
    by: Option<Instant>,
}

impl Exchange {
    fn begun(by: Option<Instant>) -> Self {
        Self {
            rounds: 1,
            is_our_turn: true,
            by,
        }
    }
}

impl Protocol {
    /// A CONNECT named a method.
    pub(super) fn begin_authentication(
        &mut self,
        connect: Box<Connect>,
        method: ByteString,
    ) -> Event {
        let data = connect.properties.authentication_data.clone();
        self.method = Some(method.clone());
        self.exchange = Some(Exchange::begun(self.connect_by));
        self.phase = Phase::Authenticating(connect);
        Event::Authenticate(Authenticate {
            method,
            data,
            is_first: true,
        })
    }

    /// Whether nothing may be read: the caller has not answered the last step before CONNACK.
    pub(super) fn is_judged(&self) -> bool {
        self.exchange.is_some_and(|exchange| exchange.is_our_turn)
    }

    /// A packet before CONNACK, when it is the client's turn.
    // spec(5): MQTT-3.1.2-30
    pub(super) fn on_packet_before_connack(
        &mut self,
        packet: Packet,
    ) -> Result<Event, ProtocolError> {
        match packet {
            Packet::Auth(auth) => self.on_auth(auth, self.connect_by),
            Packet::Disconnect(_) => {
                self.phase = Phase::Closed;
                Ok(Event::Disconnected {
                    publish_will: false,
                    session_expiry_interval: None,
                })
            }
            _ => Err(violation(
                "neither AUTH nor DISCONNECT before CONNACK",
                "MQTT-3.1.2-30",
            )),
        }
    }

    /// An AUTH of the client. `by` is when an exchange that begins now has to be over.
    pub(super) fn on_auth(
        &mut self,
        auth: Auth,
        by: Option<Instant>,
    ) -> Result<Event, ProtocolError> {
        // spec(5): MQTT-4.12.0-6, MQTT-4.12.0-7
        let Some(method) = &self.method else {
            return Err(violation(
                "AUTH although no method was agreed",
                "MQTT-4.12.0-7",
            ));
        };
        // spec(5): MQTT-4.12.0-5, MQTT-4.12.1-1
        if auth.method != *method {
            return Err(violation(
                "AUTH with another method than CONNECT's",
                "MQTT-4.12.0-5",
            ));
        }
        // spec(5): MQTT-3.15.2-1
        let is_first = match (auth.reason, &mut self.exchange) {
            (ReasonCode::ContinueAuthentication, Some(exchange)) if !exchange.is_our_turn => {
                if exchange.rounds >= AUTH_ROUNDS_MAX {
                    return Err(refusal(
                        "an authentication of too many steps",
                        "4.12",
                        ReasonCode::NotAuthorized,
                    ));
                }
                exchange.rounds += 1;
                exchange.is_our_turn = true;
                false
            }
            (ReasonCode::ReAuthenticate, exchange @ None) => {
                *exchange = Some(Exchange::begun(by));
                true
            }
            _ => return Err(violation("AUTH out of its turn", "MQTT-3.15.2-1")),
        };
        Ok(Event::Authenticate(Authenticate {
            method: auth.method,
            data: auth.data,
            is_first,
        }))
    }

    /// Answers [`Event::Authenticate`]: the client shall go on, with these bytes.
    ///
    /// # Errors
    /// Nobody asked, or AUTH is larger than the client takes: then the connection has to end.
    // spec(5): MQTT-4.12.0-2
    pub fn challenge(&mut self, data: Option<Bytes>) -> Result<(), ProtocolError> {
        self.take_turn()?;
        self.write_auth(ReasonCode::ContinueAuthentication, data)
    }

    /// Answers [`Event::Authenticate`]: the client is who it says. Before CONNACK this leads to
    /// [`Event::ConnectRequested`], and the bytes go into CONNACK; afterwards AUTH 0x00 carries them.
    ///
    /// # Errors
    /// As [`Protocol::challenge`].
    pub fn authenticated(
        &mut self,
        data: Option<Bytes>,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        self.take_turn()?;
        self.exchange = None;
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Authenticating(connect) => {
                self.last_data = data;
                self.connect_by = now.checked_add(self.limits.connect_timeout);
                self.phase = Phase::Ready(connect);
                Ok(())
            }
            phase => {
                self.phase = phase;
                self.write_auth(ReasonCode::Success, data)
            }
        }
    }

    /// What the client has to do in time, it has from now on again: reading was held back on our side, so it may have been
    /// in time and not heard.
    pub fn resume(&mut self, now: Instant) {
        self.touch(now);
        if self.is_connected()
            && let Some(exchange) = &mut self.exchange
        {
            exchange.by = now.checked_add(self.limits.connect_timeout);
        }
    }

    /// When the exchange that goes on beside the traffic has to be over.
    pub(super) fn exchange_by(&self) -> Option<Instant> {
        self.exchange.and_then(|exchange| exchange.by)
    }

    fn take_turn(&mut self) -> Result<(), ProtocolError> {
        match &mut self.exchange {
            Some(exchange) if exchange.is_our_turn => {
                exchange.is_our_turn = false;
                Ok(())
            }
            _ => Err(ProtocolError::Closed),
        }
    }

    /// Says no more than the exchange needs: no reason string and no user property could make AUTH too large.
    // spec(5): MQTT-3.15.2-1, MQTT-3.15.2-2, MQTT-3.15.2-3, MQTT-4.12.0-5
    fn write_auth(&mut self, reason: ReasonCode, data: Option<Bytes>) -> Result<(), ProtocolError> {
        let Some(method) = self.method.clone() else {
            return Err(ProtocolError::Closed);
        };
        let auth = Packet::Auth(Auth {
            reason,
            method,
            data,
            reason_string: None,
            user_properties: Vec::new(),
        });
        self.write(&auth).map_err(|error| self.fail(error))
    }
}
