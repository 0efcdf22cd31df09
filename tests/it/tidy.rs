//! The rules of the house that no compiler checks: who names whom, and which word may stand in which file.
//!
//! A plain search, so cross-room imports are always written `use crate::room::Thing`. To change a rule, change it here
//! and write down why in `docs/adr`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which rooms a room may name. Client and broker are siblings: neither knows the other.
const DOORS: [(&str, &[&str]); 12] = [
    ("topic", &[]),
    ("message", &["topic"]),
    ("codec", &["message", "topic"]),
    ("session", &["codec", "message", "topic"]),
    ("storage", &["codec", "message", "topic"]),
    ("clock", &[]),
    ("transport", &["clock"]),
    ("scram", &[]),
    ("journal", &[]),
    (
        "client",
        &[
            "session",
            "storage",
            "codec",
            "message",
            "topic",
            "scram",
            "journal",
            "transport",
            "clock",
        ],
    ),
    (
        "broker",
        &[
            "session",
            "codec",
            "message",
            "topic",
            "scram",
            "journal",
            "transport",
            "clock",
        ],
    ),
    (
        "python",
        &[
            "client",
            "broker",
            "codec",
            "message",
            "topic",
            "transport",
            "clock",
        ],
    ),
];

/// Files that are plain functions over plain data: the beginnings of their paths under `src`.
const QUIET: [&str; 15] = [
    "topic",
    "message",
    "codec/",
    "session/",
    "scram",
    "client/protocol",
    "client/dispatch",
    "broker/faults/",
    "broker/protocol",
    "broker/quota",
    "broker/router",
    "broker/subscriptions",
    "broker/retained",
    "broker/registry",
    "broker/rights",
];

/// What no quiet file may say.
const LOUD: [&str; 12] = [
    "async",
    "await",
    "tokio",
    "parking_lot",
    "Mutex",
    "RwLock",
    "Instant::now",
    "SystemTime::now",
    "elapsed",
    "thread",
    "rand",
    "Waker",
];

/// Words that stand only in some files: each with the beginnings of their paths under `src`.
const RESERVED: [(&str, &[&str]); 9] = [
    ("unsafe", &["python/payload", "python/stop"]),
    ("pyo3", &["python/"]),
    ("parking_lot", &LOCKS),
    ("Mutex", &LOCKS),
    ("RwLock", &LOCKS),
    ("Instant::now", &EDGES),
    ("SystemTime::now", &EDGES),
    ("TcpStream", &EDGES),
    ("TcpListener", &EDGES),
];

/// Where there are locks: one at a time, never across a call out.
const LOCKS: [&str; 19] = [
    "broker/auth/passwords",
    "broker/auth/throttle",
    "broker/auth/tokens",
    "broker/bell",
    "broker/faults.rs",
    "broker/group",
    "broker/hub",
    "broker/outbox",
    "broker/places",
    "broker/mod.rs",
    "broker/wire",
    "client/inbox",
    "client/commands",
    "client/shared",
    "client/mod.rs",
    "client/requests",
    "clock/manual",
    "transport/memory",
    "python/",
];

/// Where time comes from.
const EDGES: [&str; 5] = [
    "clock",
    "transport/",
    "client/driver",
    "broker/driver",
    "python/bridge",
];

/// What may end a program, and what only prints.
const PANICS: [&str; 9] = [
    ".unwrap()",
    ".expect(",
    "panic!(",
    "todo!(",
    "unimplemented!(",
    "unreachable!(",
    "println!(",
    "eprintln!(",
    "dbg!(",
];

/// Names of files that do not say what is in them.
const SHAPELESS: [&str; 6] = ["utils", "util", "common", "types", "helpers", "prelude"];

const LINES_MAX: usize = 500;

/// One file: its path under the folder that was walked, with `/`, and its text.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// Its lines without comments, numbered from 1.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let line = |line: &'_ str| line.find("//").unwrap_or(line.len());
        self.text
            .lines()
            .enumerate()
            .map(move |(n, text)| (n + 1, &text[..line(text)]))
    }

    pub(crate) fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.contains("tests/")
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    fn room(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap_or_default()
    }
}

/// The files with this ending in a folder of the repository and below, by path. A folder that is not there is empty.
pub(crate) fn files(folder: &str, ending: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                let path = path.strip_prefix(&root).unwrap_or(&path);
                found.push(Source {
                    path: path.to_string_lossy().replace('\\', "/"),
                    text,
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        found.iter().all(|file| !file.text.is_empty()),
        "an empty file"
    );
    found
}

/// Whether the code says this word, not as part of a longer one.
fn says(code: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(is_name) && !code[at + word.len()..].starts_with(is_name)
    })
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|name| !name.is_empty())
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_room_names_only_the_rooms_it_may() {
    let mut faults = Vec::new();
    for file in files("src", ".rs")
        .iter()
        .filter(|file| file.path != "lib.rs")
    {
        let Some((room, may)) = DOORS.iter().find(|(room, _)| *room == file.room()) else {
            faults.push(format!("src/{}: a room that is not on the plan", file.path));
            continue;
        };
        for (n, code) in file.code() {
            for (at, door) in code.match_indices("crate::") {
                let rest = &code[at + door.len()..];
                let other = names(rest).next().unwrap_or_default();
                let is_public_face = code.trim_start().starts_with("pub(in ");
                if rest.starts_with('{')
                    || (other != *room && !may.contains(&other) && !is_public_face)
                {
                    faults.push(format!(
                        "src/{}:{n}: {room} must not name {other}: {}",
                        file.path,
                        code.trim()
                    ));
                }
            }
            if code.contains("super::super") && file.path.matches('/').count() < 2 {
                faults.push(format!("src/{}:{n}: write crate::room::Thing", file.path));
            }
        }
    }
    none(&faults);
}

