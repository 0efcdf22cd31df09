//! Power that fails at any write: what was synced is there, and of each transaction all or nothing, whichever of the writes
//! since the last sync have reached the disk, and in whichever order.

use super::super::database::Outbox;
use super::{id, put};
use crate::codec::ReasonCode;
use crate::storage::{Change, Stored};
use redb::StorageBackend;
use std::io::{Error, Result};
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone)]
enum Step {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Debug, Default)]
struct State {
    /// What the disk shows as long as there is power.
    shown: Vec<u8>,
    /// What has been synced, and what has come since.
    safe: Vec<u8>,
    since: Vec<Step>,
    /// Steps ever, and at which the power fails.
    steps: usize,
    fails_at: usize,
}

#[derive(Debug, Clone)]
struct Disk(Arc<Mutex<State>>);

fn apply(step: &Step, bytes: &mut Vec<u8>) {
    match step {
        Step::Write(at, data) => {
            let end = at + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at..end].copy_from_slice(data);
        }
        Step::Length(length) => bytes.resize(*length, 0),
    }
}

impl Disk {
    fn new(bytes: Vec<u8>, fails_at: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            shown: bytes.clone(),
            safe: bytes,
            fails_at,
            ..State::default()
        })))
    }

    fn step(&self, step: Option<Step>) -> Result<()> {
        let mut state = self.0.lock().unwrap();
        state.steps += 1;
        if state.steps > state.fails_at {
            return Err(Error::other("no power"));
        }
        if let Some(step) = step {
            apply(&step, &mut state.shown);
            state.since.push(step);
        } else {
            state.safe = state.shown.clone();
            state.since.clear();
        }
        Ok(())
    }

    /// What is there when the power is back: some of what was not synced, by the bits of the choice.
    fn left(&self, choice: u64) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        let mut bytes = state.safe.clone();
        for (n, step) in state.since.iter().enumerate() {
            // A file that has not grown cannot have been written behind its end; the order of lengths is kept.
            if (choice >> (n % 64)) & 1 == 1 || matches!(step, Step::Length(_)) {
                apply(step, &mut bytes);
            }
        }
        bytes
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64> {
        Ok(self.0.lock().unwrap().shown.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let state = self.0.lock().unwrap();
        let at = usize::try_from(offset).unwrap();
        let read = state.shown.get(at..at + out.len());
        let read = read.ok_or_else(|| Error::other("behind the end"))?;
        out.copy_from_slice(read);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.step(Some(Step::Length(usize::try_from(len).unwrap())))
    }

    fn sync_data(&self) -> Result<()> {
        self.step(None)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let at = usize::try_from(offset).unwrap();
        self.step(Some(Step::Write(at, data.to_vec())))
    }
}

/// Transactions, and what the outbox holds after each.
fn transactions() -> [Vec<Change>; 4] {
    [
        vec![put(1, "one"), put(2, "two"), Change::Taken(id(7))],
        vec![
            Change::Sent(1, id(1)),
            Change::Sent(2, id(2)),
            put(3, "three"),
        ],
        vec![
            Change::Released(1, id(1), ReasonCode::Success),
            Change::Forgotten(id(7)),
            Change::Done(2),
        ],
        vec![
            Change::Done(1),
            Change::Sent(3, id(1)),
            Change::Taken(id(8)),
        ],
    ]
}

#[test]
fn power_that_fails_at_any_write_leaves_whole_transactions() {
    let empty = Disk::new(Vec::new(), usize::MAX);
    drop(Outbox::on(empty.clone(), "meter", true).unwrap());
    let begun = empty.left(0);
    let mut states = vec![Stored::default()];
    let whole = Disk::new(begun.clone(), usize::MAX);
    for changes in transactions() {
        let (outbox, _) = Outbox::on(whole.clone(), "meter", false).unwrap();
        outbox.write(&changes).unwrap();
        drop(outbox);
        let copy = Disk::new(whole.left(0), usize::MAX);
        states.push(Outbox::on(copy, "meter", false).unwrap().1);
    }
    let mut fails_at = 0;
    let mut cuts = 0;
    loop {
        let disk = Disk::new(begun.clone(), fails_at);
        let mut written = 0;
        if let Ok((outbox, _)) = Outbox::on(disk.clone(), "meter", false) {
            for changes in transactions() {
                if outbox.write(&changes).is_err() {
                    break;
                }
                written += 1;
            }
        }
        for choice in [0, u64::MAX, 0x5555_5555_5555_5555, 0x9E37_79B9_7F4A_7C15] {
            let later = Disk::new(disk.left(choice), usize::MAX);
            let (_, stored) = Outbox::on(later, "meter", false)
                .unwrap_or_else(|cause| panic!("cut at {fails_at} with {choice:x}: {cause}"));
            let next = (written + 1).min(states.len() - 1);
            assert!(
                states[written..=next].contains(&stored),
                "cut at {fails_at} with {choice:x}: {written} were written"
            );
        }
        cuts += 1;
        if disk.0.lock().unwrap().steps < fails_at {
            break;
        }
        fails_at += 1;
    }
    assert!(cuts > 20, "{cuts}");
}
