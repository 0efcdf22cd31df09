//! What failed handshakes are called: rustls speaks to people who know TLS, this to those who have to mend it.

use std::fmt;
use std::io;
use tokio_rustls::rustls::{
    AlertDescription, CertRevocationListError, CertificateError, Error, InvalidMessage,
};

/// What a certificate is not believed for, where rustls has no name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transport) enum Mistake {
    /// Nobody but itself vouches for it.
    SelfSigned,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SelfSigned => f.write_str("self-signed"),
        }
    }
}

impl std::error::Error for Mistake {}

/// Why a certificate and a key are of no use together.
pub(super) fn ill_matched(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(_) => "the key is not that of the certificate".to_owned(),
        other => other.to_string(),
    }
}

/// Says in a client's words why no encrypted connection came about.
pub(super) fn explained(error: &io::Error, name: &str) -> io::Error {
    let words = match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(error) => words(error, name),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the TLS handshake was cut off by the server: does it speak TLS at this port?"
                .to_owned()
        }
        None => format!("the TLS handshake was cut off: {error}"),
    };
    io::Error::new(error.kind(), words)
}

fn words(error: &Error, name: &str) -> String {
    match error {
        Error::InvalidCertificate(error) => format!(
            "the server's certificate is not accepted: {}",
            certificate(error, name)
        ),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server does not speak TLS at this port".to_owned()
        }
        Error::AlertReceived(alert) => refused(*alert),
        Error::InvalidCertRevocationList(CertRevocationListError::IssuerInvalidForCrl) => {
            "the revocation list is not by the authority that vouches for the server".to_owned()
        }
        other => format!("the TLS handshake failed: {other}"),
    }
}

fn certificate(error: &CertificateError, name: &str) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "no authority that is believed vouches for it (unknown CA); name its authority as ca"
                .to_owned()
        }
        CertificateError::Other(other) if is_self_signed(other) => {
            "it is self-signed; if it is the right one, name it as ca".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; is the clock right?".to_owned()
        }
        CertificateError::Revoked => "it was revoked".to_owned(),
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "the revocation list has run out; give the one that has come after it".to_owned()
        }
        CertificateError::UnknownRevocationStatus => {
            "no revocation list speaks for it; give the one of its authority".to_owned()
        }
        CertificateError::NotValidForName => format!("it is not for {name}"),
        CertificateError::NotValidForNameContext { presented, .. } => {
            format!("it is for {}, not for {name}", presented.join(", "))
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not a server's".to_owned()
        }
        other => other.to_string(),
    }
}

fn is_self_signed(other: &tokio_rustls::rustls::OtherError) -> bool {
    matches!(other.0.downcast_ref(), Some(Mistake::SelfSigned))
}

/// The server has said no, in one byte.
fn refused(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::CertificateRequired => "it wants a certificate of ours (cert and key)",
        AlertDescription::UnknownCA => "it does not know the authority of our certificate",
        AlertDescription::CertificateExpired => "our certificate has expired",
        AlertDescription::CertificateRevoked => "our certificate was revoked",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => "it does not accept our certificate",
        AlertDescription::ProtocolVersion => "it speaks no version of TLS that we do (1.2 and 1.3)",
        AlertDescription::NoApplicationProtocol => "it knows none of the protocols in alpn",
        AlertDescription::UnrecognisedName => "it does not know the name that was asked for",
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "it has no cipher or signature in common with us, or wants a certificate of ours (cert and key)"
        }
        other => return format!("the server refused the TLS handshake: {other:?}"),
    };
    format!("the server refused the TLS handshake: {why}")
}

/// A refusal that came after the handshake: with TLS 1.3 a client is done before the server has looked at its certificate.
pub(super) fn refused_late(error: &io::Error) -> Option<io::Error> {
    match error.get_ref()?.downcast_ref()? {
        Error::AlertReceived(alert) => Some(io::Error::new(error.kind(), refused(*alert))),
        _ => None,
    }
}
