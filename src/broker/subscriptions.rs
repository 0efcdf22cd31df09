//! Who subscribed to what: exact filters by hash, filters with wildcards in a tree of levels.
//!
//! Owns the subscriptions of all sessions, which of them share a group, and the walk that finds those a topic matches;
//! what they are worth to one message is decided in `router`, which member of a group gets it in `group`. The tree lies in
//! a slab with parent numbers instead of boxes in boxes: a filter of 65 535 levels costs memory, never stack, and an
//! unsubscribed one gives its nodes back.

mod groups;

use crate::broker::router::{GroupKey, SessionKey};
use crate::codec::SubscriptionOptions;
use crate::message::QoS;
use crate::topic::{TopicFilter, TopicName};
use bytestring::ByteString;
use groups::Groups;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::Arc;

/// One session's wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Subscription {
    /// How it is to be served.
    pub options: SubscriptionOptions,
    /// Comes back with each message.
    pub id: Option<NonZeroU32>,
}

/// What begins the text of a shared subscription.
const SHARE: &str = "$share/";

/// What a topic was found to match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match<'a> {
    /// A session's own subscription.
    Session(SessionKey, &'a Subscription),
    /// A group: one of its members gets the message.
    Group(GroupKey),
}

/// The subscribers of one filter: sorted lists, since they are read far more often than changed.
#[derive(Debug, Clone, Default)]
struct Subscribers {
    sessions: Vec<(SessionKey, Subscription)>,
    groups: Vec<GroupKey>,
}

impl Subscribers {
    fn insert(&mut self, session: SessionKey, subscription: Subscription) {
        match self
            .sessions
            .binary_search_by_key(&session, |entry| entry.0)
        {
            Ok(at) => self.sessions[at].1 = subscription,
            Err(at) => {
                if self.sessions.is_empty() {
                    // Most filters have one subscriber.
                    self.sessions.reserve_exact(1);
                }
                self.sessions.insert(at, (session, subscription));
            }
        }
    }

    fn remove(&mut self, session: SessionKey) {
        if let Ok(at) = self
            .sessions
            .binary_search_by_key(&session, |entry| entry.0)
        {
            self.sessions.remove(at);
        }
    }

    fn insert_group(&mut self, group: GroupKey) {
        if let Err(at) = self.groups.binary_search(&group) {
            self.groups.insert(at, group);
        }
    }

    fn remove_group(&mut self, group: GroupKey) {
        if let Ok(at) = self.groups.binary_search(&group) {
            self.groups.remove(at);
        }
    }

    fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.groups.is_empty()
    }
}

/// What a node costs beside its level, in bytes, with its place in the one above.
const NODE_COST: usize = 256;

/// What a subscription costs beside its filter, in bytes, in the lists of its session and of its subscribers.
const SUBSCRIPTION_COST: usize = 160;

type NodeId = usize;
const ROOT: NodeId = 0;

#[derive(Debug, Clone, Default)]
struct Node {
    parent: NodeId,
    /// The level by which the parent knows this node.
    level: Box<str>,
    /// Only ever looked up, never walked: its order is of no consequence. `+` and `#` are levels like any other.
    children: HashMap<Box<str>, NodeId>,
    subscribers: Subscribers,
}

/// The subscriptions of all sessions.
#[derive(Debug, Clone)]
pub struct Subscriptions {
    exact: HashMap<ByteString, Subscribers>,
    nodes: Vec<Node>,
    free: Vec<NodeId>,
    by_session: BTreeMap<SessionKey, BTreeMap<ByteString, Subscription>>,
    groups: Groups,
    count: usize,
    /// Of all filters, each as often as it is subscribed to.
    text_bytes: usize,
    wildcards: usize,
    edition: Edition,
}

/// Stands for what is subscribed between two changes. No two are equal while somebody holds one of them, so that what was
/// found in one is never taken for what another would give; a copy of all subscriptions keeps it, until it is changed.
#[derive(Debug, Clone, Default)]
pub(super) struct Edition(Arc<()>);

impl PartialEq for Edition {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self {
            exact: HashMap::default(),
            nodes: vec![Node::default()],
            free: Vec::new(),
            by_session: BTreeMap::new(),
            groups: Groups::default(),
            count: 0,
            text_bytes: 0,
            wildcards: 0,
            edition: Edition::default(),
        }
    }
}

/// Memory for the walk of [`Subscriptions::matching`], to be used again.
#[derive(Debug, Default)]
pub struct Frontier {
    here: Vec<NodeId>,
    below: Vec<NodeId>,
}

