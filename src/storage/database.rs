//! The file: its tables, and one transaction for each batch of changes.
//!
//! | table | from | to |
//! |---|---|---|
//! | `about` | a name | `format` (a number, little-endian) and `client_id` |
//! | `messages` | number in the order of publishing | milliseconds from 1970 to when it was published, or 0, and the message as a PUBLISH of MQTT 5 |
//! | `exchanges` | the same number | packet id, and 1 (sent) or 2 and the reason of PUBREC (released); none: not sent yet |
//! | `taken` | packet id of a QoS 2 message that was taken and not released | nothing |
//! | `subscriptions` | subscription identifier | filters, options and user properties, as a SUBSCRIBE of MQTT 5 |
//!
//! A message never changes, so what is written again for each step of its exchange is three or four bytes.

use super::{Change, Stage, StorageError, Stored, StoredMessage};
use crate::codec::{
    self, Limits, Packet, PacketId, ProtocolVersion, Publish, ReasonCode, SendBuffer, Subscribe,
    SubscribeFilter,
};
use crate::message::{Message, UserProperty};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend,
    TableDefinition, TableError,
};
use std::fs::{File, OpenOptions};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What this file's tables look like. Another number is another version of them.
const FORMAT: u32 = 2;

/// Pages that are kept in memory: an outbox is written far more than it is read.
const CACHE_BYTES: usize = 4 << 20;

const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("about");
const MESSAGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("messages");
const EXCHANGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("exchanges");
const TAKEN: TableDefinition<'_, u16, ()> = TableDefinition::new("taken");
const SUBSCRIPTIONS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("subscriptions");

const SENT: u8 = 1;
const RELEASED: u8 = 2;

/// An open file. No other process can open it.
pub(super) struct Outbox {
    path: PathBuf,
    database: Database,
}

/// Why an existing file cannot be read.
enum Fault {
    Error(StorageError),
    /// It is of no use to anybody: set it aside.
    Unreadable(String),
}

impl Outbox {
    /// Opens the file, or makes one, and reads all that is in it.
    pub(super) fn open(path: &Path, client_id: &str) -> Result<(Self, Stored), StorageError> {
        let io = |error: std::io::Error| fault(path, "cannot be opened", &error);
        match OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
        {
            Ok(file) => {
                let outbox = Self::begin(path, file, client_id)?;
                Ok((outbox, Stored::default()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let length = std::fs::metadata(path).map_err(io)?.len();
                let read = if length == 0 {
                    // Nobody leaves a file empty: it is made whole before anything else is done with it.
                    Err(Fault::Unreadable("is empty".to_owned()))
                } else {
                    Self::read(path, client_id)
                };
                read.map_err(|fault| match fault {
                    Fault::Error(error) => error,
                    Fault::Unreadable(cause) => set_aside(path, cause),
                })
            }
            Err(error) => Err(io(error)),
        }
    }

    fn begin(path: &Path, file: File, client_id: &str) -> Result<Self, StorageError> {
        let made = FileBackend::new(file)
            .map_err(redb::Error::from)
            .and_then(|backend| make(backend, client_id));
        let database = made.map_err(|error| {
            // What was made by us in this moment, and is not whole.
            let _ = std::fs::remove_file(path);
            fault(path, "cannot be made", &error)
        })?;
        sync_directory(path);
        Ok(Self {
            path: path.to_owned(),
            database,
        })
    }

    /// On what a test has in the place of a disk: a new one, or one that is there.
    #[cfg(test)]
    pub(super) fn on(
        backend: impl StorageBackend,
        client_id: &str,
        is_new: bool,
    ) -> Result<(Self, Stored), String> {
        let path = PathBuf::from("test");
        let opened = if is_new {
            make(backend, client_id)
        } else {
            builder()
                .create_with_backend(backend)
                .map_err(redb::Error::from)
        };
        let database = opened.map_err(|error| error.to_string())?;
        let outbox = Self { path, database };
        match outbox.load(client_id) {
            Ok(stored) => Ok((outbox, stored)),
            Err(Fault::Error(error)) => Err(error.to_string()),
            Err(Fault::Unreadable(cause)) => Err(cause),
        }
    }

    fn read(path: &Path, client_id: &str) -> Result<(Self, Stored), Fault> {
        let database = builder().open(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                Fault::Error(StorageError::InUse { path: text(path) })
            }
            DatabaseError::Storage(redb::StorageError::Io(error))
                if !matches!(
                    error.kind(),
                    std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
                ) =>
            {
                Fault::Error(fault(path, "cannot be opened", &error))
            }
            other => Fault::Unreadable(format!("is damaged ({other})")),
        })?;
        let outbox = Self {
            path: path.to_owned(),
            database,
        };
        let stored = outbox.load(client_id)?;
        Ok((outbox, stored))
    }

