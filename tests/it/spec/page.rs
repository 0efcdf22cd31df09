//! `docs/conformance.md`: what is demanded, what shows it, and what was chosen where there is a choice.
//!
//! The same for the same tree, and without line numbers, so that only what is demanded, obeyed or shown changes it.

use super::book::Book;
use super::mentions::Mention;
use super::tables::{self, Duty, Statement};
use std::collections::BTreeSet;
use std::fmt::Write;

const HEAD: &str = "\
# Conformance

<!-- Written by `make spec-update` from tests/spec and the marks in code and tests. Do not edit. -->

The two standards number what they demand: 141 statements in MQTT 3.1.1, 251 in MQTT 5.0. This page lists each of the 392, in words of our own, with the
code that obeys it and the tests that show it. Both standards also state rules without a number; those that we hold to stand in the same tables, with ids
of this project that begin with `RMQTT-` and name the section.

A statement may oblige the client, the server (here: the broker) or both; `codec` means whoever reads or writes the bytes, and the two share one codec. What
obliges both is two duties, and each needs a test of its own. A statement without a test fails the build: [ADR 8](adr/0008-citing-the-standard-by-id.md).
`cargo test --test it NAME` runs a test of the tables, `cargo test --lib NAME` one of `src`, pytest one of a file that ends in `.py`.
";

/// The whole page. What it cannot be made of is a fault.
pub(super) fn page(book: &Book, faults: &mut Vec<String>) -> String {
    let mut page = HEAD.to_owned();
    page.push_str(&summary(book));
    page.push_str("\n## Choices the standards leave\n\n");
    for choice in tables::choices() {
        page.push_str(&choice);
        page.push('\n');
    }
    page.push_str(&differences(book, faults));
    check_ids(book, &page, faults);
    page.push_str(&list("Nothing to show", EXEMPT, &book.exempt, &book.done));
    page.push_str(&list("Not built yet", PLANNED, &book.planned, &book.done));
    for (version, is_numbered, title) in [
        (5, true, "MQTT 5.0"),
        (5, false, "MQTT 5.0, rules without a number"),
        (4, true, "MQTT 3.1.1"),
        (4, false, "MQTT 3.1.1, rules without a number"),
    ] {
        let is_meant = |it: &&Statement| it.version == version && it.is_numbered() == is_numbered;
        let rows: Vec<&Statement> = book.statements.iter().filter(is_meant).collect();
        if !rows.is_empty() {
            page.push_str(&matrix(book, title, &rows));
        }
    }
    page
}

const EXEMPT: &str = "Statements that ask nothing of this code.";
const PLANNED: &str = "Statements that need something this project does not have yet.";

fn summary(book: &Book) -> String {
    let mut text = "\n\
        | | statements | duties: client | server | codec | shown | not built yet | nothing to show |\n\
        |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for (title, version, is_numbered) in [
        ("MQTT 3.1.1", Some(4), Some(true)),
        ("MQTT 5.0", Some(5), Some(true)),
        ("both, numbered", None, Some(true)),
        ("both, without a number", None, Some(false)),
        ("all", None, None),
    ] {
        let is_meant = |of: u8, id: &str| {
            version.is_none_or(|version| version == of)
                && is_numbered.is_none_or(|is| is == id.starts_with("MQTT-"))
        };
        let statements = book.statements.iter();
        let statements = statements.filter(|it| is_meant(it.version, &it.id)).count();
        let of_side = |side: &str| {
            let [duties, ..] =
                book.count(|duty| duty.side == side && is_meant(duty.version, &duty.id));
            duties
        };
        let (client, server, codec) = (of_side("client"), of_side("server"), of_side("codec"));
        let [_, shown, planned, exempt] = book.count(|duty| is_meant(duty.version, &duty.id));
        let row = format!(
            "| {title} | {statements} | {client} | {server} | {codec} | {shown} | {planned} | {exempt} |\n"
        );
        text.push_str(&row);
    }
    text
}

