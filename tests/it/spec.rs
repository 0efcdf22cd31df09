//! The numbered statements of both standards, and the test that shows each.
//!
//! A test names what it shows in a doc line of its own, `/// spec(5): MQTT-3.3.1-2, MQTT-3.3.1-3` (4 stands for 3.1.1), or
//! in Python by `@pytest.mark.spec("MQTT-3.3.1-2", version=5)`. A statement of side `both` needs a test for each side:
//! `/// spec(5, client): …`, `side="server"`. What has no test yet stands in `tests/spec/planned.txt`, which may only
//! shrink; what needs none, in `exempt.txt` with its reason. One row each: `5 MQTT-3.3.1-2 server  reason`, where the side
//! is that of the statement, or the missing one of the two.
//!
//! `RMQTT_SPEC_UPDATE=1` takes the rows out of `planned.txt` that a test now shows. `RMQTT_SPEC_MATRIX=1`, with
//! `--nocapture`, prints every statement with its tests and the lines in `src/` that say they obey it.

use crate::tidy::{Source, files};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// One statement, as one of the two sides has to obey it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Duty {
    version: u8,
    id: String,
    side: String,
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.version, self.id, self.side)
    }
}

/// Where a statement is named, and for which side, if that is said.
#[derive(Debug)]
struct Mention {
    version: u8,
    id: String,
    side: Option<String>,
    place: String,
}

/// The two standards: statement by version and id, with its side.
fn statements() -> BTreeMap<(u8, String), (String, String)> {
    let mut found = BTreeMap::new();
    for (version, name) in [(4, "mqtt-3.1.1.csv"), (5, "mqtt-5.0.csv")] {
        let text = std::fs::read_to_string(list(name)).expect("the table is there");
        for line in text.lines().skip(1).filter(|line| !line.is_empty()) {
            let fields = fields(line);
            let [id, side, _topic, statement, _hint] = &fields[..] else {
                panic!("{name}: not five fields: {line}");
            };
            assert!(
                matches!(side.as_str(), "client" | "server" | "both" | "codec"),
                "{name}: {line}"
            );
            found.insert((version, id.clone()), (side.clone(), statement.clone()));
        }
    }
    found
}

/// The fields of one line of comma separated values; quotes are doubled inside quotes.
fn fields(line: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut is_quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let field = found.last_mut().expect("never empty");
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => found.push(String::new()),
            _ => field.push(c),
        }
    }
    found
}

fn list(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/spec")
        .join(name)
}

fn duties() -> BTreeSet<Duty> {
    let duty = |version, id: &String, side: &str| Duty {
        version,
        id: id.clone(),
        side: side.to_owned(),
    };
    statements()
        .iter()
        .flat_map(|((version, id), (side, _))| match side.as_str() {
            "both" => vec![duty(*version, id, "client"), duty(*version, id, "server")],
            side => vec![duty(*version, id, side)],
        })
        .collect()
}

/// What a line of the form `spec(5, client): MQTT-1, MQTT-2` behind this comment mark names.
fn cited(line: &str, mark: &str) -> Vec<(u8, Option<String>, String)> {
    let parse = || {
        let rest = line
            .trim_start()
            .strip_prefix(mark)?
            .trim_start()
            .strip_prefix("spec(")?;
        let (head, ids) = rest.split_once("):")?;
        let (version, side) = match head.split_once(',') {
            Some((version, side)) => (version, Some(side.trim().to_owned())),
            None => (head, None),
        };
        let version = version.trim().parse().ok()?;
        Some(
            ids.split(',')
                .map(|id| (version, side.clone(), id.trim().to_owned()))
                .collect(),
        )
    };
    parse().unwrap_or_default()
}

/// The name of the function that begins after this line.
fn function_below(lines: &[&str], from: usize) -> String {
    lines[from..]
        .iter()
        .find_map(|line| {
            line.split_once("fn ")
                .filter(|(before, _)| !before.contains("//"))
        })
        .map_or_else(String::new, |(_, rest)| {
            rest.split('(').next().unwrap_or_default().to_owned()
        })
}

