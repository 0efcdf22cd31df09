//! Filters and one name, with zero bytes between: what is valid and what matches agrees with the naive way, one filter
//! at a time and all of them together in the broker's tree.

use rmqtt::broker::router::SessionKey;
use rmqtt::broker::subscriptions::{Frontier, Match, Subscription, Subscriptions};
use rmqtt::topic::{LENGTH_MAX, TopicFilter, TopicName};
use std::collections::BTreeSet;

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (filters, name) = text.rsplit_once('\0').unwrap_or((text, text));
    let parsed = TopicName::new(name.to_owned());
    assert_eq!(parsed.is_ok(), is_name(name), "{name:?}");
    let filters: Vec<_> = filters.split('\0').filter_map(parse).collect();
    let Ok(name) = parsed else { return };
    for filter in &filters {
        assert_eq!(filter.matches(&name), matches(filter, &name), "{filter:?}");
    }
    check_tree(&filters, &name);
}

fn parse(text: &str) -> Option<TopicFilter> {
    let parsed = TopicFilter::new(text.to_owned());
    assert_eq!(parsed.is_ok(), is_filter(text), "{text:?}");
    let filter = parsed.ok()?;
    assert_eq!(filter.compact(), filter);
    assert_eq!(filter.has_wildcard(), text.contains(['+', '#']));
    let share = share(text);
    assert_eq!(filter.share().is_err(), share == Share::Bad, "{text:?}");
    if let (Ok(Some((name, inner))), Share::Of(wanted_name, wanted_inner)) = (filter.share(), share)
    {
        assert_eq!((name, inner.as_str()), (wanted_name, wanted_inner));
    }
    Some(filter)
}

/// The tree finds whom the list finds, also when half of them have left, and keeps nothing when all have.
fn check_tree(filters: &[TopicFilter], name: &TopicName) {
    let plain = |filter: &&TopicFilter| share(filter.as_str()) == Share::None;
    let filters: Vec<_> = filters.iter().filter(plain).collect();
    let mut tree = Subscriptions::default();
    for (number, filter) in filters.iter().enumerate() {
        tree.insert(SessionKey(number), filter, Subscription::default());
    }
    for divisor in [1, 2] {
        let mut found = BTreeSet::new();
        tree.matching(name, &mut Frontier::default(), |matched| {
            if let Match::Session(session, _) = matched {
                found.insert(session.0);
            }
        });
        let present = (0..filters.len()).filter(|number| number % divisor == 0);
        let wanted = present.filter(|number| matches(filters[*number], name));
        assert_eq!(found, wanted.collect(), "{filters:?} for {name:?}");
        for (number, filter) in filters.iter().enumerate() {
            let is_there = number % divisor == 0;
            if divisor == 2 || number % 2 == 1 {
                assert_eq!(tree.remove(SessionKey(number), filter.as_str()), is_there);
            }
        }
    }
    assert_eq!((tree.len(), tree.node_count()), (0, 0));
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= LENGTH_MAX && !text.contains('\0')
}

fn is_name(text: &str) -> bool {
    is_text(text) && !text.contains(['+', '#'])
}

fn is_filter(text: &str) -> bool {
    let levels: Vec<_> = text.split('/').collect();
    let is_level = |(number, level): (usize, &&str)| match *level {
        "+" => true,
        "#" => number + 1 == levels.len(),
        level => !level.contains(['+', '#']),
    };
    is_text(text) && levels.iter().enumerate().all(is_level)
}

#[derive(Debug, PartialEq, Eq)]
enum Share<'a> {
    None,
    Of(&'a str, &'a str),
    Bad,
}

fn share(filter: &str) -> Share<'_> {
    let Some(rest) = filter.strip_prefix("$share/") else {
        return Share::None;
    };
    match rest.split_once('/') {
        Some((name, inner)) if is_name(name) && is_filter(inner) => Share::Of(name, inner),
        _ => Share::Bad,
    }
}

fn matches(filter: &TopicFilter, name: &TopicName) -> bool {
    let is_hidden = name.as_str().starts_with('$') && filter.as_str().starts_with(['+', '#']);
    let levels: Vec<_> = filter.as_str().split('/').collect();
    let names: Vec<_> = name.as_str().split('/').collect();
    !is_hidden && levels_match(&levels, &names)
}

/// Level by level and from the definition, with no care for speed.
fn levels_match(filter: &[&str], name: &[&str]) -> bool {
    match (filter, name) {
        (["#"], _) | ([], []) => true,
        ([wanted, filter @ ..], [level, name @ ..]) => {
            (*wanted == "+" || wanted == level) && levels_match(filter, name)
        }
        _ => false,
    }
}