#[test]
fn inside_client_and_broker_the_quiet_do_not_name_the_loud() {
    let mut faults = Vec::new();
    for file in files("src", ".rs")
        .iter()
        .filter(|file| file.is_in(&["client/", "broker/"]))
    {
        let loud: &[&str] = if file.is_in(&QUIET) {
            &["driver", "hub"]
        } else if file.is_in(&["broker/hub"]) {
            &["driver"]
        } else {
            continue;
        };
        for (n, code) in file.code() {
            for other in loud {
                if code.contains(&format!("::{other}")) || code.contains(&format!("{other}::")) {
                    faults.push(format!(
                        "src/{}:{n}: must not name {other}: {}",
                        file.path,
                        code.trim()
                    ));
                }
            }
        }
    }
    none(&faults);
}

#[test]
fn words_stand_only_where_they_may() {
    let mut faults = Vec::new();
    for file in files("src", ".rs").iter().filter(|file| !file.is_test()) {
        for (n, code) in file.code() {
            let reserved = RESERVED
                .iter()
                .filter(|(_, places)| !file.is_in(places))
                .map(|(word, _)| *word);
            let loud = LOUD.into_iter().filter(|_| file.is_in(&QUIET));
            for word in reserved.chain(loud).filter(|word| says(code, word)) {
                faults.push(format!(
                    "src/{}:{n}: {word} does not belong here: {}",
                    file.path,
                    code.trim()
                ));
            }
            for call in PANICS.iter().filter(|call| code.contains(**call)) {
                faults.push(format!("src/{}:{n}: {call}: {}", file.path, code.trim()));
            }
        }
    }
    none(&faults);
}

#[test]
fn files_are_short_and_say_what_they_own() {
    let mut faults = Vec::new();
    for (folder, file) in [
        ("src", files("src", ".rs")),
        ("tests/it", files("tests/it", ".rs")),
    ]
    .iter()
    .flat_map(|(folder, files)| files.iter().map(move |file| (folder, file)))
    {
        let lines = file.text.lines().count();
        if lines > LINES_MAX && !(file.is_test() && *folder == "src") {
            faults.push(format!("{folder}/{}: {lines} lines", file.path));
        }
        if !file.text.starts_with("//!") {
            faults.push(format!("{folder}/{}: opens without //!", file.path));
        }
        if names(&file.path).any(|name| SHAPELESS.contains(&name)) {
            faults.push(format!("{folder}/{}: a name that says nothing", file.path));
        }
        for (at, allow) in file.text.match_indices("#[allow(") {
            let lint = names(&file.text[at + allow.len()..]).next();
            if *folder == "src" && lint != Some("missing_docs") {
                faults.push(format!(
                    "src/{}: {lint:?} is allowed; expect it, with a reason",
                    file.path
                ));
            }
        }
    }
    none(&faults);
}

#[test]
fn files_of_python_are_short_and_say_what_they_own() {
    let mut faults = Vec::new();
    for file in files("python", ".py") {
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            faults.push(format!("python/{}: {lines} lines", file.path));
        }
        if !file.text.starts_with(['"', 'r']) {
            faults.push(format!("python/{}: opens without a docstring", file.path));
        }
        if names(&file.path).any(|name| SHAPELESS.contains(&name)) {
            faults.push(format!("python/{}: a name that says nothing", file.path));
        }
    }
    none(&faults);
}

/// What is public and named nowhere else is either untested or unused.
#[test]
fn every_public_name_is_used() {
    let sources = files("src", ".rs");
    let elsewhere = [
        ("tests", ".rs"),
        ("tests", ".py"),
        ("benches", ".rs"),
        ("python", ".py"),
        ("python", ".pyi"),
    ];
    let others: Vec<Source> = elsewhere
        .iter()
        .flat_map(|(folder, ending)| files(folder, ending))
        .collect();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for name in sources
        .iter()
        .chain(&others)
        .flat_map(|file| names(&file.text))
    {
        *times.entry(name).or_default() += 1;
    }
    let mut faults = Vec::new();
    for file in sources.iter().filter(|file| !file.is_test()) {
        for (n, code) in file.code() {
            let Some(item) = code.trim_start().strip_prefix("pub ") else {
                continue;
            };
            let mut words =
                names(item).skip_while(|word| matches!(*word, "async" | "const" | "unsafe"));
            let name = match words.next() {
                Some("fn" | "struct" | "enum" | "static" | "trait" | "type") => words.next(),
                Some(other) if other.chars().all(|c| c.is_uppercase() || c == '_') => Some(other),
                _ => None,
            };
            if let Some(name) = name.filter(|name| times.get(name) == Some(&1)) {
                faults.push(format!(
                    "src/{}:{n}: {name} is named nowhere else",
                    file.path
                ));
            }
        }
    }
    none(&faults);
}
