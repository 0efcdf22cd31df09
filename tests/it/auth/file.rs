//! Password files: ours and Mosquitto's, and what makes one void.

use super::password::connect;
use crate::raw::bytes::Connect;
use crate::raw::{BOTH, Server, V5};
use rmqtt::broker::auth::{Auth, AuthLimits, PasswordFile, Source, Users, hash_password};
use rmqtt::broker::{BrokerError, BrokerOptions};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// By `mosquitto_passwd` 2.0, with the password `secret`.
const PBKDF2: &str = "$7$101$alqMs6mfDmLBejbB$OgWJ1esncHsU7OH9V14DiGUsGCU0uDqgJa1KORT3Ql9RzSdyIyq8DqZwm+1zAwyp32Ko/veKZ8M8QUhXeWZ1oQ==";
/// Computed by Python's `hashlib`: SHA-512 of the password and the salt.
pub(super) const SHA512: &str = "$6$MDEyMzQ1Njc4OWFi$qEXipeLbgxRlwd06QHfY5WITkUZg0jLg9SZbXzq3ifXjfj+v3GbJGrSfC5PAg3UNCS+UFfbhUIZX4bmIAs330w==";
/// By the reference implementation, with salt and hash of 64 bytes as Mosquitto 2.1 has them.
const ARGON2ID: &str = "$argon2id$v=19$m=8192,t=2,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$L9MDg4eDKzq1gbt4ix3+ABdE/ugcHqJZUv7zCOT/sWxoutvvfMtjBQ4wrUCAvRbrOXU6uZVwp9am5nFv8VevmA";
/// The same with a short salt, and cheap.
pub(super) const CHEAP: &str = "$argon2id$v=19$m=64,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$sAB5SsCsBD0gmb5FJXoHOsOkGSa93chcRYo67KPvF8c";
const ARGON2I: &str =
    "$argon2i$v=19$m=64,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$tr42Ap7CN4W04qCepgfWoNPcysyM5H9cva8uP+lhkZE";

/// A file that is gone when this is dropped.
pub(super) struct Temporary(PathBuf);

impl Temporary {
    pub(super) fn new(content: &[u8]) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("rmqtt-users-{}-{number}", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(content);
        file
    }

    pub(super) fn write(&self, content: &[u8]) {
        std::fs::write(&self.0, content).expect("a temporary file");
    }

