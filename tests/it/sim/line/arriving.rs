//! The way of a connection from its CONNECT to a session.

use super::{Around, Line, Link};
use rmqtt::broker::ClientInfo;
use rmqtt::broker::hub::{Arrival, Granted, Outcome};
use rmqtt::broker::protocol::{Accept, ProtocolError};
use rmqtt::broker::registry::ConnectRequest;
use rmqtt::codec::Connect;
use rmqtt::transport::PeerInfo;
use std::sync::Arc;

impl Line {
    pub(super) fn connect(
        &mut self,
        connect: Box<Connect>,
        around: &mut Around<'_>,
    ) -> Result<(), ProtocolError> {
        let Around {
            hub, model, now, ..
        } = around;
        let user = model.rights.user(self.client);
        let info = ClientInfo {
            client_id: connect.client_id.to_string(),
            version: connect.version,
            peer: PeerInfo {
                listener: self.door,
                ..PeerInfo::default()
            },
            username: None,
            user: user.map(str::to_owned),
            keep_alive: connect.keep_alive,
        };
        let request = ConnectRequest {
            client_id: connect.client_id.clone(),
            clean_start: connect.clean_start,
            session_expiry_interval: self.protocol.session_expiry_interval(),
            will: connect.will.clone(),
            user: user.map(Into::into),
            listener: self.door,
            rights: None,
            proof: None,
        };
        let wish = model.wish(&connect, self.door);
        assert_eq!(request.session_expiry_interval, wish.expiry);
        let may_come = model.may_have_will(self.client, self.door, &connect);
        let is_free = may_come && model.arrive(self.client, self.number, wish, *now);
        let arrival = Arrival {
            request,
            info,
            bell: Arc::clone(&self.bell),
        };
        match hub.connect(arrival, *now) {
            Outcome::Granted(granted) => {
                assert!(is_free, "somebody else has the session");
                self.accept(*granted, &connect, around)
            }
            Outcome::Wait(connection) => {
                assert!(may_come && !is_free, "nobody has the session");
                self.link = Link::Waiting(connection, connect);
                Ok(())
            }
            Outcome::Refused(farewell) => {
                assert!(!may_come, "refused: {farewell:?}");
                self.turn_away(farewell, &connect, around);
                Ok(())
            }
        }
    }

    pub(super) fn claim(&mut self, around: &mut Around<'_>) -> Result<(), ProtocolError> {
        let Link::Waiting(connection, _) = &self.link else {
            return Ok(());
        };
        let Some(granted) = around.hub.claim(*connection) else {
            return Ok(());
        };
        match std::mem::replace(&mut self.link, Link::None) {
            Link::Waiting(_, connect) => self.accept(*granted, &connect, around),
            _ => Ok(()),
        }
    }

    fn accept(
        &mut self,
        granted: Granted,
        connect: &Connect,
        around: &mut Around<'_>,
    ) -> Result<(), ProtocolError> {
        let expected = around.model.begin(self.client, &granted.attached, connect);
        assert_eq!(granted.session_present, expected, "session present");
        self.protocol.set_rights(granted.rights);
        self.link = Link::Attached(granted.attached);
        let accept = Accept {
            session: granted.session,
            session_present: granted.session_present,
            assigned_client_id: None,
        };
        self.said.version = connect.version;
        self.protocol.accept(accept, around.now)?;
        self.said_along(around);
        Ok(())
    }
}