fn differences(book: &Book, faults: &mut Vec<String>) -> String {
    let rows = tables::differences();
    let mut text = String::new();
    if rows.is_empty() {
        return text;
    }
    text.push_str(
        "\n## Where mosquitto answers otherwise\n\n\
         The same raw dialogues, to both brokers; only what differs is listed, with who is right by which statement.\n\n\
         | dialogue | version | ours | mosquitto | right | statement | why |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let version = match row.version.as_str() {
            "4" | "3.1.1" => "3.1.1",
            "5" | "5.0" => "5.0",
            "" | "both" => "both",
            other => {
                faults.push(format!(
                    "differences.csv: version {other}: {}",
                    row.dialogue
                ));
                other
            }
        };
        for id in row
            .statement
            .split([' ', ';', ','])
            .filter(|id| id.contains("MQTT-"))
        {
            if ![4, 5]
                .iter()
                .any(|version| book.statement(*version, id).is_some())
            {
                faults.push(format!("differences.csv: no statement {id}"));
            }
        }
        let cells = [
            &row.dialogue,
            version,
            &row.ours,
            &row.mosquitto,
            &row.right,
            &row.statement,
            &row.why,
        ];
        text.push('|');
        for cell in cells {
            let _ = write!(text, " {} |", cell.replace('|', "\\|"));
        }
        text.push('\n');
    }
    text
}

/// Every `` `5 MQTT-…` `` names a statement.
fn check_ids(book: &Book, text: &str, faults: &mut Vec<String>) {
    for part in text.split('`').skip(1).step_by(2) {
        if let Some((version, id)) = part.split_once(' ')
            && id.contains("MQTT-")
            && version
                .parse()
                .is_ok_and(|version| book.statement(version, id).is_none())
        {
            faults.push(format!("docs/conformance.md: no statement {part}"));
        }
    }
}

fn list(title: &str, lead: &str, rows: &[(Duty, String)], done: &BTreeSet<Duty>) -> String {
    let rows: Vec<_> = rows
        .iter()
        .filter(|(duty, _)| !done.contains(duty))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut text =
        format!("\n## {title}\n\n{lead}\n\n| statement | side | reason |\n|---|---|---|\n");
    for (duty, reason) in rows {
        let Duty { version, id, side } = duty;
        let _ = writeln!(text, "| `{version} {id}` | {side} | {reason} |");
    }
    text
}

fn matrix(book: &Book, title: &str, rows: &[&Statement]) -> String {
    let mut text = format!(
        "\n## {title}\n\n| id | side | statement | obeyed in | shown by |\n|---|---|---|---|---|\n"
    );
    for statement in rows {
        let files: BTreeSet<&str> = book.code(statement).map(file_in_src).collect();
        let files: Vec<&str> = files.into_iter().collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            statement.id,
            statement.side,
            statement.text.replace('|', "\\|"),
            files.join("<br>"),
            tests(book, statement)
        );
    }
    text
}

fn file_in_src(mention: &Mention) -> &str {
    mention.file.trim_start_matches("src/")
}

fn tests(book: &Book, statement: &Statement) -> String {
    let duties = statement.duties();
    let mut parts = Vec::new();
    for duty in &duties {
        let names: BTreeSet<&str> = book.tests(duty).map(|it| it.test.as_str()).collect();
        if duties.len() > 1 {
            parts.push(format!("{}:", duty.side));
        }
        if names.is_empty() {
            let is_planned = book.planned.iter().any(|(planned, _)| planned == duty);
            let word = if is_planned {
                "not built yet"
            } else {
                "nothing to show"
            };
            parts.push(word.to_owned());
        }
        parts.extend(names.iter().map(|name| format!("`{name}`")));
    }
    let names: BTreeSet<&str> = book
        .shared_tests(statement)
        .map(|it| it.test.as_str())
        .collect();
    if !names.is_empty() {
        parts.push("shared code:".to_owned());
        parts.extend(names.iter().map(|name| format!("`{name}`")));
    }
    parts.join("<br>")
}
