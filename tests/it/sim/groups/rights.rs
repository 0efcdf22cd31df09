//! What members may read, and what becomes of what none of them may.

use super::{Group, Groups, Parcel, State};
use crate::sim::rights::Rights;
use rmqtt::broker::rights::Access;
use rmqtt::message::Message;

impl Group {
    pub(super) fn is_for_any_member(&self, rights: &Rights, message: &Message) -> bool {
        let topic = message.topic.as_str();
        let mut members = self.members.keys();
        members.any(|client| rights.may(*client, Access::Read, topic))
    }
}

impl Groups {
    /// A client may read other things than before.
    pub(in crate::sim) fn restrict(&mut self, client: usize) {
        for group in self.all.values_mut() {
            if group.members.contains_key(&client) {
                self.dropped_qos0 += group.follow();
            }
        }
        self.bar();
    }

    /// What was on its way to a client is not sent again, since it may not read it any more. Says whether its group is there
    /// to have it back.
    pub(in crate::sim) fn returned(&mut self, client: usize, message: &Message) -> bool {
        let is_it = |parcel: &Parcel| {
            let is_its = matches!(parcel.state, State::Sent(whose, ..) if whose == client);
            is_its && parcel.message.payload == message.payload
        };
        let mut is_back = false;
        for group in self.all.values_mut() {
            if let Some(parcel) = group.parcels.iter_mut().find(|it| is_it(it)) {
                parcel.state = State::Waiting;
                self.dropped_qos0 += group.follow();
                is_back = true;
                break;
            }
        }
        self.bar();
        is_back
    }

    /// What no member may read is denied, now or when it would be dealt.
    pub(super) fn bar(&mut self) {
        for group in self.all.values_mut().filter(|_| self.rights.is_ruled()) {
            for mut parcel in std::mem::take(&mut group.parcels) {
                let is_for_any = group.is_for_any_member(&self.rights, &parcel.message);
                if parcel.is_waiting() && !is_for_any {
                    parcel.state = State::Uncertain;
                    self.is_vague = true;
                }
                group.parcels.push(parcel);
            }
        }
    }
}
