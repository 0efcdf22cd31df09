//! The last value of each topic that wants one kept.
//!
//! Owns the store, its bounds and the walk that finds what a filter matches, in slices and in the order of the topics'
//! levels. Like the filters, the topics lie in a slab: depth costs memory, never stack, and an emptied branch is freed.

mod author;
mod pages;

pub use author::Author;

use crate::broker::snapshot::Shift;
use crate::broker::{BrokerError, Limit, Limits};
use crate::message::Message;
use crate::topic::{TopicFilter, TopicName};
use pages::Pages;
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Range};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A message that is kept, and until when it is of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedMessage {
    /// As it was published, with its retain flag.
    pub message: Message,
    /// `None`: for ever.
    pub expires_at: Option<Instant>,
    /// `None`: the broker itself.
    pub author: Option<Arc<Author>>,
}

impl RetainedMessage {
    fn is_of_use(&self, now: Instant) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }
}

/// So much of the store is looked at in one go, whatever is found: others must not wait while somebody's wildcards meet
/// a million topics and match none.
pub const NODES_MAX: usize = 2048;

/// Some of what a filter matches.
#[derive(Debug)]
pub struct Slice {
    /// In the order of their levels.
    pub found: Vec<RetainedMessage>,
    /// Where to go on; `None`: there is no more.
    pub rest: Option<Box<str>>,
}

/// What a node costs the one above, in bytes, and a message beside its content.
const NODE_COST: usize = 96;

type NodeId = usize;
const ROOT: NodeId = 0;

#[derive(Debug, Clone, Default)]
struct Node {
    parent: NodeId,
    level: Box<str>,
    children: BTreeMap<Box<str>, NodeId>,
    value: Option<RetainedMessage>,
}

/// The retained messages, by topic.
#[derive(Debug, Clone)]
pub struct Retained {
    /// Shared with snapshots, page by page.
    nodes: Pages<Node>,
    free: Vec<NodeId>,
    expiries: BTreeSet<(Instant, TopicName)>,
    count: usize,
    bytes: usize,
    count_max: usize,
    bytes_max: usize,
    /// Large payloads, which are in `bytes` and charged elsewhere.
    large: usize,
    /// Of the levels of all topics, as they lie in the nodes.
    level_bytes: usize,
    /// Of the names of authors, as if each message had its own.
    author_bytes: usize,
    /// Whether the broker has room for more.
    may_grow: bool,
}

impl Retained {
    /// An empty store with these bounds.
    pub fn new(limits: &Limits) -> Self {
        Self {
            nodes: Pages::of(Node::default()),
            free: Vec::new(),
            expiries: BTreeSet::new(),
            count: 0,
            bytes: 0,
            count_max: limits.retained_messages_max,
            bytes_max: limits.retained_bytes_max,
            large: 0,
            level_bytes: 0,
            author_bytes: 0,
            may_grow: true,
        }
    }

    /// The same messages where it is another hour, and with other bounds: what is over them stays.
    #[must_use]
    pub fn moved(&self, limits: &Limits, shift: Shift) -> Self {
        let mut moved = Self {
            count_max: limits.retained_messages_max,
            bytes_max: limits.retained_bytes_max,
            expiries: BTreeSet::new(),
            ..self.clone()
        };
        for (at, topic) in &self.expiries {
            let expires_at = shift.moved(Some(*at));
            if let Some(at) = expires_at {
                moved.expiries.insert((at, topic.clone()));
            }
            if let Some(node) = moved.find(topic.as_str())
                && let Some(value) = &mut moved.nodes[node].value
            {
                value.expires_at = expires_at;
            }
        }
        moved
    }

    /// Says whether the broker has room for more than there is.
    pub fn let_grow(&mut self, may_grow: bool) {
        self.may_grow = may_grow;
    }

    /// Keeps a message of the broker's own, as [`Retained::set_by`] does.
    ///
    /// # Errors
    /// The same.
    pub fn set(&mut self, message: &Message, now: Instant) -> Result<(), BrokerError> {
        self.set_by(message, None, now)
    }

