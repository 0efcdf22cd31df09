//! All that is known of the statements, in one place.

use super::mentions::{self, Mention};
use super::tables::{self, Duty, SIDES, Statement};
use std::collections::{BTreeMap, BTreeSet};

/// Tests of what client and broker share: they know neither, so they show the duty of neither.
const SHARED: [&str; 7] = [
    "codec::",
    "message::",
    "qos::",
    "session::",
    "topic::",
    "transport::",
    "wire::",
];

pub(super) struct Book {
    pub(super) statements: Vec<Statement>,
    by_id: BTreeMap<(u8, String), usize>,
    pub(super) duties: BTreeSet<Duty>,
    pub(super) shown: Vec<Mention>,
    pub(super) obeyed: Vec<Mention>,
    /// The duties that a test shows.
    pub(super) done: BTreeSet<Duty>,
    pub(super) planned: Vec<(Duty, String)>,
    pub(super) exempt: Vec<(Duty, String)>,
    pub(super) faults: Vec<String>,
}

/// Tests of one side, which show nothing of the other.
const ONE_SIDED: [(&str, &[&str]); 2] = [
    (
        "client",
        &["auth::client", "client_", "client::", "scripted::"],
    ),
    (
        "server",
        &[
            "auth::broker",
            "auth::exchange",
            "auth::password",
            "broker_",
            "broker::",
            "conformance::",
            "hostile::",
            "router::",
        ],
    ),
];

/// The side that this test is of, if it is of one.
pub(super) fn side_of(mention: &Mention) -> Option<&'static str> {
    let is_of = |parts: &[&str]| parts.iter().any(|part| mention.test.starts_with(part));
    ONE_SIDED
        .into_iter()
        .find(|(_, parts)| is_of(parts))
        .map(|(side, _)| side)
}

/// Whether this is a test of what client and broker share.
pub(super) fn is_shared(mention: &Mention) -> bool {
    SHARED.iter().any(|part| mention.test.starts_with(part))
}

impl Book {
    pub(super) fn open() -> Self {
        let statements = tables::statements();
        let by_id = statements
            .iter()
            .enumerate()
            .map(|(n, statement)| ((statement.version, statement.id.clone()), n))
            .collect();
        let mut faults = Vec::new();
        let mut book = Self {
            duties: statements.iter().flat_map(Statement::duties).collect(),
            statements,
            by_id,
            shown: mentions::shown(&mut faults),
            obeyed: mentions::obeyed(),
            done: BTreeSet::new(),
            planned: tables::listed("planned.txt"),
            exempt: tables::listed("exempt.txt"),
            faults,
        };
        for mention in &book.shown {
            book.done.extend(book.duty_shown(mention));
        }
        book
    }

    pub(super) fn statement(&self, version: u8, id: &str) -> Option<&Statement> {
        let n = self.by_id.get(&(version, id.to_owned()))?;
        self.statements.get(*n)
    }

    /// Without a side, a test shows a statement that has one side. What client and broker share shows neither of them.
    pub(super) fn duty_shown(&self, mention: &Mention) -> Option<Duty> {
        let statement = self.statement(mention.version, &mention.id)?;
        let mut duties = statement.duties();
        let is_shared = is_shared(mention);
        match &mention.side {
            _ if is_shared && statement.side != "codec" => None,
            _ if duties.len() == 1 => duties.pop(),
            Some(side) => duties.into_iter().find(|duty| duty.side == *side),
            None => None,
        }
    }

    /// What need not be on a list any more.
    pub(super) fn listed_and_shown(&self) -> impl Iterator<Item = Duty> {
        let rows = self.planned.iter().chain(&self.exempt);
        rows.map(|(duty, _)| duty.clone())
            .filter(|duty| self.done.contains(duty))
    }

    /// The tests that show this duty.
    pub(super) fn tests(&self, duty: &Duty) -> impl Iterator<Item = &Mention> {
        self.shown
            .iter()
            .filter(move |mention| self.duty_shown(mention).as_ref() == Some(duty))
    }

    /// Tests that show the statement in what both sides share, which is a duty of neither.
    pub(super) fn shared_tests(&self, statement: &Statement) -> impl Iterator<Item = &Mention> {
        self.shown.iter().filter(move |mention| {
            mention.version == statement.version
                && mention.id == statement.id
                && self.duty_shown(mention).is_none()
        })
    }

    /// The lines that say they obey this statement.
    pub(super) fn code(&self, statement: &Statement) -> impl Iterator<Item = &Mention> {
        self.obeyed.iter().filter(move |mention| {
            mention.version == statement.version && mention.id == statement.id
        })
    }

    /// Shown, planned and exempt, for the statements of which this is true.
    pub(super) fn count(&self, is_meant: impl Fn(&Duty) -> bool) -> [usize; 4] {
        let on = |rows: &[(Duty, String)]| {
            rows.iter()
                .filter(|(duty, _)| is_meant(duty) && !self.done.contains(duty))
                .count()
        };
        [
            self.duties.iter().filter(|duty| is_meant(duty)).count(),
            self.done.iter().filter(|duty| is_meant(duty)).count(),
            on(&self.planned),
            on(&self.exempt),
        ]
    }

    #[expect(clippy::print_stdout, reason = "printing is what it is asked for")]
    pub(super) fn print(&self) {
        for statement in &self.statements {
            let Statement {
                version,
                id,
                side,
                text,
            } = statement;
            println!("{version} {id} ({side}) {text}");
            for mention in self.code(statement) {
                println!("    code    {}", mention.place());
            }
            for mention in self.shared_tests(statement) {
                println!("    shared  {} {}", mention.place(), mention.test);
            }
            for duty in statement.duties() {
                for mention in self.tests(&duty) {
                    println!("    {:7} {} {}", duty.side, mention.place(), mention.test);
                }
            }
        }
        let all = self.statements.len();
        let numbered = self.statements.iter().filter(|it| it.is_numbered()).count();
        println!("{all} statements, {numbered} of them numbered");
        for side in SIDES {
            let [duties, shown, planned, exempt] = self.count(|duty| duty.side == side);
            println!("{side}: {duties} duties: {shown} shown, {planned} planned, {exempt} exempt");
        }
    }
}
