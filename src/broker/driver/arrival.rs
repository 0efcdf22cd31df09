//! The way of a connection from its CONNECT to a session.

use super::connection::{Connection, End, Link};
use crate::broker::ClientInfo;
use crate::broker::hub::{Arrival, Granted, Outcome};
use crate::broker::protocol::Accept;
use crate::broker::registry::ConnectRequest;
use crate::codec::Connect;
use crate::transport::PeerInfo;
use bytestring::ByteString;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

impl Connection {
    pub(super) fn on_connect(&mut self, connect: Connect, now: Instant) -> Result<(), End> {
        let assigned = connect.client_id.is_empty().then(new_client_id);
        let client_id = assigned.clone().unwrap_or(connect.client_id);
        let admission = self.admission.as_ref();
        let user = admission.and_then(|known| known.user().cloned());
        let proof = admission.and_then(|known| known.proof().cloned());
        let peer = self.known_peer();
        let listener = peer.listener;
        let arrival = Arrival {
            info: ClientInfo {
                client_id: client_id.to_string(),
                version: connect.version,
                peer,
                username: connect.username.map(|name| name.to_string()),
                user: user.as_ref().map(ToString::to_string),
                keep_alive: connect.keep_alive,
            },
            request: ConnectRequest {
                client_id,
                clean_start: connect.clean_start || self.pipe.loses_session(),
                session_expiry_interval: self.protocol.session_expiry_interval(),
                will: connect.will,
                listener,
                user,
                proof,
                rights: None,
            },
            bell: Arc::clone(&self.bell),
        };
        self.inquire(arrival, assigned, now)
    }

    /// Goes for its session.
    pub(super) fn arrive(
        &mut self,
        arrival: Arrival,
        assigned: Option<ByteString>,
        now: Instant,
    ) -> Result<(), End> {
        let client_id = arrival.request.client_id.clone();
        let address = arrival.info.peer.address;
        match self.hub.connect(arrival, now) {
            Outcome::Granted(granted) => self.enter(*granted, assigned, now),
            Outcome::Wait(connection) => {
                self.link = Link::Waiting(connection, assigned);
                Ok(())
            }
            Outcome::Refused(farewell) => {
                self.note_refused(Some(&client_id), address, farewell.reason);
                self.protocol.refuse(farewell);
                Err(End::Refused)
            }
        }
    }

    /// Where the peer is, if by network.
    pub(super) fn peer_address(&self) -> Option<SocketAddr> {
        self.peer.as_ref()?.address
    }

    /// Who comes in. Where nobody has to prove anything, only the hub has to know from here on.
    fn known_peer(&mut self) -> PeerInfo {
        let peer = if self.admission.is_some() {
            self.peer.clone()
        } else {
            self.peer.take()
        };
        peer.map(|peer| *peer).unwrap_or_default()
    }

    /// Takes the session that was waited for, if it is free now.
    pub(super) fn claim(&mut self, now: Instant) -> Result<(), End> {
        let Link::Waiting(connection, assigned) = &mut self.link else {
            return Ok(());
        };
        match self.hub.claim(*connection) {
            Some(granted) => {
                let assigned = assigned.take();
                self.enter(*granted, assigned, now)
            }
            None => Ok(()),
        }
    }

    fn enter(
        &mut self,
        granted: Granted,
        assigned_client_id: Option<ByteString>,
        now: Instant,
    ) -> Result<(), End> {
        self.protocol.set_rights(granted.rights);
        let connection = granted.attached.connection;
        self.link = Link::Attached(granted.attached);
        let accept = Accept {
            session: granted.session,
            session_present: granted.session_present,
            assigned_client_id,
        };
        self.protocol.accept(accept, now)?;
        self.place.release();
        self.hub.counters().connects_accepted.add_one();
        self.note_entered(connection, granted.session_present);
        // What was told to all who are here was not told to who waited at the door.
        self.inquire_again();
        Ok(())
    }
}

/// A client id that nobody has and nobody can guess.
fn new_client_id() -> ByteString {
    let random = || RandomState::new().hash_one(0);
    ByteString::from(format!("rmqtt-{:016x}{:016x}", random(), random()))
}