    /// Keeps the message, which should be in memory of its own, as its topic's last value; an empty payload deletes the value instead.
    ///
    /// # Errors
    /// [`BrokerError::RetainedFull`]; then nothing has changed.
    // spec(4): MQTT-3.3.1-5, MQTT-3.3.1-10, MQTT-3.3.1-11
    // spec(5): MQTT-3.3.1-5, MQTT-3.3.1-6, MQTT-3.3.1-7
    pub fn set_by(
        &mut self,
        message: &Message,
        author: Option<Arc<Author>>,
        now: Instant,
    ) -> Result<(), BrokerError> {
        if message.payload.is_empty() {
            self.delete(&message.topic);
            return Ok(());
        }
        let old = self
            .find(message.topic.as_str())
            .and_then(|node| self.nodes[node].value.as_ref());
        let old_bytes = old.map_or(0, |old| old.message.size());
        if old.is_none() && self.count >= self.count_max {
            return Err(BrokerError::RetainedFull {
                limit: Limit::RetainedMessagesMax,
            });
        }
        if self.bytes - old_bytes + message.size() > self.bytes_max {
            return Err(BrokerError::RetainedFull {
                limit: Limit::RetainedBytesMax,
            });
        }
        if !self.may_grow && message.size() > old_bytes {
            return Err(BrokerError::RetainedFull {
                limit: Limit::HeldBytesMax,
            });
        }
        self.delete(&message.topic);
        let message = message.clone();
        let expires_at = expiry(&message, now);
        if let Some(at) = expires_at {
            self.expiries.insert((at, message.topic.clone()));
        }
        self.count += 1;
        self.bytes += message.size();
        self.large += message.large();
        self.author_bytes += author.as_ref().map_or(0, |author| author.size());
        let node = self.make_node(message.topic.as_str());
        self.nodes[node].value = Some(RetainedMessage {
            message,
            expires_at,
            author,
        });
        Ok(())
    }

    /// Forgets a topic's value.
    pub fn delete(&mut self, topic: &TopicName) {
        let Some(mut id) = self.find(topic.as_str()) else {
            return;
        };
        if let Some(old) = self.nodes[id].value.take() {
            self.count -= 1;
            self.bytes -= old.message.size();
            self.large -= old.message.large();
            self.author_bytes -= old.author.map_or(0, |author| author.size());
            if let Some(at) = old.expires_at {
                self.expiries.remove(&(at, old.message.topic));
            }
        }
        while id != ROOT {
            let node = &self.nodes[id];
            if node.value.is_some() || !node.children.is_empty() {
                return;
            }
            let Node { parent, level, .. } = std::mem::take(&mut self.nodes[id]);
            self.free.push(id);
            self.level_bytes -= level.len();
            self.nodes[parent].children.remove(&level);
            id = parent;
        }
        if self.free.len() + 1 == self.nodes.len() {
            // Nothing is left: what a flood took is given back.
            self.nodes = Pages::of(Node::default());
            self.free = Vec::new();
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// About how many bytes they hold.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// About how many bytes all of it takes, beside large payloads. A level lies in its node and in that above.
    pub fn held(&self) -> usize {
        let nodes = self.node_count() * (size_of::<Node>() + NODE_COST);
        self.bytes - self.large + 2 * self.level_bytes + self.author_bytes + nodes
    }

    /// Nodes in use, beside the root.
    pub fn node_count(&self) -> usize {
        self.nodes.len() - self.free.len() - 1
    }

    /// When the next one expires.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Forgets at most `limit` of those that have expired, and says how many.
    pub fn expire(&mut self, now: Instant, limit: usize) -> usize {
        let mut expired = 0;
        while expired < limit {
            match self.expiries.first() {
                Some((at, topic)) if *at <= now => {
                    let topic = topic.clone();
                    self.delete(&topic);
                }
                _ => break,
            }
            expired += 1;
        }
        expired
    }

    /// Finds up to `limit` messages that the filter matches and that are of use at `now`, in the order of their levels,
    /// behind `after`: where the slice before ended. Looks at [`NODES_MAX`] levels of topics at most.
    ///
    /// The store may change between two slices: a value set behind `after` is found, one before it is not, which is why
    /// live messages and slices go into a session's queue in turn.
    pub fn matching(
        &self,
        filter: &TopicFilter,
        after: Option<&str>,
        limit: usize,
        now: Instant,
    ) -> Slice {
        let mut walk = Walk::new(self, filter, after);
        let mut found = Vec::new();
        while let Some(value) = walk.next() {
            found.extend(value.filter(|it| it.is_of_use(now)).cloned());
            if found.len() >= limit || walk.nodes >= NODES_MAX {
                let rest = Some(walk.path());
                return Slice { found, rest };
            }
        }
        Slice { found, rest: None }
    }

    /// All of them, by the levels of their topics.
    pub fn all(&self, now: Instant) -> Vec<Message> {
        let mut everything = Walk {
            store: self,
            pattern: Vec::new(),
            after: Vec::new(),
            below_dollar: true,
            nodes: 0,
            stack: Vec::new(),
        };
        everything.enter("", ROOT, true, true);
        everything
            .flatten()
            .filter(|value| value.is_of_use(now))
            .map(|value| value.message.clone())
            .collect()
    }

    fn find(&self, topic: &str) -> Option<NodeId> {
        topic.split('/').try_fold(ROOT, |node, level| {
            self.nodes[node].children.get(level).copied()
        })
    }

    fn make_node(&mut self, topic: &str) -> NodeId {
        let mut at = ROOT;
        for level in topic.split('/') {
            if let Some(child) = self.nodes[at].children.get(level) {
                at = *child;
                continue;
            }
            let node = Node {
                parent: at,
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
            self.nodes[at].children.insert(level.into(), id);
            self.level_bytes += level.len();
            at = id;
        }
        at
    }
}

/// When a message that arrives at `now` is of no more use.
pub fn expiry(message: &Message, now: Instant) -> Option<Instant> {
    let seconds = message.properties().message_expiry_interval?;
    now.checked_add(Duration::from_secs(u64::from(seconds)))
}

/// One node under way: its children still to be met.
struct Step<'a> {
    level: &'a str,
    children: Range<'a, Box<str>, NodeId>,
    /// Whether the path to this node is that of the topic to start behind.
    on_path: bool,
    /// Whether all below matches: a `#` has been passed.
    all: bool,
}

/// A depth-first walk that can start behind a topic. Says of each node what is to be reported of it.
struct Walk<'a> {
    store: &'a Retained,
    pattern: Vec<&'a str>,
    after: Vec<&'a str>,
    /// Whether wildcards of the first level see topics that start with `$`.
    below_dollar: bool,
    /// How many it has met, but for those on the way to where it starts.
    nodes: usize,
    stack: Vec<Step<'a>>,
}

impl<'a> Walk<'a> {
    fn new(store: &'a Retained, filter: &'a TopicFilter, after: Option<&'a str>) -> Self {
        let mut walk = Self {
            store,
            pattern: filter.as_str().split('/').collect(),
            after: after.map_or_else(Vec::new, |path| path.split('/').collect()),
            below_dollar: false,
            nodes: 0,
            stack: Vec::new(),
        };
        walk.enter("", ROOT, true, false);
        walk
    }

