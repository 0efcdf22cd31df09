//! The client's end of TLS.

use super::words::{self, Mistake};
use super::{Encrypted, TlsError, TlsOptions, material, protocols, provider, unusable};
use crate::transport::Stream;
use crate::transport::peer;
use std::fmt;
use std::io;
use std::sync::{Arc, LazyLock};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};

/// What a client needs for encrypted connections, made once: sessions are resumed from one connection to the next.
#[derive(Clone)]
pub struct TlsClient {
    mqtt: TlsConnector,
    http: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl TlsClient {
    /// Reads certificates and keys.
    ///
    /// # Errors
    /// Something cannot be read, or is not what it should be.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(options.min_version.and_later())
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(verifier(options)?);
        let mut config = match &options.cert {
            None if options.key.is_some() => {
                return Err(TlsError::Unusable("key: there is no cert to it".to_owned()));
            }
            None => builder.with_no_client_auth(),
            Some(cert) => {
                let chain = material::certificates(cert, "cert")?;
                let key = options.key.as_ref().unwrap_or(cert);
                let key = material::key(key, options.key_password.as_deref())?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    unusable(format!("cert and key: {}", words::ill_matched(&error)))
                })?
            }
        };
        config.alpn_protocols = protocols(&options.alpn, "http/1.1");
        let http = TlsConnector::from(Arc::new(config.clone()));
        config.alpn_protocols = protocols(&options.alpn, "mqtt");
        let server_name = options.server_name.as_deref().map(name).transpose();
        Ok(Self {
            mqtt: TlsConnector::from(Arc::new(config)),
            http,
            server_name: server_name
                .map_err(|error| TlsError::Unusable(format!("server_name: {error}")))?,
        })
    }

    /// Encrypts a pipe to this host, for MQTT or for HTTP.
    pub(in crate::transport) async fn connect(
        &self,
        stream: Stream,
        host: &str,
        is_http: bool,
    ) -> io::Result<Stream> {
        let connector = if is_http { &self.http } else { &self.mqtt };
        let server_name = match &self.server_name {
            Some(name) => name.clone(),
            None => name(host)?,
        };
        let named = server_name.to_str().into_owned();
        let connecting = connector.connect(server_name, stream);
        match connecting.await {
            Ok(stream) => Ok(Stream::Tls(Box::new(Encrypted::new(stream)))),
            Err(error) => Err(words::explained(&error, &named)),
        }
    }
}

fn name(text: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(text.to_owned()).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{text:?} is no name that a certificate could be for"),
        )
    })
}

fn verifier(options: &TlsOptions) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    if !options.verify {
        return Ok(Arc::new(Unverified));
    }
    let roots = match &options.ca {
        Some(ca) => Arc::new(material::authorities(ca)?),
        None => system_authorities()?,
    };
    let mut builder = WebPkiServerVerifier::builder_with_provider(roots, provider());
    if let Some(crl) = &options.crl {
        builder = builder
            .with_crls(material::revocations(crl)?)
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration();
    }
    let inner = builder.build().map_err(unusable)?;
    Ok(Arc::new(Verifier { inner }))
}

/// The system's authorities, read once for the whole process.
fn system_authorities() -> Result<Arc<RootCertStore>, TlsError> {
    static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(store)
    });
    if SYSTEM.is_empty() {
        return Err(TlsError::Unusable(
            "this system has no list of authorities (on Linux: the package ca-certificates); name those to believe as ca"
                .to_owned(),
        ));
    }
    Ok(Arc::clone(&SYSTEM))
}

/// What webpki says, and a name for certificates that nobody but themselves vouches for.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(
            certificate,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
                if peer::is_self_signed(certificate) =>
            {
                let other = OtherError(Arc::new(Mistake::SelfSigned));
                Err(CertificateError::Other(other).into())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Believes anybody, because the caller wants it so: the connection is encrypted, and nobody knows to whom.
#[derive(Debug)]
struct Unverified;

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
