//! A file of users and hashed passwords, ours or Mosquitto's: a line `name:hash` for each, `#` before remarks.
//!
//! It fails closed: a line that is not understood makes the whole file void. What was read before stays then.

use super::hash::StoredHash;
use super::{Identity, Opinion, Proof, Standing, is_name};
use crate::broker::BrokerError;
use crate::broker::stats::Counter;
use bytestring::ByteString;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The users of a password file. Names are compared byte by byte, as Mosquitto does.
pub struct PasswordFile {
    path: PathBuf,
    users: RwLock<Arc<Entries>>,
    /// Chooses whose hash stands in for that of a name that nobody has.
    secret: RandomState,
}

/// Those of one reading.
pub(super) type Entries = BTreeMap<String, Arc<StoredHash>>;

impl fmt::Debug for PasswordFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordFile")
            .field("path", &self.path)
            .field("count", &self.users.read().len())
            .finish_non_exhaustive()
    }
}

impl PasswordFile {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, has no users, or has a line that is not understood: its number is said, and nothing of it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, BrokerError> {
        let path = path.into();
        let users = read(&path)?;
        Ok(Self {
            path,
            users: RwLock::new(Arc::new(users)),
            secret: RandomState::new(),
        })
    }

    /// Reads it again, for [`PasswordFile::replace`].
    ///
    /// # Errors
    /// As [`PasswordFile::open`].
    pub(super) fn prepare(&self) -> Result<Arc<Entries>, BrokerError> {
        read(&self.path).map(Arc::new)
    }

    /// From now on these are the users.
    pub(super) fn replace(&self, users: Arc<Entries>) {
        *self.users.write() = users;
    }

    /// Whether this name is in it.
    pub fn knows(&self, name: &str) -> bool {
        self.users.read().contains_key(name)
    }

    /// What it says of this name and password. Slow on purpose, and as slow for a name that nobody has: the hash of some
    /// user stands in, always the same one for a name, so that a file of many kinds of hashes does not tell either.
    pub(super) fn check(
        self: &Arc<Self>,
        name: &str,
        password: &[u8],
        hashed: &Counter,
    ) -> Opinion {
        let users = Arc::clone(&self.users.read());
        let known = users.get(name);
        let Some(hash) = known.or_else(|| self.stand_in(&users, name)) else {
            return Opinion::Unknown;
        };
        hashed.add_one();
        let is_right = hash.fits(password);
        match known {
            Some(hash) if is_right => {
                let user = ByteString::from(name);
                let (file, hash) = (Arc::clone(self), Arc::clone(hash));
                Opinion::Accepted(Identity {
                    proof: Some(Arc::new(Proof::Password(file, user.clone(), hash))),
                    user: Some(user),
                    until: None,
                })
            }
            Some(_) => Opinion::Refused,
            None => Opinion::Unknown,
        }
    }

    /// What has become of a user for whom the file had this.
    pub(super) fn standing(&self, user: &str, hash: &Arc<StoredHash>) -> Standing {
        match self.users.read().get(user) {
            None => Standing::Gone,
            Some(now) if now == hash => Standing::Good,
            Some(_) => Standing::Changed,
        }
    }

    fn stand_in<'a>(&self, users: &'a Entries, name: &str) -> Option<&'a Arc<StoredHash>> {
        let number = self.secret.hash_one(name) % users.len().max(1) as u64;
        users.values().nth(usize::try_from(number).ok()?)
    }
}

fn read(path: &Path) -> Result<Entries, BrokerError> {
    let name = path.to_string_lossy();
    let refuse = |what: String| BrokerError::Options(format!("the password file {name:?}: {what}"));
    let bytes = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    parse(&bytes).map_err(|(line, what)| match line {
        0 => refuse(what.to_owned()),
        line => refuse(format!("line {line}: {what}")),
    })
}

/// The users, or the number of the line that is at fault, from 1, and why.
fn parse(bytes: &[u8]) -> Result<Entries, (usize, &'static str)> {
    let mut users = Entries::new();
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let fault = |what| (at + 1, what);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b"#") {
            continue;
        }
        let line = std::str::from_utf8(line).map_err(|_| fault("not UTF-8"))?;
        let (name, hash) = match line.split_once(':') {
            _ if line.is_empty() => return Err(fault("an empty line")),
            None => return Err(fault("not NAME:HASH")),
            Some(("", _)) => return Err(fault("no user name")),
            Some((_, "")) => return Err(fault("no password")),
            Some((name, _)) if !is_name(name) => {
                return Err(fault("a user name with control characters"));
            }
            Some(parts) => parts,
        };
        let hash = StoredHash::parse(hash).map_err(fault)?;
        if users.insert(name.to_owned(), Arc::new(hash)).is_some() {
            return Err(fault("a user that is there twice"));
        }
    }
    if users.is_empty() {
        return Err((0, "there are no users in it, so nobody could connect"));
    }
    Ok(users)
}
