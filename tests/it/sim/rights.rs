//! Rights as they should be, done the simple way: every question is answered by reading all rules.
//!
//! A world with rules has two doors, each with rules of its own or none, and users, some with names that are more than one
//! level of a topic. Rules are made here, and told to the broker as it wants them; what follows from them is found out a
//! second time, with nothing of `rmqtt::broker::rights`.

use super::client::client_id;
use super::groups::shared_filter;
use super::retained::{Author, matches};
use crate::seed::Seed;
use rmqtt::broker::rights::{Access, Accesses, Acl, Policies, Policy, Rule, Whom};
use rmqtt::topic::TopicFilter;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// Who there may be. Nobody is one user, too.
const USERS: [Option<&str>; 9] = [
    None,
    Some("a"),
    Some("A"),
    Some("0"),
    Some("+"),
    Some("#"),
    Some("a/b"),
    Some(""),
    Some("%c"),
];

/// What rules are about.
const FILTERS: [&str; 24] = [
    "#",
    "sim/#",
    "sim/+",
    "+/+",
    "sim/a/#",
    "sim/0",
    "sim/1",
    "sim/a/b",
    "sim//x",
    "$sim/#",
    "sim/%u",
    "sim/%u/#",
    "sim/%c",
    "%u/#",
    "$deal/#",
    "$deal/#",
    "$deal/b",
    "$deal/b/c",
    "$deal/d/#",
    "$deal/+",
    "$deal/a",
    "$deal/+/c",
    "$deal/%u",
    "$SYS/#",
];

const DOORS: usize = 2;

/// One rule.
#[derive(Debug, Clone)]
struct Line {
    whom: Whom,
    is_denial: bool,
    accesses: Vec<Access>,
    filter: &'static str,
}

#[derive(Debug, Default)]
struct State {
    /// By door; `None`: everything is allowed there.
    rules: Vec<Option<Vec<Line>>>,
    /// By client.
    users: Vec<Option<&'static str>>,
    /// Through which door the session of each client was reached last.
    came_by: BTreeMap<usize, usize>,
}

/// What everybody may do, as all look at it.
#[derive(Debug, Clone, Default)]
pub(super) struct Rights(Rc<RefCell<State>>);

impl Rights {
    /// Of so many clients.
    pub(super) fn new(clients: usize, seed: &mut Seed) -> Self {
        let users = (0..clients).map(|_| USERS[seed.pick(0..USERS.len())]);
        let rights = Self(Rc::new(RefCell::new(State {
            users: users.collect(),
            ..State::default()
        })));
        rights.change(seed);
        rights
    }

    /// Whether this is a world with rules.
    pub(super) fn is_ruled(&self) -> bool {
        !self.0.borrow().rules.is_empty()
    }

    /// Other rules, at every door.
    pub(super) fn change(&self, seed: &mut Seed) {
        let rules = (0..DOORS).map(|_| (!seed.one_in(8)).then(|| any_rules(seed)));
        self.0.borrow_mut().rules = rules.collect();
    }

    /// The rules as the broker wants them.
    pub(super) fn policies(&self) -> Policies {
        let state = self.0.borrow();
        let mut policies = state
            .rules
            .iter()
            .map(|lines| Some(policy(lines.as_ref()?)));
        Policies {
            everywhere: policies.next().flatten(),
            here: policies
                .enumerate()
                .map(|(at, policy)| (at + 1, policy))
                .collect(),
        }
    }

    pub(super) fn any_door(&self, seed: &mut Seed) -> Option<usize> {
        self.is_ruled().then(|| seed.pick(0..DOORS))
    }

    pub(super) fn user(&self, client: usize) -> Option<&'static str> {
        self.0.borrow().users.get(client).copied().flatten()
    }

    /// Any user that is not this client's.
    pub(super) fn any_other_user(&self, client: usize, seed: &mut Seed) -> Option<&'static str> {
        let user = self.user(client);
        let others: Vec<_> = USERS.iter().filter(|other| **other != user).collect();
        *others[seed.pick(0..others.len())]
    }

    /// From now on the rules of this door are those of the client's session.
    pub(super) fn came_by(&self, client: usize, door: Option<usize>) {
        if let Some(door) = door {
            self.0.borrow_mut().came_by.insert(client, door);
        }
    }

    /// Who a client is to those who read later what it retains.
    pub(super) fn author(&self, client: usize) -> Author {
        let door = self.0.borrow().came_by.get(&client).copied();
        (client, door)
    }

    /// Whether the client of a session may do that now.
    pub(super) fn may(&self, client: usize, access: Access, topic: &str) -> bool {
        let door = self.0.borrow().came_by.get(&client).copied();
        self.may_at(client, door, access, topic)
    }

    /// Whether a client may do that if it comes through this door.
    pub(super) fn may_at(
        &self,
        client: usize,
        door: Option<usize>,
        access: Access,
        topic: &str,
    ) -> bool {
        if access == Access::Publish && is_reserved(topic) {
            return false;
        }
        let state = self.0.borrow();
        let Some(Some(lines)) = door.map(|door| &state.rules[door]) else {
            return true;
        };
        let said = |is_denial: bool| {
            lines.iter().any(|line| {
                line.is_denial == is_denial
                    && line.accesses.contains(&access)
                    && (state.meant(line, client)).is_some_and(|filter| matches(&filter, topic))
            })
        };
        said(false) && !said(true)
    }

    /// Whether the client of a session may subscribe to that now.
    pub(super) fn may_subscribe(&self, client: usize, filter: &str) -> bool {
        let state = self.0.borrow();
        let door = state.came_by.get(&client).copied();
        let Some(Some(lines)) = door.map(|door| &state.rules[door]) else {
            return true;
        };
        let asked = shared_filter(filter).unwrap_or(filter);
        let is_named = lines.iter().any(|line| {
            let is_named = !line.is_denial && line.accesses.contains(&Access::Subscribe);
            is_named && state.is_for(line, client)
        });
        let (access, fits): (_, fn(&str, &str) -> bool) = if is_named {
            (Access::Subscribe, is_within)
        } else {
            (Access::Read, have_something_in_common)
        };
        let meant = |line: &Line| state.meant(line, client);
        let is_denied = lines.iter().any(|line| {
            let is_about = |access| line.accesses.contains(&access);
            line.is_denial
                && (is_about(access) || is_about(Access::Subscribe))
                && meant(line).is_some_and(|rule| is_within(&rule, asked))
        });
        let is_allowed = lines.iter().any(|line| {
            !line.is_denial
                && line.accesses.contains(&access)
                && meant(line).is_some_and(|rule| fits(&rule, asked))
        });
        is_allowed && !is_denied
    }
}

