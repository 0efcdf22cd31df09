//! What is read from `tests/spec`: the statements, and the lists of what has no test.

use std::fmt;
use std::path::{Path, PathBuf};

/// The tables: version, file, and whether its ids are ours. The standards number 141 + 251 statements; rules that they
/// state without a number have ids of this project, `RMQTT-` and the section they stand in.
const TABLES: [(u8, &str, &str); 4] = [
    (4, "mqtt-3.1.1.csv", "MQTT-"),
    (5, "mqtt-5.0.csv", "MQTT-"),
    (4, "local-3.1.1.csv", "RMQTT-"),
    (5, "local-5.0.csv", "RMQTT-"),
];

/// Who may have to obey a statement. A statement of `both` is two duties, all others one.
pub(super) const SIDES: [&str; 3] = ["client", "server", "codec"];

/// One line of the tables.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) version: u8,
    pub(super) id: String,
    pub(super) side: String,
    pub(super) text: String,
}

impl Statement {
    /// Whether the standard has a number for it.
    pub(super) fn is_numbered(&self) -> bool {
        self.id.starts_with("MQTT-")
    }

    pub(super) fn duties(&self) -> Vec<Duty> {
        let duty = |side: &str| Duty {
            version: self.version,
            id: self.id.clone(),
            side: side.to_owned(),
        };
        match self.side.as_str() {
            "both" => vec![duty("client"), duty("server")],
            side => vec![duty(side)],
        }
    }
}

/// One statement, as one of the two sides has to obey it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Duty {
    pub(super) version: u8,
    pub(super) id: String,
    pub(super) side: String,
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.version, self.id, self.side)
    }
}

pub(super) fn list(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/spec")
        .join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(list(name)).expect(name)
}

/// All statements, in the order of the tables.
pub(super) fn statements() -> Vec<Statement> {
    let mut found: Vec<Statement> = Vec::new();
    for (version, name, prefix) in TABLES {
        for [id, side, _topic, text, _hint] in rows(&read(name)) {
            assert!(id.starts_with(prefix), "{name}: {id}");
            assert!(
                side == "both" || SIDES.contains(&side.as_str()),
                "{name}: {id}: {side}"
            );
            let is_known = found.iter().any(|it| it.version == version && it.id == id);
            assert!(!is_known, "{name}: {id} is there twice");
            found.push(Statement {
                version,
                id,
                side,
                text,
            });
        }
    }
    found
}

/// The rows of comma separated values, without the first. A field may be quoted, and quotes are doubled inside quotes.
pub(super) fn rows<const N: usize>(text: &str) -> Vec<[String; N]> {
    let mut found = Vec::new();
    for line in text.lines().skip(1).filter(|line| !line.is_empty()) {
        let fields: Result<[String; N], Vec<String>> = fields(line).try_into();
        assert!(fields.is_ok(), "not {N} fields: {line}");
        found.extend(fields);
    }
    found
}

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

/// One of the two lists: duty and reason, in the order of the file.
pub(super) fn listed(name: &str) -> Vec<(Duty, String)> {
    let mut found = Vec::new();
    for line in read(name)
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let mut words = line.split_whitespace();
        let (Some(version), Some(id), Some(side)) = (words.next(), words.next(), words.next())
        else {
            panic!("{name}: not `version id side  reason`: {line}");
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

/// Takes these rows out of `planned.txt`.
pub(super) fn strike(done: &[Duty]) {
    let is_done = |line: &str| done.iter().any(|it| line.starts_with(&format!("{it} ")));
    let kept: Vec<String> = read("planned.txt")
        .lines()
        .filter(|line| !is_done(line))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(list("planned.txt"), kept.concat()).expect("written");
}

/// The choices the standards leave, a line each.
pub(super) fn choices() -> Vec<String> {
    read("choices.md").lines().map(str::to_owned).collect()
}

/// A dialogue that another broker answers otherwise.
pub(super) struct Difference {
    pub(super) dialogue: String,
    pub(super) version: String,
    pub(super) ours: String,
    pub(super) mosquitto: String,
    pub(super) right: String,
    pub(super) statement: String,
    pub(super) why: String,
}

pub(super) fn differences() -> Vec<Difference> {
    let row = |row| {
        let [dialogue, version, ours, mosquitto, right, statement, why] = row;
        Difference {
            dialogue,
            version,
            ours,
            mosquitto,
            right,
            statement,
            why,
        }
    };
    rows(&read("differences.csv"))
        .into_iter()
        .map(row)
        .collect()
}
