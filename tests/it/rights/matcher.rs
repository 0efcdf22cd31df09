//! The rules by themselves, beside a naive reading of them.

use super::{rule, rules};
use crate::seed::{Seed, each};
use rmqtt::broker::rights::{Access, Acl, Rights, Whom, covers, overlaps};
use rmqtt::topic::{TopicFilter, TopicName};

const LEVELS: [&str; 6] = ["a", "b", "", "+", "$s", "%c"];

fn topic(text: &str) -> TopicName {
    TopicName::new(text.to_owned()).expect("a topic")
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text.to_owned()).expect("a filter")
}

fn any_filter(seed: &mut Seed) -> String {
    loop {
        let count = seed.pick(1..4);
        let mut levels: Vec<_> = (0..count).map(|_| LEVELS[seed.pick(0..6)]).collect();
        if seed.one_in(3) {
            levels.push("#");
        }
        let text = levels.join("/");
        if TopicFilter::new(text.clone()).is_ok() {
            return text;
        }
    }
}

/// All topics of up to four levels out of these.
fn all_topics() -> Vec<TopicName> {
    let mut all = Vec::new();
    let mut last = vec![String::new()];
    for depth in 0..4 {
        let levels = ["a", "b", "", "$s", "me"].iter();
        last = levels
            .flat_map(|level| {
                last.iter().map(move |before| match depth {
                    0 => (*level).to_owned(),
                    _ => format!("{before}/{level}"),
                })
            })
            .collect();
        let named = last.iter().filter(|text| !text.is_empty());
        all.extend(named.map(|text| topic(text)));
    }
    all
}

#[test]
fn rights_are_what_a_naive_reading_of_the_rules_says() {
    let topics = all_topics();
    each(150, |mut seed| {
        let mut acl = Acl::new();
        let mut naive = Vec::new();
        let whoms = [
            Whom::Everybody,
            Whom::Anonymous,
            Whom::User("me".into()),
            Whom::User("you".into()),
            Whom::Client("me".into()),
        ];
        for _ in 0..seed.pick(0..12) {
            let whom = &whoms[seed.pick(0..5)];
            let sign = if seed.one_in(3) { '-' } else { '+' };
            let what = ["p", "r", "pr"][seed.pick(0..3)];
            let text = any_filter(&mut seed);
            acl.extend(whom.clone(), rules(&[&format!("{sign}{what} {text}")]));
            naive.push((whom.clone(), sign, what, text));
        }
        let user = [None, Some("me")][seed.pick(0..2)];
        let rights = acl.rights("me", user);
        let is_for_me = |whom: &Whom| match whom {
            Whom::Everybody => true,
            Whom::Anonymous => user.is_none(),
            Whom::User(name) => user == Some(name),
            Whom::Client(id) => id == "me",
        };
        for topic in &topics {
            for (access, letter) in [(Access::Publish, 'p'), (Access::Read, 'r')] {
                let says = |wanted: char| {
                    naive.iter().any(|(whom, sign, what, text)| {
                        *sign == wanted
                            && is_for_me(whom)
                            && what.contains(letter)
                            && filter(&text.replace("%c", "me")).matches(topic)
                    })
                };
                let expected = says('+') && !says('-');
                assert_eq!(
                    rights.allow(access, topic),
                    expected,
                    "{letter} {topic}: {naive:?}"
                );
                let (is_allowed, why) = rights.explain(access, topic);
                assert_eq!(
                    (is_allowed, why.is_some()),
                    (expected, says('+') || says('-'))
                );
            }
        }
    });
}

#[test]
fn a_filter_is_within_another_or_shares_a_topic_with_it_as_their_topics_say() {
    let topics = all_topics();
    each(300, |mut seed| {
        let (one, other) = (any_filter(&mut seed), any_filter(&mut seed));
        let (first, second) = (filter(&one), filter(&other));
        let both = |topic: &&TopicName| first.matches(topic) && second.matches(topic);
        let is_shared = topics.iter().any(|topic| both(&topic));
        // They match the empty name, which is no topic.
        let is_empty = |text: &String| matches!(text.as_str(), "+" | "#" | "/#" | "+/#");
        let has_placeholder = one.contains('%') || other.contains('%');
        if !(has_placeholder || is_empty(&one) && is_empty(&other)) {
            assert_eq!(overlaps(&one, &other), is_shared, "{one} and {other}");
        }
        let is_within = topics
            .iter()
            .all(|topic| !second.matches(topic) || first.matches(topic));
        // To the safe side: some that are within another are not found to be.
        if covers(&one, &other) {
            assert!(is_within, "{other} within {one}");
        }
    });
}