impl State {
    fn is_for(&self, line: &Line, client: usize) -> bool {
        let user = self.users[client];
        match &line.whom {
            Whom::Everybody => true,
            Whom::Anonymous => user.is_none(),
            Whom::User(name) => user == Some(name),
            Whom::Client(id) => *id == client_id(client),
        }
    }

    /// What the rule says of this client: its filter with the names in it. `None`: nothing.
    fn meant(&self, line: &Line, client: usize) -> Option<String> {
        let id = client_id(client);
        let names = [("%c", Some(&*id)), ("%u", self.users[client])];
        let mut filter = line.filter.to_owned();
        for (placeholder, name) in names {
            if filter.contains(placeholder) {
                let name = name?;
                if !line.is_denial && (name.is_empty() || name.contains(['+', '#', '/'])) {
                    return None;
                }
                filter = filter.replace(placeholder, name);
            }
        }
        let is_filter = TopicFilter::new(filter.clone()).is_ok();
        (is_filter && self.is_for(line, client)).then_some(filter)
    }
}

pub(super) fn is_reserved(topic: &str) -> bool {
    topic == "$SYS" || topic.starts_with("$SYS/")
}

/// Some that leave most of the traffic alive, and some of any kind.
fn any_rules(seed: &mut Seed) -> Vec<Line> {
    let mut lines = Vec::new();
    for filter in ["#", "$deal/#"] {
        if !seed.one_in(4) {
            lines.push(Line {
                whom: Whom::Everybody,
                is_denial: false,
                accesses: vec![Access::Publish, Access::Read],
                filter,
            });
        }
    }
    for _ in 0..seed.pick(0..7) {
        let accesses = [
            &[Access::Publish][..],
            &[Access::Read],
            &[Access::Read],
            &[Access::Publish, Access::Read],
            &[Access::Publish, Access::Read],
            &[Access::Subscribe, Access::Read],
        ];
        lines.push(Line {
            whom: any_whom(seed),
            is_denial: seed.one_in(2),
            accesses: accesses[seed.pick(0..accesses.len())].to_vec(),
            filter: FILTERS[seed.pick(0..FILTERS.len())],
        });
    }
    lines
}

fn any_whom(seed: &mut Seed) -> Whom {
    match seed.pick(0..6) {
        0 => Whom::Anonymous,
        1 => Whom::Client(client_id(seed.pick(0..3))),
        2 => {
            let name = USERS[seed.pick(1..USERS.len())];
            Whom::User(name.unwrap_or_default().to_owned())
        }
        _ => Whom::Everybody,
    }
}

fn policy(lines: &[Line]) -> Policy {
    let mut acl = Acl::new();
    for line in lines {
        let filter = TopicFilter::new(line.filter).expect("a filter");
        let rule = Rule::new(filter, Accesses::of(&line.accesses), line.is_denial);
        acl.extend(line.whom.clone(), [rule]);
    }
    Policy::Rules(Arc::new(acl))
}

fn levels(filter: &str) -> Vec<&str> {
    filter.split('/').collect()
}

/// Wildcards at the first level know nothing of topics that begin with `$`.
fn are_apart(wild: &str, other: &str) -> bool {
    wild.starts_with(['+', '#']) && other.starts_with('$')
}

/// Whether all that `inner` matches is matched by `outer`.
fn is_within(outer: &str, inner: &str) -> bool {
    fn all(outer: &[&str], inner: &[&str]) -> bool {
        match (outer, inner) {
            (["#"], _) | ([], []) => true,
            (_, ["#", ..]) => false,
            (["+", outer @ ..], [_, inner @ ..]) => all(outer, inner),
            ([one, outer @ ..], [other, inner @ ..]) => one == other && all(outer, inner),
            _ => false,
        }
    }
    !are_apart(outer, inner) && all(&levels(outer), &levels(inner))
}

/// Whether there is a topic that both match.
fn have_something_in_common(one: &str, other: &str) -> bool {
    fn any(one: &[&str], other: &[&str]) -> bool {
        match (one, other) {
            (["#"], _) | (_, ["#"]) | ([], []) => true,
            ([first, one @ ..], [second, other @ ..]) => {
                (first == second || *first == "+" || *second == "+") && any(one, other)
            }
            _ => false,
        }
    }
    !are_apart(one, other) && !are_apart(other, one) && any(&levels(one), &levels(other))
}
