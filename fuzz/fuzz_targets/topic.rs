//! A filter and a name, with a zero byte between: matching agrees with the naive way, and what is valid stays valid.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rmqtt::topic::{TopicFilter, TopicName};

/// Level by level and from the definition, with no care for speed.
fn matches(filter: &[&str], name: &[&str]) -> bool {
    match (filter, name) {
        (["#"], _) => true,
        ([], []) => true,
        ([wanted, filter @ ..], [level, name @ ..]) => {
            (*wanted == "+" || wanted == level) && matches(filter, name)
        }
        _ => false,
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (filter, name) = text.split_once('\0').unwrap_or((text, text));
    let (Ok(filter), Ok(name)) = (
        TopicFilter::new(filter.to_owned()),
        TopicName::new(name.to_owned()),
    ) else {
        return;
    };
    assert_eq!(filter.compact(), filter);
    assert!(
        !filter
            .share()
            .is_ok_and(|share| share.is_some_and(|(name, _)| name.is_empty()))
    );
    let hidden = name.as_str().starts_with('$') && filter.as_str().starts_with(['+', '#']);
    let levels: Vec<_> = filter.as_str().split('/').collect();
    let names: Vec<_> = name.as_str().split('/').collect();
    assert_eq!(filter.matches(&name), !hidden && matches(&levels, &names));
});
