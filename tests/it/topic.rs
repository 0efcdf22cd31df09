//! Topic names and filters: what is valid, and what matches.

use proptest::prelude::*;
use rmqtt::topic::{LENGTH_MAX, TopicError, TopicFilter, TopicName, TopicTemplate};

fn matches(filter: &str, name: &str) -> bool {
    let filter = TopicFilter::new(filter.to_owned()).expect("a filter");
    let name = TopicName::new(name.to_owned()).expect("a name");
    filter.matches(&name)
}

/// Level by level and from the definition, with no care for speed.
fn naive(filter: &[&str], name: &[&str]) -> bool {
    match (filter, name) {
        (["#"], _) | ([], []) => true,
        ([wanted, filter @ ..], [level, name @ ..]) => {
            (*wanted == "+" || wanted == level) && naive(filter, name)
        }
        _ => false,
    }
}

/// spec(4): MQTT-4.7.1-2, MQTT-4.7.1-3, MQTT-4.7.3-4
/// spec(5): MQTT-4.7.1-1, MQTT-4.7.1-2, MQTT-4.7.3-4
#[test]
fn wildcards_match_whole_levels() {
    for (filter, yes, no) in [
        (
            "a/#",
            &["a", "a/", "a/b", "a/b/c"][..],
            &["ab", "/a", "A/b"][..],
        ),
        ("a/+", &["a/b", "a/"], &["a", "a/b/c"]),
        ("+", &["a", " "], &["a/b", "/a", "$SYS"]),
        ("+/+", &["a/b", "/a", "a/", "/"], &["a", "a/b/c", "$SYS/x"]),
        ("+/#", &["a", "/a", "a/b/c"], &["$SYS/x"]),
        ("a/+/c", &["a/b/c", "a//c"], &["a/c", "a/b/d"]),
        ("#", &["a", "/", "a/b", "a$"], &["$SYS/x", "$"]),
        ("$SYS/#", &["$SYS", "$SYS/x"], &["SYS/x", "$sys/x"]),
        ("$SYS/+", &["$SYS/x"], &["$SYS", "$SYS/x/y"]),
        ("a", &["a"], &["A", "a/", "/a", "ä"]),
        ("ä/#", &["ä/ö"], &["a\u{308}/ö"]),
    ] {
        for name in yes {
            assert!(matches(filter, name), "{filter} {name}");
        }
        for name in no {
            assert!(!matches(filter, name), "{filter} {name}");
        }
    }
}

#[test]
fn a_name_says_what_is_wrong_with_it_and_where() {
    let fault = |text: &str| TopicName::new(text.to_owned()).unwrap_err();
    assert_eq!(fault(""), TopicError::Empty);
    assert_eq!(fault("a\0"), TopicError::Nul(1));
    let wildcard = |wildcard, at| TopicError::WildcardInName { wildcard, at };
    assert_eq!(fault("a/+"), wildcard('+', 2));
    assert_eq!(fault("ä#"), wildcard('#', 2));
    let long = "x".repeat(LENGTH_MAX + 1);
    assert_eq!(fault(&long), TopicError::TooLong(LENGTH_MAX + 1));
    for good in [
        "a",
        "/",
        "//",
        " ",
        "$SYS/x",
        "\u{FEFF}",
        "\u{1}",
        &long[1..],
    ] {
        assert_eq!(TopicName::new(good.to_owned()).unwrap().as_str(), good);
    }
}

#[test]
fn a_filter_says_what_is_wrong_with_it_and_where() {
    let fault = |text: &str| TopicFilter::new(text.to_owned()).unwrap_err();
    assert_eq!(fault(""), TopicError::Empty);
    assert_eq!(fault("a/\0"), TopicError::Nul(2));
    for (text, at) in [
        ("#/a", 0),
        ("a#", 1),
        ("a/#b", 2),
        ("a/b#", 3),
        ("##", 0),
        ("#/", 0),
    ] {
        assert_eq!(fault(text), TopicError::MisplacedHash(at), "{text}");
    }
    for (text, at) in [("a+", 1), ("+a", 0), ("a/b+/c", 3), ("++", 0)] {
        assert_eq!(fault(text), TopicError::MisplacedPlus(at), "{text}");
    }
    for good in [
        "#", "+", "+/+", "/", "/#", "a//+/#", "+/a/#", "$share", "$share/g",
    ] {
        let filter = TopicFilter::new(good.to_owned()).unwrap();
        assert_eq!(filter.has_wildcard(), good.contains(['+', '#']));
    }
}

#[test]
fn a_shared_filter_has_a_name_and_a_filter() {
    let share = |text: &str| {
        let filter = TopicFilter::new(text.to_owned()).unwrap();
        filter
            .share()
            .map(|share| share.map(|(name, filter)| (name.to_owned(), filter.as_str().to_owned())))
    };
    let shared = |name: &str, filter: &str| Ok(Some((name.to_owned(), filter.to_owned())));
    assert_eq!(share("$share/g/a/+"), shared("g", "a/+"));
    assert_eq!(share("$share/g//"), shared("g", "/"));
    assert_eq!(share("$share/g/#"), shared("g", "#"));
    for bad in [
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//a",
        "$share/+/a",
        "$share/#",
    ] {
        assert_eq!(share(bad), Err(TopicError::BadShare), "{bad}");
    }
    for plain in ["$share", "$shared/g/a", "a/$share/g/b"] {
        assert_eq!(share(plain), Ok(None), "{plain}");
    }
}

#[test]
fn a_very_deep_topic_is_matched_without_recursion() {
    let deep = "/".repeat(LENGTH_MAX);
    assert!(matches(&deep, &deep));
    assert!(matches("#", &deep));
    assert!(!matches(&deep[1..], &deep));
}

proptest! {
    #[test]
    fn matching_agrees_with_the_naive_way(
        filter in "([ab+$]?/){0,4}[ab+#$]?",
        name in "([ab$]{0,2}/){0,4}[ab$]?",
    ) {
        if let (Ok(filter), Ok(name)) = (TopicFilter::new(filter), TopicName::new(name)) {
            let levels: Vec<_> = filter.as_str().split('/').collect();
            let names: Vec<_> = name.as_str().split('/').collect();
            let hidden = name.as_str().starts_with('$') && filter.as_str().starts_with(['+', '#']);
            prop_assert_eq!(filter.matches(&name), !hidden && naive(&levels, &names));
        }
    }

    #[test]
    fn a_valid_name_is_a_filter_that_matches_itself_alone(name in "[^+#\\x00]{1,20}", other in "[^+#\\x00]{1,20}") {
        prop_assert!(matches(&name, &name));
        prop_assert_eq!(matches(&name, &other), name == other);
    }
}

#[test]
fn a_template_counts_levels_behind_the_name_of_a_share() {
    let template = TopicTemplate::new("$share/group/plant/{site}/+/{sensor}");
    let template = template.unwrap();
    assert_eq!(template.filter().as_str(), "$share/group/plant/+/+/+");
    assert_eq!(template.names().collect::<Vec<_>>(), ["site", "sensor"]);
    let params = template.params("plant/7/line/heat");
    assert_eq!(params, Some(vec![("site", "7"), ("sensor", "heat")]));
    assert_eq!(template.params("plant/7/line"), None);
}