    pub(super) fn open(&self) -> Result<PasswordFile, BrokerError> {
        PasswordFile::open(&self.0)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(super) fn auth(sources: Vec<Source>) -> Arc<Auth> {
    Arc::new(Auth::new(sources, AuthLimits::default()).expect("sources"))
}

pub(super) async fn server(auth: &Arc<Auth>) -> Server {
    let auth = Some(Arc::clone(auth));
    Server::with_options(|options: &mut BrokerOptions| options.auth = auth).await
}

async fn with_file(content: &str) -> Server {
    let file = Temporary::new(content.as_bytes()).open().expect(content);
    server(&auth(vec![Source::Passwords(Arc::new(file))])).await
}

async fn answered(server: &Server, connect: &Connect, code: u8) {
    let mut peer = server.socket(connect.version).await;
    peer.send(&connect.bytes()).await;
    peer.expect_connack(code).await;
}

#[tokio::test]
async fn every_kind_of_hash_is_read_as_it_is() {
    let ours = hash_password(b"secret").expect("hashed");
    assert!(
        ours.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
        "{ours}"
    );
    assert_ne!(
        ours,
        hash_password(b"secret").expect("hashed"),
        "no two salts alike"
    );
    for hash in [&*ours, PBKDF2, SHA512, ARGON2ID, CHEAP] {
        let server = with_file(&format!("# made by hand\nalice:{hash}\r\n")).await;
        for version in BOTH {
            let good = connect(version, "id", "alice", Some("secret"));
            let (mut peer, _) = server.connect(&good).await;
            assert_eq!(server.broker().clients()[0].user.as_deref(), Some("alice"));
            peer.ping().await;
            peer.disconnect().await;
            let bad = version.pick(4, 0x86);
            for (user, password) in [("alice", "Secret"), ("alice", ""), ("Alice", "secret")] {
                answered(&server, &connect(version, "id", user, Some(password)), bad).await;
            }
        }
    }
}

#[test]
fn a_file_that_is_not_understood_is_void_and_the_line_is_named() {
    let good = format!("alice:{CHEAP}\n");
    let wrong: [(&[u8], &str); 22] = [
        (b"", "line 1: an empty line"),
        (b"# nobody", "no users"),
        (b"\n", "line 1: an empty line"),
        (b"\n\n", "line 1: an empty line"),
        (b"bob", "line 2: not NAME:HASH"),
        (b":secret", "line 2: no user name"),
        (b"bob:", "line 2: no password"),
        (b"bob:secret", "line 2: a password that is not hashed"),
        (b"bob:$5$c2FsdA==$secret", "line 2: a kind of hash"),
        (ARGON2I.as_bytes(), "line 2: not NAME:HASH"),
        (b"bob:$7$101$MDEyMzQ1Njc4OWFi$c2VjcmV0", "line 2: a hash that is damaged"),
        (b"bob:$7$0$MDEy$MDEy", "line 2: more iterations"),
        (b"bob:$7$+1$MDEy$MDEy", "line 2: no iterations"),
        (b"bob:$7$99999999$MDEy$MDEy", "line 2: more iterations"),
        (b"bob:$6$$secret", "line 2: a hash that is damaged"),
        (b"bob:$argon2id$v=19$m=64,t=1,p=1$AAECAwQFBgcICQoLDA0ODw", "line 2: a hash that is damaged"),
        (b"bob:$argon2id$v=19$m=4000000000,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$sAB5SsCsBD0gmb5FJXoHOsOkGSa93chcRYo67KPvF8c", "line 2: more memory"),
        (b"bob:$argon2id$m=64,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$sAB5SsCsBD0gmb5FJXoHOsOkGSa93chcRYo67KPvF8c", "line 2: a hash that is damaged"),
        (b"b\xFFb:$7$", "line 2: not UTF-8"),
        (b"b\x07b:$7$", "line 2: a user name with control characters"),
        ("\u{FEFF}bob:$7$".as_bytes(), "line 2: a user name with control characters"),
        (good.as_bytes(), "line 2: a user that is there twice"),
    ];
    for (lines, words) in wrong {
        let is_whole = words.starts_with("line 1") || words == "no users";
        let before = if is_whole { &[] } else { good.as_bytes() };
        let file = Temporary::new(&[before, lines].concat());
        let error = file.open().expect_err(words).to_string();
        assert!(error.contains(words), "{error}: {words}");
        assert!(!error.contains("secret") && !error.contains('$'), "{error}");
    }
    let argon2i = Temporary::new(format!("bob:{ARGON2I}").as_bytes()).open();
    assert!(argon2i.is_err());
    let nowhere = PasswordFile::open("/nowhere/to/be/found").expect_err("not there");
    assert!(matches!(nowhere, BrokerError::Options(_)), "{nowhere}");
}

#[tokio::test]
async fn a_file_that_is_read_again_counts_from_then_on_and_a_void_one_does_not() {
    let temporary = Temporary::new(format!("alice:{CHEAP}\n").as_bytes());
    let file = Arc::new(temporary.open().expect("a file"));
    let auth = auth(vec![Source::Passwords(Arc::clone(&file))]);
    let server = server(&auth).await;
    let (alice, bob) = ("alice", "bob");
    temporary.write(format!("alice:{CHEAP}\n\n").as_bytes());
    let reload = || server.broker().reload(None);
    let error = reload().expect_err("an empty line").to_string();
    assert!(error.contains("line 2"), "{error}");
    answered(&server, &connect(V5, "a", alice, Some("secret")), 0).await;
    temporary.write(format!("bob:{CHEAP}\n").as_bytes());
    reload().expect("understood");
    assert!(file.knows("bob") && !file.knows("alice"));
    answered(&server, &connect(V5, "a", alice, Some("secret")), 0x86).await;
    answered(&server, &connect(V5, "b", bob, Some("secret")), 0).await;
}

/// The clock would tell whether a name is known; so would the number of hashes, which can be counted.
#[tokio::test]
async fn an_unknown_name_costs_as_many_hashes_as_a_known_one() {
    let file = Temporary::new(format!("carol:{CHEAP}\ndave:{SHA512}\n").as_bytes());
    let users = Users::new([("alice", "secret")]).expect("a user");
    let sources = vec![
        Source::Users(Arc::new(users)),
        Source::Passwords(Arc::new(file.open().expect("a file"))),
    ];
    let server = server(&auth(sources)).await;
    for (user, password) in [
        ("alice", "wrong"),
        ("carol", "wrong"),
        ("dave", ""),
        ("nobody", "secret"),
        ("", "secret"),
        ("\u{7}", "secret"),
    ] {
        let before = server.stats().passwords_hashed;
        answered(&server, &connect(V5, "id", user, Some(password)), 0x86).await;
        assert_eq!(server.stats().passwords_hashed - before, 2, "{user}");
    }
    for user in ["alice", "carol", "dave"] {
        answered(&server, &connect(V5, user, user, Some("secret")), 0).await;
    }
}

#[tokio::test]
async fn the_first_source_that_knows_a_user_decides() {
    let file = Temporary::new(format!("alice:{CHEAP}\nbob:{CHEAP}\n").as_bytes());
    let users = Users::new([("alice", "other")]).expect("a user");
    let sources = vec![
        Source::Users(Arc::new(users)),
        Source::Passwords(Arc::new(file.open().expect("a file"))),
    ];
    let server = server(&auth(sources)).await;
    answered(&server, &connect(V5, "a", "alice", Some("secret")), 0x86).await;
    answered(&server, &connect(V5, "a", "alice", Some("other")), 0).await;
    answered(&server, &connect(V5, "b", "bob", Some("secret")), 0).await;
}

#[test]
fn sources_that_could_let_nobody_in_are_refused() {
    let users = || Source::Users(Arc::new(Users::new([("alice", "secret")]).expect("a user")));
    let limits = AuthLimits::default();
    assert!(Auth::new(vec![], limits.clone()).is_err());
    assert!(Auth::new(vec![users(), users()], limits.clone()).is_err());
    let none = AuthLimits {
        remembered_max: 0,
        ..limits
    };
    assert!(Auth::new(vec![users()], none).is_err());
    for password in [Vec::new(), vec![b'x'; 65_536]] {
        assert!(hash_password(&password).is_err());
    }
}

#[test]
fn no_debug_output_shows_a_hash_or_a_name() {
    let file = Temporary::new(format!("alice:{CHEAP}\n").as_bytes());
    let auth = auth(vec![Source::Passwords(Arc::new(
        file.open().expect("a file"),
    ))]);
    let shown = format!("{auth:?}");
    assert!(
        !shown.contains("argon2id$") && !shown.contains("alice"),
        "{shown}"
    );
}
