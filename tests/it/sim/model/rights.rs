//! What the model makes of rights: what is to be let in, what may be sent, and what becomes of what waits when that changes.

use super::Model;
use crate::sim::groups::is_shared;
use crate::sim::retained::Author;
use rmqtt::broker::rights::Access;
use rmqtt::codec::{
    Ack, AckKind, Connect, Packet, PacketId, ProtocolVersion, Publish, ReasonCode, Subscribe,
};
use rmqtt::message::{Message, QoS};
use std::collections::{BTreeSet, VecDeque};

/// What is to come of what the broker has heard of one client.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// Messages to be let in, in order.
    due: VecDeque<Message>,
    /// Packet ids whose answer has to say that the message was not.
    refused: BTreeSet<PacketId>,
    /// Of a SUBSCRIBE: which filters may be asked for.
    filters: Vec<bool>,
    /// QoS 2 that was taken and not released: with one of these ids comes what was there already.
    unreleased: BTreeSet<PacketId>,
}

impl Verdicts {
    /// Another connection begins.
    pub(super) fn begin(&mut self) {
        self.due.clear();
        self.refused.clear();
        self.filters.clear();
    }
}

impl Model {
    /// Whether the broker has a session of this client.
    pub(in crate::sim) fn has_session(&self, client: usize) -> bool {
        self.sessions.contains_key(&client)
    }

    /// Whether the client may have the will it wants, if it comes through this door.
    pub(in crate::sim) fn may_have_will(
        &self,
        client: usize,
        door: Option<usize>,
        connect: &Connect,
    ) -> bool {
        let may = |topic: &str| (self.rights).may_at(client, door, Access::Publish, topic);
        let will = connect.will.as_ref();
        will.is_none_or(|will| may(will.message.topic.as_str()))
    }

    /// What a session has left to be said, if its client may still say it.
    pub(super) fn allowed(
        &mut self,
        client: usize,
        will: Option<Message>,
    ) -> Option<(Author, Message)> {
        let will = will?;
        let is_allowed = (self.rights).may(client, Access::Publish, will.topic.as_str());
        self.counts.publishes_denied += usize::from(!is_allowed);
        is_allowed.then(|| (self.rights.author(client), will))
    }

    /// The session has been reached through this door: its rules go from now on.
    pub(super) fn came_by(&mut self, client: usize, door: Option<usize>) {
        if door.is_some() {
            self.rights.came_by(client, door);
            self.restrict(client);
        }
    }

    /// A client has published, or its will was.
    pub(super) fn wrote(&mut self, author: Author, message: &Message) {
        if message.retain {
            self.retained.is_from(message.topic.as_str(), author);
        }
    }

    /// There are other rules.
    pub(in crate::sim) fn rules_have_changed(&mut self) {
        let clients: Vec<_> = self.sessions.keys().copied().collect();
        for client in clients {
            self.restrict(client);
        }
    }

    fn restrict(&mut self, client: usize) {
        let rights = &self.rights;
        if let Some(session) = self.sessions.get_mut(&client) {
            let may_read = |message: &Message| {
                let topic = message.topic.as_str();
                rights.may(client, Access::Read, topic)
            };
            self.counts.deliveries_denied += session.queue.keep(may_read);
        }
        self.groups.restrict(client);
    }

    /// Finds out what has to come of a packet that the broker has heard.
    pub(super) fn judge(&mut self, client: usize, packet: &Packet) {
        match packet {
            Packet::Publish(publish) => self.judge_publish(client, publish),
            Packet::Subscribe(subscribe) => self.judge_subscribe(client, subscribe),
            Packet::Ack(ack) if ack.kind == AckKind::PubRel => {
                if let Some(session) = self.sessions.get_mut(&client) {
                    session.verdicts.unreleased.remove(&ack.packet_id);
                }
            }
            _ => {}
        }
    }

    fn judge_publish(&mut self, client: usize, publish: &Publish) {
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        let (message, verdicts) = (&publish.message, &mut session.verdicts);
        let topic = message.topic.as_str();
        let is_allowed = self.rights.may(client, Access::Publish, topic);
        if let Some(id) = publish.packet_id {
            if verdicts.unreleased.contains(&id) {
                return;
            }
            let can_say_no = session.peer.version == ProtocolVersion::V5;
            if message.qos == QoS::ExactlyOnce && (is_allowed || !can_say_no) {
                verdicts.unreleased.insert(id);
            }
            if !is_allowed {
                verdicts.refused.insert(id);
            }
        }
        if is_allowed {
            verdicts.due.push_back(message.clone());
        } else {
            // Nobody has to be asked for what is the broker's own.
            let is_asked = !super::super::rights::is_reserved(topic);
            self.counts.publishes_denied += usize::from(is_asked);
            self.books.denied(message);
        }
    }