    fn load(&self, client_id: &str) -> Result<Stored, Fault> {
        let damaged = |error: redb::Error| Fault::Unreadable(format!("is damaged ({error})"));
        let bad = |what: &str| Fault::Unreadable(format!("is damaged ({what})"));
        self.check_owner(client_id)?;
        let read = || -> Result<_, redb::Error> {
            let transaction = self.database.begin_read()?;
            Ok((
                transaction.open_table(MESSAGES)?,
                transaction.open_table(EXCHANGES)?,
                transaction.open_table(TAKEN)?,
            ))
        };
        let (messages, exchanges, taken) = read().map_err(damaged)?;
        let mut stored = Stored::default();
        for entry in messages.iter().map_err(|error| damaged(error.into()))? {
            let (number, value) = entry.map_err(|error| damaged(error.into()))?;
            let number = number.value();
            let (put_at, message) = parse(value.value()).ok_or_else(|| bad("a message is none"))?;
            let exchange = exchanges
                .get(number)
                .map_err(|error| damaged(error.into()))?;
            let stage = match exchange {
                Some(exchange) => {
                    stage(exchange.value()).ok_or_else(|| bad("an exchange is none"))?
                }
                None => Stage::Waiting,
            };
            stored.messages.push(StoredMessage {
                number,
                message,
                put_at,
                stage,
            });
        }
        for entry in taken.iter().map_err(|error| damaged(error.into()))? {
            let (id, ()) = entry
                .map(|(id, _)| (id.value(), ()))
                .map_err(|error| damaged(error.into()))?;
            let id = PacketId::new(id).ok_or_else(|| bad("a packet id is 0"))?;
            stored.taken.push(id);
        }
        let subscriptions = self.load_subscriptions().map_err(damaged)?;
        stored.subscriptions = subscriptions.ok_or_else(|| bad("a subscription is none"))?;
        Ok(stored)
    }