fn rust_mentions(folder: &str, mark: &str, file: &Source) -> Vec<Mention> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut found = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        for (version, side, id) in cited(line, mark) {
            let function = if mark == "///" {
                function_below(&lines, n)
            } else {
                String::new()
            };
            let place = format!("{folder}/{}:{} {function}", file.path, n + 1);
            found.push(Mention {
                version,
                id,
                side,
                place,
            });
        }
    }
    found
}

/// Every `pytest.mark.spec(...)` of a file.
fn python_mentions(file: &Source) -> Vec<Mention> {
    let mut found = Vec::new();
    for (at, mark) in file.text.match_indices("pytest.mark.spec(") {
        let rest = &file.text[at + mark.len()..];
        let inside = rest.split(')').next().unwrap_or_default();
        let value = |name: &str| {
            let (_, rest) = inside.split_once(&format!("{name}="))?;
            Some(
                rest.split([',', '\n'])
                    .next()?
                    .trim()
                    .trim_matches(['"', '\''])
                    .to_owned(),
            )
        };
        let line = file.text[..at].lines().count();
        let place = format!("tests/python/{}:{line}", file.path);
        let Some(version) = value("version").and_then(|version| version.parse().ok()) else {
            panic!("{place}: a spec mark without version=4 or version=5");
        };
        for id in inside
            .split(['"', '\''])
            .filter(|part| part.starts_with("MQTT-"))
        {
            found.push(Mention {
                version,
                id: id.to_owned(),
                side: value("side"),
                place: place.clone(),
            });
        }
    }
    found
}

/// What the tests name.
fn shown() -> Vec<Mention> {
    let own = files("src", ".rs");
    let suites = files("tests", ".rs");
    let python = files("tests/python", ".py");
    own.iter()
        .filter(|file| file.is_test())
        .flat_map(|file| rust_mentions("src", "///", file))
        .chain(
            suites
                .iter()
                .flat_map(|file| rust_mentions("tests", "///", file)),
        )
        .chain(python.iter().flat_map(python_mentions))
        .collect()
}

/// What the code says it obeys.
fn obeyed() -> Vec<Mention> {
    let own = files("src", ".rs");
    own.iter()
        .filter(|file| !file.is_test())
        .flat_map(|file| ["///", "//!", "//"].map(|mark| rust_mentions("src", mark, file)))
        .flatten()
        .collect()
}

/// The duties that a test shows. Without a side, a test shows a statement that has one side.
fn shown_duties(shown: &[Mention], duties: &BTreeSet<Duty>) -> BTreeSet<Duty> {
    let mut found = BTreeSet::new();
    for mention in shown {
        for side in ["client", "server", "codec"] {
            let duty = Duty {
                version: mention.version,
                id: mention.id.clone(),
                side: side.to_owned(),
            };
            let sides = duties.range(duty_range(mention)).count();
            let is_meant = mention
                .side
                .as_deref()
                .map_or(sides == 1, |said| said == side || sides == 1);
            if is_meant && duties.contains(&duty) {
                found.insert(duty);
            }
        }
    }
    found
}

fn duty_range(mention: &Mention) -> std::ops::RangeInclusive<Duty> {
    let at = |side: &str| Duty {
        version: mention.version,
        id: mention.id.clone(),
        side: side.to_owned(),
    };
    at("")..=at("~")
}

/// One of the two lists: duty and reason, in the order of the file.
fn listed(name: &str) -> Vec<(Duty, String)> {
    let text = std::fs::read_to_string(list(name)).expect("the list is there");
    let mut found = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let mut words = line.split_whitespace();
        let (Some(version), Some(id), Some(side)) = (words.next(), words.next(), words.next())
        else {
            panic!("{name}: not `version id side reason`: {line}");
        };
        let version = version.parse().unwrap_or_else(|_| panic!("{name}: {line}"));
        let duty = Duty {
            version,
            id: id.to_owned(),
            side: side.to_owned(),
        };
        found.push((duty, words.collect::<Vec<_>>().join(" ")));
    }
    found
}