#[test]
fn a_filter_is_within_itself_and_what_is_wider() {
    for (outer, inner) in [
        ("a/b", "a/b"),
        ("a/+", "a/b"),
        ("a/+", "a/+"),
        ("a/#", "a"),
        ("a/#", "a/+/#"),
        ("#", "+/x"),
        ("#", "#"),
        ("$SYS/#", "$SYS/broker/+"),
    ] {
        assert!(covers(outer, inner), "{inner} within {outer}");
    }
    for (outer, inner) in [
        ("a/+", "a/#"),
        ("a/b", "a/+"),
        ("a/+/#", "a/#"),
        ("#", "$SYS/#"),
        ("+/#", "$SYS/x"),
        ("a", "a/"),
        ("a", "A"),
    ] {
        assert!(!covers(outer, inner), "{inner} within {outer}");
    }
}

fn of(lines: &[&str], client_id: &str, user: Option<&str>) -> Rights {
    let mut acl = Acl::new();
    acl.extend(Whom::Everybody, rules(lines));
    acl.rights(client_id, user)
}

#[test]
fn no_rules_allow_nothing() {
    let rights = Acl::new().rights("id", Some("user"));
    assert!(!rights.may_publish(&topic("a")) && !rights.may_read(&topic("a")));
    assert!(!rights.may_subscribe(&filter("a")));
}

/// CVE-2017-7650.
#[test]
fn a_name_with_a_wildcard_or_a_slash_widens_no_pattern() {
    let secret = topic("devices/other/up");
    for name in ["+", "#", "+/up", "other/up", "other\u{1}", "", "#/", "o/+"] {
        for pattern in [
            "+pr devices/%c/up",
            "+pr devices/%c/#",
            "+pr devices/%c",
            "+pr %c/#",
        ] {
            let rights = of(&[pattern], name, None);
            assert!(!rights.may_read(&secret), "{name:?} {pattern}");
            assert!(!rights.may_publish(&secret), "{name:?} {pattern}");
            let by_user = of(&[&pattern.replace("%c", "%u")], "id", Some(name));
            assert!(!by_user.may_read(&secret), "{name:?} {pattern}");
        }
    }
}

#[test]
fn a_name_with_a_placeholder_in_it_stays_what_it_is() {
    let rights = of(&["+pr %c/%u"], "%u", Some("bob"));
    assert!(rights.may_publish(&topic("%u/bob")));
    assert!(!rights.may_publish(&topic("bob/bob")));
}

#[test]
fn a_pattern_denies_by_the_name_as_it_is() {
    let rights = of(&["+pr #", "-pr private/%c/#"], "a/b", None);
    assert!(!rights.may_read(&topic("private/a/b/c")));
    assert!(rights.may_read(&topic("private/a")));
}

#[test]
fn a_pattern_for_users_says_nothing_of_who_is_none() {
    let rights = of(&["+pr users/%u/#", "+pr all"], "id", None);
    assert!(!rights.may_publish(&topic("users/%u/a")) && !rights.may_publish(&topic("users//a")));
    assert!(rights.may_publish(&topic("all")));
}

#[test]
fn topics_are_compared_byte_for_byte() {
    let rights = of(&["+pr plant/caf\u{e9}/a"], "id", None);
    assert!(rights.may_publish(&topic("plant/caf\u{e9}/a")));
    for other in [
        "plant/cafe\u{301}/a",
        "Plant/caf\u{e9}/a",
        "plant//caf\u{e9}/a",
        "plant/caf\u{e9}/a/",
        "/plant/caf\u{e9}/a",
        "plant/caf\u{e9}/a ",
        "plant/./caf\u{e9}/a",
        "plant/caf\u{e9}\u{200b}/a",
        "plant/caf\u{ff45}/a",
    ] {
        assert!(!rights.may_publish(&topic(other)), "{other:?}");
    }
}

