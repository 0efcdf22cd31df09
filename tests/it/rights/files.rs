//! ACL files of Mosquitto's: what they mean, and what is none.

use rmqtt::broker::rights::{Acl, Rights};
use rmqtt::topic::{TopicFilter, TopicName};

fn rights(file: &str, client_id: &str, user: Option<&str>) -> Rights {
    let acl = Acl::from_mosquitto(file.as_bytes()).expect("a file");
    acl.rights(client_id, user)
}

fn may(rights: &Rights, topic: &str) -> (bool, bool) {
    let topic = TopicName::new(topic.to_owned()).expect("a topic");
    (rights.may_read(&topic), rights.may_publish(&topic))
}

const FILE: &str = "\
# for those who are nobody
topic read public/#
topic deny public/secret

user alice
topic plant/#
topic read  with spaces/in it
topic deny plant/secret/#
topic write up

user bob the builder\r
topic readwrite own\r

# again
user alice
topic write late
pattern readwrite devices/%c/#
pattern read users/%u
pattern deny devices/+/secret
pattern readwrite plant/secret/%c
";

#[test]
fn a_file_says_what_users_may_do_and_who_is_none() {
    let nobody = rights(FILE, "id", None);
    assert_eq!(may(&nobody, "public/a"), (true, false));
    assert_eq!(may(&nobody, "public/secret"), (false, false));
    assert_eq!(may(&nobody, "plant/7"), (false, false));
    let alice = rights(FILE, "id", Some("alice"));
    assert_eq!(may(&alice, "plant/7"), (true, true));
    assert_eq!(may(&alice, "plant"), (true, true));
    assert_eq!(may(&alice, "with spaces/in it"), (true, false));
    assert_eq!(may(&alice, "up"), (false, true));
    assert_eq!(may(&alice, "late"), (false, true));
    // What is said for nobody is not said for users.
    assert_eq!(may(&alice, "public/a"), (false, false));
    assert_eq!(
        may(&rights(FILE, "id", Some("bob the builder")), "own"),
        (true, true)
    );
    assert_eq!(may(&rights(FILE, "id", Some("bob")), "own"), (false, false));
}

#[test]
fn patterns_are_for_all_and_come_after_what_is_said_by_name() {
    let alice = rights(FILE, "id", Some("alice"));
    assert_eq!(may(&alice, "devices/id/a"), (true, true));
    assert_eq!(may(&alice, "devices/id/secret"), (false, false));
    assert_eq!(may(&alice, "devices/other/a"), (false, false));
    assert_eq!(may(&alice, "users/alice"), (true, false));
    assert_eq!(may(&rights(FILE, "id", None), "users/"), (false, false));
    // Denied by name; the pattern that would allow it is not asked any more.
    assert_eq!(may(&alice, "plant/secret/id"), (false, false));
    assert_eq!(
        may(&rights(FILE, "id", None), "plant/secret/id"),
        (true, true)
    );
}

#[test]
fn topics_have_no_names_in_them_but_patterns_do() {
    let nobody = rights("topic %c/a\npattern read %c/b\n", "id", None);
    assert_eq!(may(&nobody, "id/a"), (false, false));
    assert_eq!(may(&nobody, "%c/a"), (true, true));
    assert_eq!(may(&nobody, "id/b"), (true, false));
}

#[test]
fn who_has_a_wildcard_in_its_name_has_no_patterns_at_all() {
    for name in ["+", "a#"] {
        let rights = rights("topic read a\npattern read #\n", name, None);
        assert_eq!(may(&rights, "a"), (true, false));
        assert_eq!(may(&rights, "b"), (false, false));
    }
}

#[test]
fn any_filter_may_be_asked_for() {
    let nobody = rights("", "id", None);
    let filter = TopicFilter::new("#").expect("a filter");
    assert!(nobody.may_subscribe(&filter));
}

/// CVE-2018-12550.
#[test]
fn an_empty_file_allows_nothing() {
    for file in ["", "\n\n", "# nothing\n", "user alice\n"] {
        for user in [None, Some("alice")] {
            assert_eq!(
                may(&rights(file, "id", user), "a"),
                (false, false),
                "{file:?}"
            );
        }
    }
}

#[test]
fn what_is_not_understood_is_an_error_with_its_line() {
    for (file, line, what) in [
        ("topics a\n", 1, "\"topics\""),
        ("Topic a\n", 1, "\"Topic\""),
        ("topic a\n\n# c\ntopic raed b\n", 4, "\"raed\""),
        ("topic a b\n", 1, "\"a\" is none of"),
        ("topic\n", 1, "missing"),
        ("topic read\n", 1, "missing"),
        ("topic deny \n", 1, "missing"),
        ("pattern\n", 1, "missing"),
        ("user\n", 1, "without a name"),
        ("user  \n", 1, "without a name"),
        ("topic a/#/b\n", 1, "a/#/b"),
        ("topic write a+\n", 1, "a+"),
        ("topic\ta\n", 1, "none of user"),
        ("topic a # every one\n", 1, "\"a\" is none of"),
        ("topic a\u{0}b\n", 1, "U+0000"),
        ("acl_file b\n", 1, "\"acl_file\""),
    ] {
        let fault = Acl::from_mosquitto(file.as_bytes()).expect_err(file);
        assert_eq!(fault.line, line, "{file:?}: {fault}");
        assert!(fault.to_string().contains(what), "{file:?}: {fault}");
    }
    let fault = Acl::from_mosquitto(b"topic a\ntopic \xFF\n").expect_err("no text");
    assert_eq!(fault.to_string(), "line 2: is no UTF-8");
}

#[test]
fn users_are_compared_as_their_names_are_where_they_prove_to_be_them() {
    // A fullwidth letter is prepared to the plain one.
    let rights = rights("user \u{ff21}lice\ntopic a\n", "id", Some("Alice"));
    assert_eq!(may(&rights, "a"), (true, true));
}