/// Takes out of `planned.txt` what is shown; with `RMQTT_SPEC_UPDATE=all` also puts in what is missing.
fn update(shown: &BTreeSet<Duty>, missing: &[Duty]) {
    let text = std::fs::read_to_string(list("planned.txt")).expect("the list is there");
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| {
            !shown
                .iter()
                .any(|duty| line.starts_with(&format!("{duty} ")))
        })
        .map(str::to_owned)
        .collect();
    lines.extend(missing.iter().map(|duty| format!("{duty}  no test yet")));
    std::fs::write(list("planned.txt"), lines.join("\n") + "\n").expect("written");
}

#[expect(clippy::print_stdout, reason = "printing is what it is asked for")]
fn print_matrix(shown: &[Mention]) {
    let obeyed = obeyed();
    for ((version, id), (side, statement)) in statements() {
        println!("{version} {id} ({side}) {statement}");
        let same = |mention: &&Mention| mention.version == version && mention.id == id;
        for mention in obeyed.iter().filter(same) {
            println!("    code  {}", mention.place);
        }
        for mention in shown.iter().filter(same) {
            println!(
                "    test  {} {}",
                mention.place,
                mention.side.as_deref().unwrap_or_default()
            );
        }
    }
}

#[test]
fn every_statement_has_its_test_or_its_place_on_a_list() {
    let (duties, shown) = (duties(), shown());
    let done = shown_duties(&shown, &duties);
    let (planned, exempt) = (listed("planned.txt"), listed("exempt.txt"));
    if std::env::var_os("RMQTT_SPEC_MATRIX").is_some() {
        print_matrix(&shown);
    }
    let mut faults = Vec::new();
    let mut waiting = BTreeSet::new();
    for (name, rows) in [("planned.txt", &planned), ("exempt.txt", &exempt)] {
        for (duty, reason) in rows {
            if !duties.contains(duty) {
                faults.push(format!("{name}: no such statement: {duty}"));
            }
            if reason.is_empty() {
                faults.push(format!("{name}: no reason: {duty}"));
            }
            if !waiting.insert(duty.clone()) {
                faults.push(format!("{name}: listed twice: {duty}"));
            }
        }
    }
    let missing: Vec<Duty> = duties
        .iter()
        .filter(|duty| !done.contains(duty) && !waiting.contains(duty))
        .cloned()
        .collect();
    match std::env::var("RMQTT_SPEC_UPDATE").as_deref() {
        Ok("all") => update(&done, &missing),
        Ok(_) => update(&done, &[]),
        Err(_) => {
            faults.extend(
                missing
                    .iter()
                    .map(|duty| format!("no test and not on a list: {duty}")),
            );
            let stale = planned.iter().filter(|(duty, _)| done.contains(duty));
            faults.extend(stale.map(|(duty, _)| {
                format!("planned.txt: has a test now (RMQTT_SPEC_UPDATE=1): {duty}")
            }));
            let needless = exempt.iter().filter(|(duty, _)| done.contains(duty));
            faults.extend(
                needless.map(|(duty, _)| format!("exempt.txt: has a test all the same: {duty}")),
            );
        }
    }
    println!(
        "{} duties: {} shown, {} planned, {} exempt",
        duties.len(),
        done.len(),
        planned.len(),
        exempt.len()
    );
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn nobody_names_a_statement_that_is_not_there() {
    let statements = statements();
    let mut faults = Vec::new();
    for mention in shown().iter().chain(&obeyed()) {
        let Mention {
            version,
            id,
            side,
            place,
        } = mention;
        match statements.get(&(*version, id.clone())) {
            None => faults.push(format!("{place}: no statement {version} {id}")),
            Some((is, _))
                if side
                    .as_ref()
                    .is_some_and(|side| is != "both" && side != is && is != "codec") =>
            {
                faults.push(format!("{place}: {version} {id} is a duty of the {is}"));
            }
            Some(_) => {}
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