    fn judge_subscribe(&mut self, client: usize, subscribe: &Subscribe) {
        let filters = subscribe.filters.iter();
        let may: Vec<_> = filters
            .map(|line| self.rights.may_subscribe(client, &line.filter))
            .collect();
        self.counts.subscriptions_denied += may.iter().filter(|may| !**may).count();
        if let Some(session) = self.sessions.get_mut(&client) {
            session.verdicts.filters = may;
        }
    }

    /// The broker lets a message in.
    pub(in crate::sim) fn let_in(&mut self, client: usize, message: &Message) {
        let session = self.sessions.get_mut(&client);
        let due = session.and_then(|session| session.verdicts.due.pop_front());
        let due = due.unwrap_or_else(|| panic!("client {client} has no right to {message:?}"));
        let parts = |message: &Message| (message.topic.clone(), message.payload.clone());
        assert_eq!(parts(message), parts(&due), "let in by client {client}");
    }

    /// The broker has done all that was to be done of what it has heard.
    pub(in crate::sim) fn check_let_in(&self, client: usize) {
        if let Some(session) = self.sessions.get(&client) {
            let due = &session.verdicts.due;
            assert!(due.is_empty(), "client {client} had the right to {due:?}");
        }
    }

    /// Which filters of its SUBSCRIBE the client may ask for.
    pub(super) fn take_filters(&mut self, client: usize) -> Vec<bool> {
        let session = self.sessions.get_mut(&client);
        session.map_or_else(Vec::new, |session| {
            std::mem::take(&mut session.verdicts.filters)
        })
    }

    /// The broker answers for a message.
    pub(super) fn check_answer(&mut self, client: usize, ack: &Ack) {
        let session = self.sessions.get_mut(&client).expect("it is connected");
        let is_answer = matches!(ack.kind, AckKind::PubAck | AckKind::PubRec);
        if is_answer {
            let was_refused = session.verdicts.refused.remove(&ack.packet_id);
            let can_say_no = session.peer.version == ProtocolVersion::V5;
            let says_no = ack.reason == ReasonCode::NotAuthorized;
            assert_eq!(
                says_no,
                was_refused && can_say_no,
                "client {client}: {ack:?}"
            );
        }
    }

    /// So many messages of QoS 1 are not sent again, since their client may not read them any more.
    pub(in crate::sim) fn denied(&mut self, client: usize, count: usize) {
        for _ in 0..count {
            let given_up = self.give_up_first(client, false);
            assert!(given_up.is_some(), "client {client} may read its own");
            self.counts.deliveries_denied += 1;
        }
    }

    /// The same of what came from groups: others may get it, if there are any.
    pub(in crate::sim) fn returned(&mut self, client: usize, count: usize) {
        for _ in 0..count {
            let message = self.give_up_first(client, true);
            let message = message.expect("it may not read something of a group's");
            let is_back = self.groups.returned(client, &message);
            self.counts.deliveries_denied += usize::from(!is_back);
        }
    }

    fn give_up_first(&mut self, client: usize, of_group: bool) -> Option<Message> {
        let rights = &self.rights;
        let is_it = |message: &Message| {
            let topic = message.topic.as_str();
            is_shared(message) == of_group && !rights.may(client, Access::Read, topic)
        };
        let session = self.sessions.get_mut(&client).expect("it is connected");
        session.flow.give_up(None, is_it)
    }

    /// An exchange of QoS 2 that was to go on is given up, if the client may not read the message any more.
    pub(super) fn withdraw(&mut self, client: usize, id: PacketId) {
        let rights = &self.rights;
        let is_denied = |message: &Message| {
            let topic = message.topic.as_str();
            !rights.may(client, Access::Read, topic)
        };
        let session = self.sessions.get_mut(&client).expect("it is connected");
        if let Some(message) = session.flow.give_up(Some(id), is_denied) {
            self.books.withdrawn(client, &message);
            self.groups.withdrawn(client, &message);
        }
    }

    /// Whatever is sent has to be within the rights of now.
    pub(super) fn check_may_read(&self, client: usize, publish: &Publish) {
        let topic = publish.message.topic.as_str();
        let may_read = self.rights.may(client, Access::Read, topic);
        assert!(may_read, "client {client} may not read {publish:?}");
    }
}
