//! The page on hardening says which test shows what: it must not promise one that is not there.

use rmqtt::broker::Limit;
use std::path::Path;

fn read_all(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder of tests") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_all(&path, text);
        } else if path.extension().is_some_and(|it| it == "rs" || it == "py") {
            text.push_str(&std::fs::read_to_string(path).expect("text"));
        }
    }
}

/// Of private details, in `tests.rs` and `tests/` beside the code.
fn read_private_tests(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder of code") {
        let path = entry.expect("an entry").path();
        if path.file_name().is_some_and(|name| name == "tests") {
            read_all(&path, text);
        } else if path.is_dir() {
            read_private_tests(&path, text);
        } else if path.ends_with("tests.rs") {
            text.push_str(&std::fs::read_to_string(path).expect("text"));
        }
    }
}

#[test]
fn every_test_that_the_page_on_hardening_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/hardening.md")).expect("a page");
    let mut tests = String::new();
    read_all(&root.join("tests/it"), &mut tests);
    read_all(&root.join("tests/python"), &mut tests);
    read_private_tests(&root.join("src"), &mut tests);
    let quoted = page.split('`').skip(1).step_by(2);
    let names: Vec<_> = quoted.filter(|it| !it.starts_with("make ")).collect();
    assert!(names.len() > 40, "{} tests", names.len());
    let is_there = |name: &str| {
        let written = ["fn", "def"].map(|word| format!("{word} {name}("));
        written.iter().any(|text| tests.contains(text))
    };
    let is_missing = |name: &&str| !is_there(name);
    let missing: Vec<_> = names.into_iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Each limit is set by a test; and one that refuses something is counted by one, under its name.
#[test]
fn every_limit_has_a_test_that_reaches_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = String::new();
    read_all(&root.join("tests/it"), &mut tests);
    let source = std::fs::read_to_string(root.join("src/broker/limits.rs")).expect("a source");
    let fields: Vec<_> = source
        .lines()
        .filter_map(|line| line.strip_prefix("    pub ")?.split(':').next())
        .collect();
    let silent = ["in_flight_max", "topic_alias_out_max"];
    let counted: Vec<_> = Limit::ALL.iter().map(|limit| limit.name()).collect();
    let mut all = [&silent[..], &counted[..]].concat();
    all.sort_unstable();
    let mut sorted = fields.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, all, "who refuses something is counted");
    for name in fields {
        let is_set = [format!("limits.{name} = "), format!(" {name}: ")];
        let is_set = is_set.iter().any(|text| tests.contains(text));
        let is_counted = silent.contains(&name) || tests.contains(&format!("\"{name}\""));
        assert!(is_set && is_counted, "no test reaches {name}");
    }
}