    /// The levels down to the node that was met last.
    fn path(&self) -> Box<str> {
        let levels: Vec<_> = self.stack.iter().skip(1).map(|step| step.level).collect();
        levels.join("/").into()
    }

    /// Goes down to a node; its children come next. Returns its value if that is to be reported.
    fn enter(
        &mut self,
        level: &'a str,
        id: NodeId,
        on_path: bool,
        all: bool,
    ) -> Option<&'a RetainedMessage> {
        let node = &self.store.nodes[id];
        let depth = self.stack.len();
        let wanted = self.pattern.get(depth).copied();
        let all = all || wanted == Some("#");
        let is_match = all || wanted.is_none();
        // On the path of the topic to start behind, what is before it and the topic itself have been reported.
        let is_new = !on_path;
        self.nodes += usize::from(is_new);
        let first = match self.after.get(depth) {
            Some(level) if on_path => Bound::Included(*level),
            _ => Bound::Unbounded,
        };
        let (from, to) = match wanted {
            _ if all => (first, Bound::Unbounded),
            Some("+") => (first, Bound::Unbounded),
            Some(level) => (Bound::Included(level), Bound::Included(level)),
            // Nothing matches below.
            None => (Bound::Included(""), Bound::Excluded("")),
        };
        self.stack.push(Step {
            level,
            children: node.children.range::<str, _>((from, to)),
            on_path,
            all,
        });
        node.value.as_ref().filter(|_| is_match && is_new)
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Option<&'a RetainedMessage>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let depth = self.stack.len().checked_sub(1)?;
            let step = self.stack.last_mut()?;
            let Some((level, child)) = step.children.next() else {
                if depth == 0 {
                    return None;
                }
                self.stack.pop();
                continue;
            };
            let (all, on_path) = (step.all, step.on_path);
            // spec(4): MQTT-4.7.2-1
            // spec(5): MQTT-4.7.2-1
            if depth == 0
                && !self.below_dollar
                && level.starts_with('$')
                && matches!(self.pattern.first(), Some(&"+" | &"#"))
            {
                continue;
            }
            let on_path = on_path && self.after.get(depth) == Some(&level.as_ref());
            return Some(self.enter(level, *child, on_path, all));
        }
    }
}
