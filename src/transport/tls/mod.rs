//! TLS 1.2 and 1.3, at both ends.
//!
//! Owns what can be asked for, the two configurations that are made of it ([`TlsClient`], [`TlsServer`]), and the encrypted
//! pipe in `encrypted`. What is read from files is in `material`, what failed handshakes are called in `words`. The cryptography is
//! rustls' and ring's.

mod client;
mod encrypted;
mod material;
mod server;
mod words;

pub use client::TlsClient;
pub use encrypted::Encrypted;
pub use material::Source;
pub use server::{Renewed as TlsRenewed, TlsServer};

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::{SupportedProtocolVersion, version};

/// What a connection or a listener is to use.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// Who is believed: whose certificates the other end may have. `None`: the system's authorities, for a client; a
    /// listener asks nobody for a certificate.
    pub ca: Option<Source>,
    /// Our own chain, the certificate of this end first.
    pub cert: Option<Source>,
    /// Its key. `None`: beside the certificates, in the same place.
    pub key: Option<Source>,
    /// Where the key is encrypted.
    pub key_password: Option<String>,
    /// Certificates that are not valid any more.
    pub crl: Option<Source>,
    /// The name that the server has to prove, where it is not the host of the address. Clients only.
    pub server_name: Option<String>,
    /// Protocols to agree on. Empty: what goes with the address.
    pub alpn: Vec<String>,
    /// Whether a client asks the server to prove who it is.
    pub verify: bool,
    /// Whether clients without a certificate are turned away by a listener that asks for one.
    pub needs_client_cert: bool,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            ca: None,
            cert: None,
            key: None,
            key_password: None,
            crl: None,
            server_name: None,
            alpn: Vec::new(),
            verify: true,
            needs_client_cert: true,
            min_version: TlsVersion::V1_2,
        }
    }
}

/// Taken apart without `..`: a field that is added has to be thought about.
impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ca,
            cert,
            key,
            key_password,
            crl,
            server_name,
            alpn,
            verify,
            needs_client_cert,
            min_version,
        } = self;
        f.debug_struct("TlsOptions")
            .field("ca", ca)
            .field("cert", cert)
            .field("key", key)
            .field("key_password", &key_password.as_ref().map(|_| "…"))
            .field("crl", crl)
            .field("server_name", server_name)
            .field("alpn", alpn)
            .field("verify", verify)
            .field("needs_client_cert", needs_client_cert)
            .field("min_version", min_version)
            .finish()
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// 1.2.
    #[default]
    V1_2,
    /// 1.3.
    V1_3,
}

impl TlsVersion {
    /// This one and those after it.
    fn and_later(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
        match self {
            Self::V1_2 => &BOTH,
            Self::V1_3 => &BOTH[..1],
        }
    }
}

/// Why TLS cannot be had as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read.
    #[error("{what}: {} could not be read: {cause}", .path.display())]
    Read {
        /// Which option names it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's number, if it has one.
        os_code: Option<i32>,
        /// The operating system's words.
        cause: String,
    },
    /// It was read, and is not what it should be.
    #[error("{0}")]
    Unusable(String),
}

/// What the cryptography is made with.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(ring::default_provider()));
    Arc::clone(&PROVIDER)
}

fn unusable(error: impl fmt::Display) -> TlsError {
    TlsError::Unusable(error.to_string())
}

/// What was asked for, or what is usual.
fn protocols(asked: &[String], usual: &str) -> Vec<Vec<u8>> {
    let asked: Vec<_> = asked.iter().map(|name| name.clone().into_bytes()).collect();
    if asked.is_empty() {
        return vec![usual.as_bytes().to_vec()];
    }
    asked
}
