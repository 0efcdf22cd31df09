//! The store by itself: what was written is there after the death of the writer.

mod cuts;

use super::backlog::Backlog;
use super::{Change, Stage, StorageError, Store, Stored, channel, database, write_all};
use crate::codec::{PacketId, ReasonCode};
use crate::message::{Message, QoS};
use crate::topic::TopicName;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// A file that goes with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rmqtt-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    fn open(&self) -> (Store, Stored) {
        Store::open(&self.0, "meter").unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn message(text: &'static str) -> Message {
    Message::new(TopicName::new("a/b").unwrap(), text).with_qos(QoS::ExactlyOnce)
}

fn put(number: u64, text: &'static str) -> Change {
    Change::Put {
        number,
        message: message(text),
        put_at: None,
    }
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

#[tokio::test]
async fn what_was_written_is_found_again_in_the_order_of_publishing() {
    let place = Place::new("found");
    let (store, stored) = place.open();
    assert_eq!(stored, Stored::default());
    for change in [
        put(1, "settled"),
        put(2, "released"),
        put(3, "sent"),
        put(300, "waiting"),
        Change::Sent(1, id(1)),
        Change::Sent(2, id(2)),
        Change::Sent(3, id(65_535)),
        Change::Done(1),
        Change::Released(2, id(2), ReasonCode::NoMatchingSubscribers),
        Change::Taken(id(7)),
        Change::Taken(id(8)),
        Change::Forgotten(id(7)),
    ] {
        store.write(change);
    }
    store.close().await.unwrap();
    let (store, stored) = place.open();
    let stages: Vec<_> = stored
        .messages
        .iter()
        .map(|left| (left.number, left.stage))
        .collect();
    assert_eq!(
        stages,
        [
            (2, Stage::Released(id(2), ReasonCode::NoMatchingSubscribers)),
            (3, Stage::Sent(id(65_535))),
            (300, Stage::Waiting),
        ]
    );
    assert_eq!(stored.messages[1].message, message("sent"));
    assert_eq!(stored.taken, [id(8)]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_open_cannot_be_opened_again() {
    let place = Place::new("in-use");
    let (store, _) = place.open();
    let error = Store::open(&place.0, "meter").err();
    assert!(
        matches!(error, Some(StorageError::InUse { .. })),
        "{error:?}"
    );
    store.close().await.unwrap();
    place.open().0.close().await.unwrap();
}

#[test]
fn what_goes_before_it_was_written_takes_no_place() {
    let mut backlog = Backlog::default();
    let (answer, mut told) = tokio::sync::oneshot::channel();
    backlog.add(put(1, "sent"));
    backlog.add(Change::Sent(1, id(1)));
    for number in 2..1000 {
        backlog.add(put(number, "dropped"));
        if number > 3 {
            backlog.add(Change::Done(number - 2));
        }
        assert!(backlog.len() <= 4);
    }
    backlog.add(Change::Done(1));
    backlog.wait(answer);
    let left: Vec<String> = backlog.take().iter().map(|it| format!("{it:?}")).collect();
    assert_eq!(left.len(), 5);
    assert!(left[2].contains("number: 998") && left[3].contains("number: 999"));
    assert_eq!(left[4], "Done(1)");
    backlog.answered().unwrap().send(Ok(())).unwrap();
    assert_eq!(told.try_recv(), Ok(Ok(())));
    // It is written by now: that it goes is news.
    backlog.add(Change::Done(999));
    assert_eq!(backlog.take().len(), 1);
    assert!(backlog.is_empty());
}

#[tokio::test]
async fn whoever_waits_hears_of_it_when_all_before_is_on_the_disk() {
    let place = Place::new("many");
    let (store, _) = place.open();
    // More than one transaction takes.
    for number in 1..=20_000 {
        store.write(put(number, "x"));
    }
    store.synced().await.unwrap();
    store.write(Change::Done(1));
    store.close().await.unwrap();
    let (store, stored) = place.open();
    assert_eq!(stored.messages.len(), 19_999);
    store.close().await.unwrap();
}

/// A disk whose driver breaks down when it is written.
#[derive(Debug)]
struct Broken(redb::backends::InMemoryBackend, Arc<AtomicBool>);

impl redb::StorageBackend for Broken {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        assert!(!self.1.load(Ordering::Relaxed), "broken down");
        self.0.write(offset, data)
    }
}

#[tokio::test]
async fn nothing_counts_as_written_behind_a_panic() {
    let breaks = Arc::new(AtomicBool::new(false));
    let disk = Broken(redb::backends::InMemoryBackend::new(), Arc::clone(&breaks));
    let (outbox, _) = database::Outbox::on(disk, "meter", true).unwrap();
    let (orders, inbox) = channel();
    let failed = Arc::new(OnceLock::new());
    let store = Store {
        orders,
        failed: Arc::clone(&failed),
    };
    breaks.store(true, Ordering::Relaxed);
    store.write(put(1, "lost"));
    let (synced, ()) = tokio::join!(store.synced(), async {
        // The request to sync is there before the thread is.
        std::thread::spawn(move || write_all(outbox, &inbox, &failed));
    });
    assert!(matches!(synced, Err(StorageError::Io { .. })), "{synced:?}");
    assert_eq!(store.failure(), synced.as_ref().err());
    assert_eq!(store.synced().await, synced);
}

#[tokio::test]
async fn a_file_of_another_version_says_so_and_is_set_aside() {
    let place = Place::new("version");
    let (store, _) = place.open();
    store.close().await.unwrap();
    let about: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("about");
    let database = redb::Database::open(&place.0).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut about = transaction.open_table(about).unwrap();
        let other = 99_u32.to_le_bytes();
        about.insert("format", other.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    let Err(StorageError::SetAside { cause, aside, .. }) = Store::open(&place.0, "meter") else {
        panic!("it is opened");
    };
    assert!(cause.contains("has the format 99"), "{cause}");
    std::fs::remove_file(aside).unwrap();
    let (store, stored) = place.open();
    assert_eq!(stored, Stored::default());
    store.close().await.unwrap();
}