#[test]
fn wildcards_open_no_topic_that_begins_with_a_dollar_sign() {
    let rights = of(&["+pr #", "+pr +/a"], "id", None);
    assert!(!rights.may_read(&topic("$SYS/broker/clients")));
    assert!(!rights.may_read(&topic("$own/a")));
    assert!(!rights.may_subscribe(&filter("$SYS/#")));
    assert!(of(&["+r $SYS/#"], "id", None).may_read(&topic("$SYS/broker/clients")));
}

#[test]
fn a_name_that_begins_with_a_dollar_sign_opens_no_such_topic_either() {
    let uptime = topic("$SYS/broker/uptime");
    for (pattern, name) in [
        ("+prs %c/#", "$SYS"),
        ("+prs %c%u/#", "$"),
        ("+prs %c/+/uptime", "$SYS"),
    ] {
        let rights = of(&[pattern], name, Some("SYS"));
        assert!(!rights.may_read(&uptime), "{pattern}");
        assert!(!rights.may_publish(&uptime), "{pattern}");
        assert!(!rights.may_subscribe(&filter("$SYS/#")), "{pattern}");
    }
    // Below the front it is a name like others, and who writes it there means it.
    assert!(of(&["+pr own/%c"], "$SYS", None).may_read(&topic("own/$SYS")));
    assert!(of(&["+pr $own/%c"], "$SYS", None).may_read(&topic("$own/$SYS")));
    assert!(!of(&["+pr $SYS/#", "-pr %c/#"], "$SYS", None).may_read(&uptime));
}

#[test]
fn a_filter_is_granted_if_it_may_bring_something() {
    let rights = of(&["+r plant/#", "-r plant/secret/#"], "id", None);
    for granted in ["plant/#", "#", "+/7", "plant/+/+", "plant/7"] {
        assert!(rights.may_subscribe(&filter(granted)), "{granted}");
    }
    for refused in [
        "other",
        "plant/secret/#",
        "plant/secret/+",
        "$SYS/#",
        "Plant/#",
    ] {
        assert!(!rights.may_subscribe(&filter(refused)), "{refused}");
    }
}

#[test]
fn where_rules_name_filters_only_what_is_within_them_is_granted() {
    let rights = of(&["+r #", "+s plant/+/t", "-s plant/9/t"], "id", None);
    assert!(rights.may_subscribe(&filter("plant/7/t")));
    assert!(rights.may_subscribe(&filter("plant/+/t")));
    for refused in ["#", "plant/#", "plant/+/+", "plant/9/t", "plant/7"] {
        assert!(!rights.may_subscribe(&filter(refused)), "{refused}");
    }
}

#[test]
fn the_rule_that_decides_can_be_told() {
    let rights = of(&["+pr plant/%c/#", "-r plant/+/secret"], "7", None);
    let why = |access, text| {
        let (is_allowed, rule) = rights.explain(access, &topic(text));
        (is_allowed, rule.map(str::to_owned))
    };
    let read = |text| why(Access::Read, text);
    assert_eq!(
        read("plant/7/secret"),
        (false, Some("deny plant/+/secret".into()))
    );
    assert_eq!(read("plant/7/t"), (true, Some("allow plant/%c/#".into())));
    assert_eq!(read("plant/8/t"), (false, None));
    assert!(why(Access::Publish, "plant/7/secret").0);
    assert_eq!(rule("+p a"), rule("+p a"));
}

/// A password file compares names byte by byte, a mapping as prepared: a denial must not be lost between the two.
#[test]
fn what_is_said_for_a_user_goes_for_its_name_as_given_and_as_prepared() {
    let mut acl = Acl::new();
    acl.extend(Whom::Everybody, [rule("+p #")]);
    acl.extend(Whom::user("\u{2168}"), [rule("-p secret")]);
    let topic = TopicName::new("secret").expect("a topic");
    for (user, is_allowed) in [("\u{2168}", false), ("IX", false), ("ix", true)] {
        let rights = acl.rights("id", Some(user));
        assert_eq!(rights.may_publish(&topic), is_allowed, "{user}");
    }
}
