//! SUBSCRIBE and UNSUBSCRIBE: what can be said of a filter without knowing anybody else's.

use super::farewell;
use super::{Event, Protocol, ProtocolError, levels_within, refusal, violation};
use crate::broker::Limit;
use crate::codec::{
    AckProperties, Packet, PacketId, ProtocolVersion, ReasonCode, SubAck, Subscribe,
    SubscriptionOptions, UnsubAck, Unsubscribe,
};
use crate::topic::TopicFilter;
use bytestring::ByteString;
use std::num::NonZeroU32;

/// One line of a SUBSCRIBE: the filter, or why it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterRequest {
    /// Valid, with few enough levels.
    pub filter: Result<TopicFilter, ReasonCode>,
    /// How it is asked for.
    pub options: SubscriptionOptions,
}

/// A SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeRequest {
    /// What the answer needs.
    pub packet_id: PacketId,
    /// In the order of the packet.
    pub filters: Vec<FilterRequest>,
    /// Comes back with each message.
    pub subscription_id: Option<NonZeroU32>,
}

/// An UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubscribeRequest {
    /// What the answer needs.
    pub packet_id: PacketId,
    /// In the order of the packet.
    pub filters: Vec<Result<TopicFilter, ReasonCode>>,
}

impl Protocol {
    pub(super) fn on_subscribe(&mut self, subscribe: Subscribe) -> Result<Event, ProtocolError> {
        let features = self.terms.features;
        if subscribe.subscription_id.is_some() && !features.subscription_identifiers {
            return Err(refusal(
                "a subscription identifier, which this broker does not know",
                "section 3.2.2.3.12",
                ReasonCode::SubscriptionIdentifiersNotSupported,
            ));
        }
        let mut filters = Vec::with_capacity(subscribe.filters.len());
        for line in subscribe.filters {
            let mut options = line.options;
            // spec(5): MQTT-3.2.2-10
            options.qos = options.qos.min(features.maximum_qos);
            filters.push(FilterRequest {
                filter: self.check_filter(line.filter, options.no_local)?,
                options,
            });
        }
        Ok(Event::Subscribe(SubscribeRequest {
            packet_id: subscribe.packet_id,
            filters,
            subscription_id: subscribe.subscription_id,
        }))
    }

    pub(super) fn on_unsubscribe(
        &mut self,
        unsubscribe: Unsubscribe,
    ) -> Result<Event, ProtocolError> {
        let filters = unsubscribe
            .filters
            .into_iter()
            .map(|text| match TopicFilter::new(text) {
                Ok(filter) if self.version == ProtocolVersion::V5 && filter.share().is_err() => {
                    Ok(Err(ReasonCode::TopicFilterInvalid))
                }
                Ok(filter) => Ok(Ok(filter)),
                Err(_) => self.badly_formed().map(Err),
            })
            .collect::<Result<_, ProtocolError>>()?;
        Ok(Event::Unsubscribe(UnsubscribeRequest {
            packet_id: unsubscribe.packet_id,
            filters,
        }))
    }

    fn check_filter(
        &mut self,
        text: ByteString,
        no_local: bool,
    ) -> Result<Result<TopicFilter, ReasonCode>, ProtocolError> {
        // spec(4): MQTT-4.7.1-2, MQTT-4.7.1-3, MQTT-4.7.3-1, MQTT-4.7.3-2
        // spec(5): MQTT-4.7.1-1, MQTT-4.7.1-2, MQTT-4.7.3-1, MQTT-4.7.3-2
        let Ok(filter) = TopicFilter::new(text) else {
            return self.badly_formed().map(Err);
        };
        if !levels_within(filter.as_str(), self.limits.topic_levels_max) {
            self.reached.push(Limit::TopicLevelsMax);
            return Ok(Err(ReasonCode::TopicFilterInvalid));
        }
        if filter.has_wildcard() && !self.terms.features.wildcard_subscriptions {
            return self
                .lacking(
                    "a wildcard, which this broker does not have",
                    "section 3.2.2.3.11",
                    ReasonCode::WildcardSubscriptionsNotSupported,
                )
                .map(Err);
        }
        // 3.1.1 has no word for sharing, and lets a server do as it likes with what begins with `$`: it means the same in
        // both versions, since a session may be resumed with the other one.
        match filter.share() {
            // spec(5): MQTT-3.8.3-4
            Ok(Some(_)) if no_local => Err(violation(
                "No Local on a shared subscription",
                "MQTT-3.8.3-4",
            )),
            Ok(Some(_)) if !self.terms.features.shared_subscriptions => self
                .lacking(
                    "a shared subscription, which this broker does not have",
                    "section 3.2.2.3.13",
                    ReasonCode::SharedSubscriptionsNotSupported,
                )
                .map(Err),
            Ok(Some((_, shared))) => {
                Ok(self.permit.refuses_filter(&shared).map_or(Ok(filter), Err))
            }
            Ok(None) => Ok(self.permit.refuses_filter(&filter).map_or(Ok(filter), Err)),
            // spec(5): MQTT-4.8.2-1, MQTT-4.8.2-2
            Err(_) => Ok(Err(ReasonCode::TopicFilterInvalid)),
        }
    }