impl Subscriptions {
    /// Adds a subscription or replaces the session's own with the same filter; says whether it is new.
    // spec(4): MQTT-3.8.4-3
    // spec(5): MQTT-3.8.4-3
    pub fn insert(
        &mut self,
        session: SessionKey,
        filter: &TopicFilter,
        subscription: Subscription,
    ) -> bool {
        self.edition = Edition::default();
        let text = ByteString::from(filter.as_str());
        let is_new = self
            .by_session
            .entry(session)
            .or_default()
            .insert(text.clone(), subscription)
            .is_none();
        if is_new {
            self.count += 1;
            self.text_bytes += text.len();
        }
        match filter.share() {
            Ok(Some((_, inner))) if is_new => self.join(&text, inner.as_str()),
            // Its options are its group's business.
            Ok(Some(_)) => {}
            _ => {
                self.wildcards += usize::from(is_new && filter.has_wildcard());
                self.place(&text).insert(session, subscription);
            }
        }
        is_new
    }

    fn join(&mut self, text: &ByteString, filter: &str) {
        let (group, is_new) = self.groups.join(text);
        if is_new {
            self.wildcards += usize::from(has_wildcard(filter));
            self.place(filter).insert_group(group);
        }
    }

    /// Where the subscribers of a filter are kept.
    fn place(&mut self, filter: &str) -> &mut Subscribers {
        if has_wildcard(filter) {
            let node = self.make_node(filter);
            return &mut self.nodes[node].subscribers;
        }
        self.exact.entry(filter.into()).or_default()
    }

    /// Removes the session's subscription with exactly this filter; says whether there was one.
    // spec(4): MQTT-3.10.4-1
    // spec(5): MQTT-3.10.4-1
    pub fn remove(&mut self, session: SessionKey, filter: &str) -> bool {
        let Some(own) = self.by_session.get_mut(&session) else {
            return false;
        };
        if own.remove(filter).is_none() {
            return false;
        }
        if own.is_empty() {
            self.by_session.remove(&session);
        }
        self.forget(session, filter);
        true
    }

    /// Removes everything of a session.
    pub fn remove_session(&mut self, session: SessionKey) {
        for filter in self.by_session.remove(&session).unwrap_or_default().keys() {
            self.forget(session, filter);
        }
    }

    /// How many there are, of all sessions.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What was found before holds no more, though nobody has subscribed to anything else.
    pub(super) fn note_change(&mut self) {
        self.edition = Edition::default();
    }

    pub(super) fn edition(&self) -> &Edition {
        &self.edition
    }

    /// Nodes and groups in use, beside the root: what is left when all is unsubscribed must be none.
    pub fn node_count(&self) -> usize {
        self.nodes.len() - self.free.len() - 1 + self.exact.len() + self.groups.len()
    }

    /// About how many bytes they hold. A filter lies in its session's list and in the tree, there level by level.
    pub fn bytes(&self) -> usize {
        3 * self.text_bytes + self.count * SUBSCRIPTION_COST + self.node_count() * NODE_COST
    }

    /// How many a session has.
    pub fn count_of(&self, session: SessionKey) -> usize {
        self.by_session.get(&session).map_or(0, BTreeMap::len)
    }

    /// Whether a session has a subscription with exactly this filter.
    pub fn contains(&self, session: SessionKey, filter: &str) -> bool {
        self.by_session
            .get(&session)
            .is_some_and(|own| own.contains_key(filter))
    }

    /// The group with exactly this text, `$share/name/filter`.
    pub fn group(&self, text: &str) -> Option<GroupKey> {
        self.groups.get(text)
    }

    /// The groups a session is in, with their texts.
    pub fn groups_of(&self, session: SessionKey) -> impl Iterator<Item = (&str, GroupKey)> {
        self.shared_of(session)
            .filter_map(|text| Some((text, self.group(text)?)))
    }

    /// How many groups a session is in. Counted without looking them up: it is asked for each filter of a SUBSCRIBE.
    pub fn count_shared_of(&self, session: SessionKey) -> usize {
        self.shared_of(session).count()
    }

    fn shared_of(&self, session: SessionKey) -> impl Iterator<Item = &str> {
        let own = self.by_session.get(&session).into_iter();
        own.flat_map(|own| own.range::<str, _>((Bound::Included(SHARE), Bound::Unbounded)))
            .map(|(text, _)| text as &str)
            .take_while(|text| text.starts_with(SHARE))
    }

    /// A session's filters with the QoS granted, by filter.
    pub fn of_session(&self, session: SessionKey) -> Vec<(String, QoS)> {
        self.by_session
            .get(&session)
            .into_iter()
            .flatten()
            .map(|(filter, subscription)| (filter.to_string(), subscription.options.qos))
            .collect()
    }

    /// The filters of a session that keep from it what it publishes itself.
    pub fn no_local_of(&self, session: SessionKey) -> Vec<String> {
        let own = self.by_session.get(&session).into_iter().flatten();
        own.filter(|(_, subscription)| subscription.options.no_local)
            .map(|(filter, _)| filter.to_string())
            .collect()
    }

