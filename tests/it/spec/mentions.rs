//! Where statements are named: in the comments of the code, above the tests.

use crate::tidy::{Source, files};

/// Where a statement is named, and for which side, if that is said.
#[derive(Debug)]
pub(super) struct Mention {
    pub(super) version: u8,
    pub(super) id: String,
    pub(super) side: Option<String>,
    /// From the root of the repository.
    pub(super) file: String,
    pub(super) line: usize,
    /// The test's whole name; of a line of code, nothing.
    pub(super) test: String,
}

impl Mention {
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// What the tests say they show. A mark that is not on a test, or on one that does not run, is a fault.
pub(super) fn shown(faults: &mut Vec<String>) -> Vec<Mention> {
    let own = files("src", ".rs");
    let mut found = Vec::new();
    for file in own.iter().filter(|file| file.is_test()) {
        found.extend(rust_tests("src", file, faults));
    }
    for file in files("tests", ".rs") {
        found.extend(rust_tests("tests", &file, faults));
    }
    for file in files("tests/python", ".py") {
        found.extend(python_tests(&file, faults));
    }
    found
}

/// What the code says it obeys.
pub(super) fn obeyed() -> Vec<Mention> {
    let own = files("src", ".rs");
    own.iter()
        .filter(|file| !file.is_test())
        .flat_map(|file| ["///", "//!", "//"].map(|mark| rust_mentions("src", mark, file)))
        .flatten()
        .collect()
}

/// Ids in the texts of errors, as `"MQTT-3.1.0-2"`, and where.
pub(super) fn quoted() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for file in files("src", ".rs").iter().filter(|file| !file.is_test()) {
        for (n, line) in file.text.lines().enumerate() {
            for part in line
                .split('"')
                .skip(1)
                .step_by(2)
                .flat_map(|text| text.split(", "))
            {
                if part.starts_with("MQTT-") || part.starts_with("RMQTT-") {
                    found.push((part.to_owned(), format!("src/{}:{}", file.path, n + 1)));
                }
            }
        }
    }
    found
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

fn rust_mentions(folder: &str, mark: &str, file: &Source) -> Vec<Mention> {
    let mut found = Vec::new();
    for (n, line) in file.text.lines().enumerate() {
        for (version, side, id) in cited(line, mark) {
            found.push(Mention {
                version,
                id,
                side,
                file: format!("{folder}/{}", file.path),
                line: n + 1,
                test: String::new(),
            });
        }
    }
    found
}

fn rust_tests(folder: &str, file: &Source, faults: &mut Vec<String>) -> Vec<Mention> {
    let lines: Vec<&str> = file.text.lines().collect();
    let module = module_of(&file.path);
    let mut found = rust_mentions(folder, "///", file);
    for mention in &mut found {
        match test_below(&lines[mention.line..]) {
            Some(name) => mention.test = format!("{module}::{name}"),
            None => faults.push(format!("{}: no test that runs is below", mention.place())),
        }
    }
    found
}

/// `it/wire/golden.rs` is the module `wire::golden`, as `cargo test --test it` names it.
fn module_of(path: &str) -> String {
    let path = path.strip_prefix("it/").unwrap_or(path);
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    path.replace('/', "::")
}

/// The name of the test that begins behind its documentation: attributes, one of which says it is one, then the function.
fn test_below(lines: &[&str]) -> Option<String> {
    let mut is_test = false;
    for line in lines.iter().map(|line| line.trim()) {
        if line.starts_with("///") || line.is_empty() {
            continue;
        }
        if let Some(attribute) = line.strip_prefix("#[") {
            if attribute.starts_with("ignore") {
                return None;
            }
            is_test |= attribute.split(['(', ']']).next()?.ends_with("test");
        } else if line.starts_with("fn ") || line.starts_with("async fn ") {
            let (_, rest) = line.split_once("fn ")?;
            return is_test.then(|| rest.split(['(', '<']).next().unwrap_or_default().to_owned());
        } else if !line.ends_with(['"', ',', ']']) && !line.starts_with("reason") {
            return None;
        }
    }
    None
}

/// Every `pytest.mark.spec(...)` of a file.
fn python_tests(file: &Source, faults: &mut Vec<String>) -> Vec<Mention> {
    let mut found = Vec::new();
    let path = format!("tests/python/{}", file.path);
    for (at, mark) in file.text.match_indices("pytest.mark.spec(") {
        let rest = &file.text[at + mark.len()..];
        let (inside, below) = rest.split_once(')').unwrap_or((rest, ""));
        let line = file.text[..at].lines().count();
        let value = |name: &str| {
            let (_, rest) = inside.split_once(&format!("{name}="))?;
            let value = rest.split([',', '\n']).next()?;
            Some(value.trim().trim_matches(['"', '\'']).to_owned())
        };
        let Some(version) = value("version").and_then(|version| version.parse().ok()) else {
            faults.push(format!(
                "{path}:{line}: a mark without version=4 or version=5"
            ));
            continue;
        };
        let Some((_, name)) = below.split_once("def test_") else {
            faults.push(format!("{path}:{line}: no test is below"));
            continue;
        };
        let name = name.split('(').next().unwrap_or_default();
        for id in inside
            .split(['"', '\''])
            .filter(|part| part.starts_with("MQTT-") || part.starts_with("RMQTT-"))
        {
            found.push(Mention {
                version,
                id: id.to_owned(),
                side: value("side"),
                file: path.clone(),
                line,
                test: format!("{}::test_{name}", file.path),
            });
        }
    }
    found
}