    /// `None`: one of them cannot be read.
    fn load_subscriptions(&self) -> Result<Option<Vec<Subscribe>>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let mut subscriptions = Vec::new();
        for entry in transaction.open_table(SUBSCRIPTIONS)?.iter()? {
            let mut bytes = BytesMut::from(entry?.1.value());
            let packet = codec::decode(&mut bytes, ProtocolVersion::V5, &Limits::default());
            let Ok(Some(Packet::Subscribe(subscribe))) = packet else {
                return Ok(None);
            };
            subscriptions.push(subscribe);
        }
        Ok(Some(subscriptions))
    }

    fn check_owner(&self, client_id: &str) -> Result<(), Fault> {
        let read = || -> Result<_, redb::Error> {
            let transaction = self.database.begin_read()?;
            let about = match transaction.open_table(ABOUT) {
                Err(TableError::TableDoesNotExist(_)) => return Ok((None, None)),
                other => other?,
            };
            let format = about.get("format")?.map(|value| value.value().to_vec());
            let owner = about.get("client_id")?.map(|value| value.value().to_vec());
            Ok((format, owner))
        };
        let (format, owner) =
            read().map_err(|error| Fault::Unreadable(format!("is damaged ({error})")))?;
        let format = format
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_le_bytes);
        match (format, owner) {
            (Some(FORMAT), Some(owner)) if owner == client_id.as_bytes() => Ok(()),
            (Some(FORMAT), Some(owner)) => Err(Fault::Error(StorageError::OtherClient {
                path: text(&self.path),
                owner: String::from_utf8_lossy(&owner).into_owned(),
                asked: client_id.to_owned(),
            })),
            (Some(FORMAT) | None, _) => Err(Fault::Unreadable("is no outbox".to_owned())),
            (Some(other), _) => Err(Fault::Unreadable(format!(
                "has the format {other}, and this version reads {FORMAT}"
            ))),
        }
    }

    /// Writes these changes, all or none. When it returns they are on the disk.
    pub(super) fn write(&self, changes: &[Change]) -> Result<(), StorageError> {
        self.try_write(changes)
            .map_err(|error| fault(&self.path, "cannot be written", &error))
    }

    /// Why nothing can be written behind a panic.
    pub(super) fn broken(&self) -> StorageError {
        fault(
            &self.path,
            "cannot be written",
            &"its thread has broken down",
        )
    }

    fn try_write(&self, changes: &[Change]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut messages = transaction.open_table(MESSAGES)?;
            let mut exchanges = transaction.open_table(EXCHANGES)?;
            let mut taken = transaction.open_table(TAKEN)?;
            let mut subscriptions = transaction.open_table(SUBSCRIPTIONS)?;
            for change in changes {
                match change {
                    Change::Put {
                        number,
                        message,
                        put_at,
                    } => {
                        if let Some(bytes) = format(message, *put_at) {
                            messages.insert(number, bytes.as_ref())?;
                        }
                    }
                    Change::Sent(number, id) => {
                        let [high, low] = id.get().to_be_bytes();
                        exchanges.insert(number, [high, low, SENT].as_slice())?;
                    }
                    Change::Released(number, id, reason) => {
                        let [high, low] = id.get().to_be_bytes();
                        let value = [high, low, RELEASED, reason.number()];
                        exchanges.insert(number, value.as_slice())?;
                    }
                    Change::Waiting(number) => drop(exchanges.remove(number)?),
                    Change::Done(number) => {
                        exchanges.remove(number)?;
                        messages.remove(number)?;
                    }
                    Change::Taken(id) => drop(taken.insert(id.get(), ())?),
                    Change::Forgotten(id) => drop(taken.remove(id.get())?),
                    Change::AllForgotten => taken.retain(|_, ()| false)?,
                    Change::Subscribed {
                        key,
                        filters,
                        user_properties,
                    } => {
                        if let Some(bytes) = format_subscription(*key, filters, user_properties) {
                            subscriptions.insert(key.get(), bytes.as_ref())?;
                        }
                    }
                    Change::Unsubscribed(key) => drop(subscriptions.remove(key.get())?),
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

/// An empty outbox, on the disk when this returns.
fn make(backend: impl StorageBackend, client_id: &str) -> Result<Database, redb::Error> {
    let database = builder().create_with_backend(backend)?;
    let transaction = database.begin_write()?;
    {
        let mut about = transaction.open_table(ABOUT)?;
        about.insert("format", FORMAT.to_le_bytes().as_slice())?;
        about.insert("client_id", client_id.as_bytes())?;
        transaction.open_table(MESSAGES)?;
        transaction.open_table(EXCHANGES)?;
        transaction.open_table(TAKEN)?;
        transaction.open_table(SUBSCRIPTIONS)?;
    }
    transaction.commit()?;
    Ok(database)
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder
        .set_cache_size(CACHE_BYTES)
        // The file is small, and was nobody's but ours: whatever else has written into it has damaged it.
        .set_check_integrity_on_open(true);
    builder
}

/// The bytes of a message: `None` if it cannot be a packet, and then it cannot be sent either.
fn format(message: &Message, put_at: Option<SystemTime>) -> Option<BytesMut> {
    let mut publish = Publish::new(message.clone());
    publish.packet_id = PacketId::new(1);
    let mut packet = SendBuffer::new();
    codec::encode(&Packet::Publish(publish), ProtocolVersion::V5, &mut packet).ok()?;
    let mut bytes = BytesMut::with_capacity(8 + packet.remaining());
    let since = put_at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let millis = since.map_or(0, |since| since.as_millis());
    bytes.put_u64(u64::try_from(millis).unwrap_or(0));
    bytes.put(&mut packet);
    Some(bytes)
}

fn parse(bytes: &[u8]) -> Option<(Option<SystemTime>, Message)> {
    let (put_at, packet) = bytes.split_first_chunk()?;
    let put_at = Some(u64::from_be_bytes(*put_at)).filter(|millis| *millis > 0);
    let put_at = put_at.and_then(|millis| UNIX_EPOCH.checked_add(Duration::from_millis(millis)));
    let mut packet = BytesMut::from(packet);
    match codec::decode(&mut packet, ProtocolVersion::V5, &Limits::default()) {
        Ok(Some(Packet::Publish(publish))) if packet.is_empty() => Some((put_at, publish.message)),
        _ => None,
    }
}

/// The bytes of a subscription: `None` if it cannot be a packet, and then it cannot be sent either.
fn format_subscription(
    key: NonZeroU32,
    filters: &[SubscribeFilter],
    user_properties: &[UserProperty],
) -> Option<Bytes> {
    let subscribe = Subscribe {
        packet_id: PacketId::new(1)?,
        filters: filters.to_vec(),
        subscription_id: Some(key),
        user_properties: user_properties.to_vec(),
    };
    let mut packet = SendBuffer::new();
    codec::encode(
        &Packet::Subscribe(subscribe),
        ProtocolVersion::V5,
        &mut packet,
    )
    .ok()?;
    Some(packet.copy_to_bytes(packet.remaining()))
}

fn stage(bytes: &[u8]) -> Option<Stage> {
    match *bytes {
        [high, low, SENT] => Some(Stage::Sent(id(high, low)?)),
        [high, low, RELEASED, reason] => Some(Stage::Released(
            id(high, low)?,
            ReasonCode::from_number(reason)?,
        )),
        _ => None,
    }
}

fn id(high: u8, low: u8) -> Option<PacketId> {
    PacketId::new(u16::from_be_bytes([high, low]))
}

/// Renames what cannot be read, so that nobody loses it for good.
fn set_aside(path: &Path, cause: String) -> StorageError {
    let aside = (1..=u16::MAX)
        .map(|n| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".damaged-{n}"));
            PathBuf::from(name)
        })
        .find(|aside| !aside.exists());
    let renamed = match &aside {
        Some(aside) => std::fs::rename(path, aside),
        None => return fault(path, "cannot be set aside", &cause),
    };
    match (renamed, aside) {
        (Ok(()), Some(aside)) => {
            sync_directory(path);
            StorageError::SetAside {
                path: text(path),
                aside: text(&aside),
                cause,
            }
        }
        (Err(error), _) => fault(
            path,
            "is damaged, and cannot be set aside",
            &format!("{cause}; {error}"),
        ),
        (Ok(()), None) => fault(path, "cannot be set aside", &cause),
    }
}

/// Makes the name as lasting as the file, where directories can be synced.
fn sync_directory(path: &Path) {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Windows has no such thing, and does it by itself.
    let _ = File::open(parent).and_then(|directory| directory.sync_all());
}

fn fault(path: &Path, action: &'static str, error: &impl ToString) -> StorageError {
    StorageError::Io {
        path: text(path),
        action,
        cause: error.to_string(),
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
