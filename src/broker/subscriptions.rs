//! Who subscribed to what: exact filters by hash, filters with wildcards in a tree of levels.
//!
//! Owns the subscriptions of all sessions and the walk that finds those a topic matches; what they are worth to one
//! message is decided in `router`. The tree lies in a slab with parent numbers instead of boxes in boxes: a filter of
//! 65 535 levels costs memory, never stack, and an unsubscribed one gives its nodes back.

use crate::broker::router::SessionKey;
use crate::codec::SubscriptionOptions;
use crate::message::QoS;
use crate::topic::{TopicFilter, TopicName};
use bytestring::ByteString;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;

/// One session's wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Subscription {
    /// How it is to be served.
    pub options: SubscriptionOptions,
    /// Comes back with each message.
    pub id: Option<NonZeroU32>,
}

/// The subscribers of one filter, by session: a sorted list, since it is read far more often than changed.
#[derive(Debug, Clone, Default)]
struct Subscribers(Vec<(SessionKey, Subscription)>);

impl Subscribers {
    fn insert(&mut self, session: SessionKey, subscription: Subscription) {
        match self.0.binary_search_by_key(&session, |entry| entry.0) {
            Ok(at) => self.0[at].1 = subscription,
            Err(at) => self.0.insert(at, (session, subscription)),
        }
    }

    fn remove(&mut self, session: SessionKey) {
        if let Ok(at) = self.0.binary_search_by_key(&session, |entry| entry.0) {
            self.0.remove(at);
        }
    }
}

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
    count: usize,
    wildcards: usize,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self {
            exact: HashMap::default(),
            nodes: vec![Node::default()],
            free: Vec::new(),
            by_session: BTreeMap::new(),
            count: 0,
            wildcards: 0,
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
        let text = ByteString::from(filter.as_str());
        let is_new = self
            .by_session
            .entry(session)
            .or_default()
            .insert(text.clone(), subscription)
            .is_none();
        self.count += usize::from(is_new);
        if filter.has_wildcard() {
            self.wildcards += usize::from(is_new);
            let node = self.make_node(&text);
            self.nodes[node].subscribers.insert(session, subscription);
        } else {
            self.exact
                .entry(text)
                .or_default()
                .insert(session, subscription);
        }
        is_new
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

    /// Nodes in use, beside the root: what is left when all is unsubscribed must be none.
    pub fn node_count(&self) -> usize {
        self.nodes.len() - self.free.len() - 1 + self.exact.len()
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

    /// A session's filters with the QoS granted, by filter.
    pub fn of_session(&self, session: SessionKey) -> Vec<(String, QoS)> {
        self.by_session
            .get(&session)
            .into_iter()
            .flatten()
            .map(|(filter, subscription)| (filter.to_string(), subscription.options.qos))
            .collect()
    }

    /// Calls `found` with each subscription that matches, filter by filter and by session within each filter; a session
    /// comes once for each of its filters that match. Says how many filters were found.
    pub fn matching(
        &self,
        topic: &TopicName,
        frontier: &mut Frontier,
        mut found: impl FnMut(SessionKey, &Subscription),
    ) -> usize {
        let mut filters = 0;
        let mut report = |subscribers: &Subscribers| {
            if !subscribers.0.is_empty() {
                filters += 1;
            }
            for (session, subscription) in &subscribers.0 {
                found(*session, subscription);
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

    fn forget(&mut self, session: SessionKey, filter: &str) {
        self.count -= 1;
        if let Some(subscribers) = self.exact.get_mut(filter) {
            subscribers.remove(session);
            if subscribers.0.is_empty() {
                self.exact.remove(filter);
            }
            return;
        }
        self.wildcards -= 1;
        if let Some(node) = self.find_node(filter) {
            self.nodes[node].subscribers.remove(session);
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
            if !node.children.is_empty() || !node.subscribers.0.is_empty() {
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