    /// Calls `found` with each subscription and each group that matches, filter by filter and by session within each
    /// filter; a session comes once for each of its filters that match. Says how many filters of sessions were found.
    pub fn matching(
        &self,
        topic: &TopicName,
        frontier: &mut Frontier,
        mut found: impl FnMut(Match<'_>),
    ) -> usize {
        let mut filters = 0;
        let mut report = |subscribers: &Subscribers| {
            if !subscribers.sessions.is_empty() {
                filters += 1;
            }
            for (session, subscription) in &subscribers.sessions {
                found(Match::Session(*session, subscription));
            }
            for group in &subscribers.groups {
                found(Match::Group(*group));
            }
        };
        // spec(4): MQTT-4.7.3-4
        // spec(5): MQTT-4.7.3-4
        if let Some(subscribers) = self.exact.get(topic.as_str()) {
            report(subscribers);
        }
        if self.wildcards > 0 {
            self.walk(topic.as_str(), frontier, &mut report);
        }
        filters
    }

    /// Level by level over all nodes that still match: each node is met at most once, so the work is bounded by the
    /// tree, whatever mixture of wildcards it holds.
    fn walk(&self, topic: &str, frontier: &mut Frontier, report: &mut impl FnMut(&Subscribers)) {
        let Frontier { here, below } = frontier;
        here.clear();
        here.push(ROOT);
        // spec(4): MQTT-4.7.2-1
        // spec(5): MQTT-4.7.2-1
        let mut wildcards_apply = !topic.starts_with('$');
        for level in topic.split('/') {
            below.clear();
            for node in here.iter() {
                let children = &self.nodes[*node].children;
                if children.is_empty() {
                    continue;
                }
                if wildcards_apply {
                    if let Some(rest) = children.get("#") {
                        report(&self.nodes[*rest].subscribers);
                    }
                    below.extend(children.get("+"));
                }
                below.extend(children.get(level));
            }
            wildcards_apply = true;
            std::mem::swap(here, below);
            if here.is_empty() {
                return;
            }
        }
        for node in here.iter() {
            let node = &self.nodes[*node];
            report(&node.subscribers);
            // `a/#` matches `a` too.
            // spec(5): MQTT-4.7.1-1
            if let Some(rest) = node.children.get("#") {
                report(&self.nodes[*rest].subscribers);
            }
        }
    }

    fn forget(&mut self, session: SessionKey, text: &str) {
        self.edition = Edition::default();
        self.count -= 1;
        self.text_bytes -= text.len();
        if self.groups.get(text).is_some() {
            if let Some(group) = self.groups.leave(text) {
                let filter = text.splitn(3, '/').nth(2).unwrap_or_default();
                self.vacate(filter, |subscribers| subscribers.remove_group(group));
            }
            return;
        }
        self.vacate(text, |subscribers| subscribers.remove(session));
    }

    /// Takes a subscriber from the place of its filter, and gives the place back if that was the last.
    fn vacate(&mut self, filter: &str, remove: impl FnOnce(&mut Subscribers)) {
        if let Some(subscribers) = self.exact.get_mut(filter) {
            remove(subscribers);
            if subscribers.is_empty() {
                self.exact.remove(filter);
            }
            return;
        }
        self.wildcards -= 1;
        if let Some(node) = self.find_node(filter) {
            remove(&mut self.nodes[node].subscribers);
            self.free_branch(node);
        }
    }

    fn find_node(&self, filter: &str) -> Option<NodeId> {
        filter.split('/').try_fold(ROOT, |node, level| {
            self.nodes[node].children.get(level).copied()
        })
    }

    fn make_node(&mut self, filter: &str) -> NodeId {
        let mut at = ROOT;
        for level in filter.split('/') {
            at = match self.nodes[at].children.get(level) {
                Some(child) => *child,
                None => self.add_child(at, level),
            };
        }
        at
    }

    fn add_child(&mut self, parent: NodeId, level: &str) -> NodeId {
        let node = Node {
            parent,
            level: level.into(),
            ..Node::default()
        };
        let id = if let Some(id) = self.free.pop() {
            self.nodes[id] = node;
            id
        } else {
            self.nodes.push(node);
            self.nodes.len() - 1
        };
        self.nodes[parent].children.insert(level.into(), id);
        id
    }

    /// Gives back the nodes from here upwards that nothing needs any more.
    fn free_branch(&mut self, mut id: NodeId) {
        while id != ROOT {
            let node = &self.nodes[id];
            if !node.children.is_empty() || !node.subscribers.is_empty() {
                return;
            }
            let Node { parent, level, .. } = std::mem::take(&mut self.nodes[id]);
            self.free.push(id);
            let children = &mut self.nodes[parent].children;
            children.remove(&level);
            if children.is_empty() {
                children.shrink_to_fit();
            }
            id = parent;
        }
    }
}

fn has_wildcard(filter: &str) -> bool {
    filter.bytes().any(|byte| byte == b'+' || byte == b'#')
}
