//! Who is at the other end of a pipe that was taken in, as far as the pipe knows.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};

/// `id-at-commonName`.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// What is known of a peer before it has said a word of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its network address: the one that a trusted proxy has told, else that of the socket.
    pub address: Option<SocketAddr>,
    /// The certificate that it has proven to own, and that the listener's authorities vouch for.
    pub certificate: Option<Arc<PeerCertificate>>,
    /// Through which of the broker's listeners it came, in the order of the options; `None`: in memory, at the broker's own
    /// name.
    pub listener: Option<usize>,
}

/// Whom a certificate names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The subject's common name. `None` where there is none, or more than one.
    pub common_name: Option<String>,
    /// The subject as text: `CN=sensor-7,O=Plant`.
    pub subject: String,
    /// The serial number, in hex digits.
    pub serial: String,
    /// Alternative names that are DNS names.
    pub dns_names: Vec<String>,
    /// Alternative names that are e-mail addresses.
    pub email_addresses: Vec<String>,
    /// Alternative names that are URIs.
    pub uris: Vec<String>,
    /// Alternative names that are IP addresses.
    pub ip_addresses: Vec<IpAddr>,
}

/// Which of a certificate's names says who it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateName {
    /// The subject's common name.
    CommonName,
    /// The alternative name that is a DNS name.
    Dns,
    /// The alternative name that is an e-mail address.
    Email,
    /// The alternative name that is a URI.
    Uri,
}

impl PeerCertificate {
    /// Its only name of this kind. One that has two could be taken for either, and has none.
    pub fn name(&self, kind: CertificateName) -> Option<&str> {
        let names = match kind {
            CertificateName::CommonName => return self.common_name.as_deref(),
            CertificateName::Dns => &self.dns_names,
            CertificateName::Email => &self.email_addresses,
            CertificateName::Uri => &self.uris,
        };
        match &names[..] {
            [name] => Some(name),
            _ => None,
        }
    }

    /// Reads a certificate that was verified. `None`: it cannot be read, and names nobody.
    pub(super) fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let subject = certificate.tbs_certificate().subject();
        let mut read = Self {
            common_name: common_name(&certificate),
            subject: subject.to_string(),
            serial: certificate.tbs_certificate().serial_number().to_string(),
            ..Self::default()
        };
        let extension = certificate
            .tbs_certificate()
            .get_extension::<SubjectAltName>()
            .ok()?;
        for name in extension.into_iter().flat_map(|(_, names)| names.0) {
            read.add(&name);
        }
        Some(read)
    }

    fn add(&mut self, name: &GeneralName) {
        match name {
            GeneralName::DnsName(name) => self.dns_names.push(name.to_string()),
            GeneralName::Rfc822Name(name) => self.email_addresses.push(name.to_string()),
            GeneralName::UniformResourceIdentifier(name) => self.uris.push(name.to_string()),
            GeneralName::IpAddress(octets) => self.ip_addresses.extend(ip(octets.as_bytes())),
            _ => {}
        }
    }
}

/// Whether who is named is also who vouches for it.
pub(super) fn is_self_signed(der: &CertificateDer<'_>) -> bool {
    Certificate::from_der(der).is_ok_and(|certificate| {
        let inner = certificate.tbs_certificate();
        inner.issuer() == inner.subject()
    })
}

/// As of [`PeerCertificate::name`].
fn common_name(certificate: &Certificate) -> Option<String> {
    let subject = certificate.tbs_certificate().subject();
    let mut names = subject.iter().filter(|part| part.oid == COMMON_NAME);
    match (names.next(), names.next()) {
        (Some(name), None) => DirectoryString::try_from(&name.value)
            .ok()
            .map(|name| name.value().into_owned()),
        _ => None,
    }
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        _ => None,
    }
}
