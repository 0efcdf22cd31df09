//! Certificates, keys and revocation lists, read from where they are kept: PEM or DER, in a file or in memory.

use super::TlsError;
use bytes::Bytes;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer,
};

/// Larger files are no certificates: the bundle of a system has a quarter of a megabyte.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Where something is kept. `Debug` does not show what: it may be a key.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// In a file, read when it is needed.
    File(PathBuf),
    /// Here: PEM text, or DER.
    Here(Bytes),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Here(bytes) => write!(f, "Here({} bytes)", bytes.len()),
        }
    }
}

impl Source {
    /// What it is read for, and where it lies: the beginning of what is said of it.
    pub(super) fn named(&self, what: &str) -> String {
        match self {
            Self::File(path) => format!("{what} {}", path.display()),
            Self::Here(_) => what.to_owned(),
        }
    }

    fn read(&self, what: &'static str) -> Result<Cow<'_, [u8]>, TlsError> {
        let path = match self {
            Self::Here(bytes) => return Ok(Cow::Borrowed(bytes)),
            Self::File(path) => path,
        };
        let failed = |error: std::io::Error| TlsError::Read {
            what,
            path: path.clone(),
            os_code: error.raw_os_error(),
            cause: error.to_string(),
        };
        let size = std::fs::metadata(path).map_err(failed)?.len();
        if size > FILE_BYTES_MAX {
            return Err(TlsError::Unusable(format!(
                "{what}: {} has {size} bytes, which no certificate or key has",
                path.display()
            )));
        }
        std::fs::read(path).map(Cow::Owned).map_err(failed)
    }
}

fn is_pem(bytes: &[u8]) -> bool {
    contains(bytes, b"-----BEGIN ")
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Every object of one kind, at least one.
fn all<T: PemObject>(
    source: &Source,
    what: &'static str,
    name: &str,
    from_der: impl FnOnce(Vec<u8>) -> T,
) -> Result<Vec<T>, TlsError> {
    let bytes = source.read(what)?;
    let found = if is_pem(&bytes) {
        let objects: Result<Vec<T>, _> = T::pem_slice_iter(&bytes).collect();
        let named = || source.named(what);
        objects.map_err(|error| TlsError::Unusable(format!("{}: not PEM: {error}", named())))?
    } else if bytes.is_empty() {
        Vec::new()
    } else {
        vec![from_der(bytes.into_owned())]
    };
    if found.is_empty() {
        // An empty list of authorities must not come to mean that anybody is trusted.
        return Err(TlsError::Unusable(format!(
            "{}: there is no {name} in it",
            source.named(what)
        )));
    }
    Ok(found)
}

/// A chain of certificates.
pub(super) fn certificates(
    source: &Source,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    all(source, what, "certificate", CertificateDer::from)
}

/// Revocation lists.
pub(super) fn revocations(
    source: &Source,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    all(
        source,
        "crl",
        "revocation list",
        CertificateRevocationListDer::from,
    )
}

/// Authorities of the caller's own.
pub(super) fn authorities(source: &Source) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(source, "ca")? {
        store.add(certificate).map_err(|error| {
            let named = source.named("ca");
            TlsError::Unusable(format!("{named}: a certificate cannot be read: {error}"))
        })?;
    }
    Ok(store)
}

/// A private key. A password is needed where it is encrypted, and does no harm where it is not.
pub(super) fn key(
    source: &Source,
    password: Option<&str>,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    const WHAT: &str = "key";
    let unusable = |why: String| TlsError::Unusable(format!("{}: {why}", source.named(WHAT)));
    let bytes = source.read(WHAT)?;
    if !is_pem(&bytes) {
        return PrivateKeyDer::try_from(bytes.into_owned())
            .map_err(|_| unusable("there is no private key in it".to_owned()));
    }
    if contains(&bytes, b"Proc-Type: 4,ENCRYPTED") {
        return Err(unusable(
            "it is encrypted in the old way of OpenSSL; write it anew by `openssl pkcs8 -topk8 -in OLD -out NEW`"
                .to_owned(),
        ));
    }
    if let Some(encrypted) = section(&bytes, "ENCRYPTED PRIVATE KEY") {
        let password = password
            .ok_or_else(|| unusable("it is encrypted, and there is no key_password".to_owned()))?;
        return decrypt(encrypted, password).map_err(unusable);
    }
    PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|_| unusable("there is no private key in it".to_owned()))
}

/// One section of PEM text, with its lines of beginning and end.
fn section<'a>(bytes: &'a [u8], label: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let begin = text.find(&format!("-----BEGIN {label}-----"))?;
    let end = format!("-----END {label}-----");
    let length = text[begin..].find(&end)? + end.len();
    text.get(begin..begin + length)
}

fn decrypt(pem: &str, password: &str) -> Result<PrivateKeyDer<'static>, String> {
    let unreadable =
        |error: &dyn fmt::Display| format!("the encrypted key cannot be read: {error}");
    let (_, document) = SecretDocument::from_pem(pem).map_err(|error| unreadable(&error))?;
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
        .map_err(|error| unreadable(&error))?;
    let plain = encrypted
        .decrypt(password)
        .map_err(|_| "it cannot be decrypted: is key_password right?".to_owned())?;
    Ok(PrivatePkcs8KeyDer::from(plain.as_bytes().to_vec()).into())
}