    /// MQTT 5 was told in CONNACK; 3.1.1 could not be.
    fn lacking(
        &self,
        what: &'static str,
        clause: &'static str,
        reason: ReasonCode,
    ) -> Result<ReasonCode, ProtocolError> {
        match self.version {
            ProtocolVersion::V5 => Err(refusal(what, clause, reason)),
            // spec(4): MQTT-3.8.3-2
            _ => Ok(reason),
        }
    }

    /// MQTT 5 can say which filter is no filter; 3.1.1 can only close.
    fn badly_formed(&self) -> Result<ReasonCode, ProtocolError> {
        match self.version {
            ProtocolVersion::V5 => Ok(ReasonCode::TopicFilterInvalid),
            _ => Err(refusal(
                "a badly formed topic filter",
                "4.7",
                ReasonCode::TopicFilterInvalid,
            )),
        }
    }

    /// Answers a SUBSCRIBE with one code for each filter, in order.
    ///
    /// # Errors
    /// The answer is larger than the client takes.
    pub fn subscribed(
        &mut self,
        packet_id: PacketId,
        mut reasons: Vec<ReasonCode>,
    ) -> Result<(), ProtocolError> {
        if self.version != ProtocolVersion::V5 {
            // 3.1.1 has one code for all refusals.
            for reason in reasons.iter_mut().filter(|reason| reason.is_error()) {
                *reason = ReasonCode::UnspecifiedError;
            }
        }
        // spec(4): MQTT-3.8.4-1, MQTT-3.8.4-2, MQTT-3.8.4-4, MQTT-3.8.4-5, MQTT-3.9.3-1
        // spec(5): MQTT-3.8.4-1, MQTT-3.8.4-2, MQTT-3.8.4-5, MQTT-3.8.4-6, MQTT-3.9.3-1
        let packet = Packet::SubAck(SubAck {
            packet_id,
            properties: self.explanation(&reasons),
            reasons,
        });
        self.answer(packet)
    }

    /// Answers an UNSUBSCRIBE with one code for each filter, in order.
    ///
    /// # Errors
    /// The answer is larger than the client takes.
    pub fn unsubscribed(
        &mut self,
        packet_id: PacketId,
        reasons: Vec<ReasonCode>,
    ) -> Result<(), ProtocolError> {
        // spec(4): MQTT-3.10.4-4, MQTT-3.10.4-5, MQTT-3.10.4-6
        // spec(5): MQTT-3.10.4-4, MQTT-3.10.4-5, MQTT-3.10.4-6, MQTT-3.11.3-1
        let packet = Packet::UnsubAck(UnsubAck {
            packet_id,
            properties: self.explanation(&reasons),
            reasons: match self.version {
                ProtocolVersion::V5 => reasons,
                _ => Vec::new(),
            },
        });
        self.answer(packet)
    }

    fn explanation(&self, reasons: &[ReasonCode]) -> Option<Box<AckProperties>> {
        if !self.may_explain() {
            return None;
        }
        farewell::in_answer(farewell::of_filters(reasons))
    }

    fn answer(&mut self, packet: Packet) -> Result<(), ProtocolError> {
        self.write_if_it_fits(packet)
            .map_err(|error| self.fail(error))
    }
}
