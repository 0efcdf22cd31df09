//! The statements of both standards, and the tests that show each.
//!
//! A test names what it shows in a doc line of its own, `/// spec(5): MQTT-3.3.1-2, MQTT-3.3.1-3` (4 stands for 3.1.1), or
//! in Python by `@pytest.mark.spec("MQTT-3.3.1-2", version=5)`. A statement of side `both` needs a test for each side:
//! `/// spec(5, client): …`, `side="server"`. A test of what client and broker share
//! (codec, session, topic, transport) shows only what is a duty of the codec; its other marks are listed and count for nothing.
//! What has no test yet stands in `tests/spec/planned.txt`, which may only
//! shrink; what needs none, in `exempt.txt` with its reason. One row each: `5 MQTT-3.3.1-2 server  reason`, where the side
//! is that of the statement, or the missing one of the two.
//!
//! Rules that the standards state without a number have ids of this project, `RMQTT-…`, and are treated no differently.
//!
//! `docs/conformance.md` is made of all this. `make spec-update` (`RMQTT_SPEC_UPDATE=1 cargo test --test it spec::`) writes
//! it anew and takes the rows out of `planned.txt` that a test now shows; `make spec` prints every statement with its tests
//! and the lines in `src/` that say they obey it.

mod book;
mod mentions;
mod page;
mod tables;

use self::book::Book;
use std::collections::BTreeSet;

/// More than this would mean that the list is used for what is merely hard.
const EXEMPT_MAX: usize = 10;

fn is_updating() -> bool {
    std::env::var_os("RMQTT_SPEC_UPDATE").is_some()
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_statement_has_its_test_or_its_place_on_a_list() {
    let book = Book::open();
    let mut faults = book.faults.clone();
    let mut waiting = BTreeSet::new();
    for (name, rows) in [("planned.txt", &book.planned), ("exempt.txt", &book.exempt)] {
        for (duty, reason) in rows {
            if !book.duties.contains(duty) {
                faults.push(format!("{name}: no such statement: {duty}"));
            }
            if reason.is_empty() {
                faults.push(format!("{name}: no reason: {duty}"));
            }
            if !waiting.insert(duty) {
                faults.push(format!("{name}: listed twice: {duty}"));
            }
        }
    }
    let done: Vec<_> = book.listed_and_shown().collect();
    if is_updating() {
        tables::strike(&done);
    } else {
        faults.extend(done.iter().map(|duty| {
            format!("on a list, and has a test (make spec-update, or exempt.txt): {duty}")
        }));
    }
    for duty in &book.duties {
        if !book.done.contains(duty) && !waiting.contains(duty) {
            faults.push(format!("no test and not on a list: {duty}"));
        }
    }
    if book.exempt.len() > EXEMPT_MAX {
        faults.push(format!("exempt.txt: {} rows", book.exempt.len()));
    }
    if std::env::var_os("RMQTT_SPEC_MATRIX").is_some() {
        book.print();
    }
    none(&faults);
}

#[test]
fn nobody_names_a_statement_that_is_not_there() {
    let book = Book::open();
    let mut faults = Vec::new();
    for mention in book.shown.iter().chain(&book.obeyed) {
        let (version, id, place) = (mention.version, &mention.id, mention.place());
        match (book.statement(version, id), mention.side.as_deref()) {
            (None, _) => faults.push(format!("{place}: no statement {version} {id}")),
            (Some(statement), Some("client" | "server"))
                if statement.side == "both" && book::is_shared(mention) =>
            {
                faults.push(format!(
                    "{place}: {id}: a test of what both share has no side"
                ));
            }
            (Some(statement), Some(side))
                if !["both", "codec", side].contains(&statement.side.as_str()) =>
            {
                let is = &statement.side;
                faults.push(format!("{place}: {version} {id} is a duty of the {is}"));
            }
            _ => {}
        }
    }
    for mention in &book.shown {
        let Some(duty) = book.duty_shown(mention) else {
            continue;
        };
        if book::side_of(mention).is_some_and(|side| duty.side != "codec" && duty.side != side) {
            let place = mention.place();
            faults.push(format!("{place}: not a test of the {}: {duty}", duty.side));
        }
    }
    for (id, place) in mentions::quoted() {
        if ![4, 5]
            .iter()
            .any(|version| book.statement(*version, &id).is_some())
        {
            faults.push(format!("{place}: no statement {id}"));
        }
    }
    none(&faults);
}

#[test]
fn the_page_on_conformance_is_current() {
    let book = Book::open();
    let mut faults = Vec::new();
    let page = page::page(&book, &mut faults);
    none(&faults);
    let path = tables::list("../../docs/conformance.md");
    if is_updating() {
        std::fs::write(&path, &page).expect("written");
    }
    let is_current = std::fs::read_to_string(&path).is_ok_and(|old| old == page);
    assert!(is_current, "docs/conformance.md is not: make spec-update");
}
