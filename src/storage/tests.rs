//! The store by itself: what was written is there after the death of the writer.

mod cuts;

use super::{Change, Stage, StorageError, Store, Stored};
use crate::codec::{PacketId, ReasonCode};
use crate::message::{Message, QoS};
use crate::topic::TopicName;
use std::path::PathBuf;

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
