//! The listener's end of TLS.

use super::words;
use super::{Encrypted, TlsError, TlsOptions, material, protocols, provider, unusable};
use crate::transport::Stream;
use crate::transport::gate::turn_away;
use crate::transport::peer::PeerCertificate;
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::Ticketer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;

/// What a listener needs for encrypted connections. Its certificates can be read anew while it listens.
pub struct TlsServer {
    options: TlsOptions,
    current: watch::Sender<Acceptors>,
}

/// One for each protocol that is agreed on where nothing else was asked for: whoever means to speak HTTP must not end up
/// where MQTT is spoken, nor the reverse.
#[derive(Clone)]
struct Acceptors {
    mqtt: TlsAcceptor,
    http: TlsAcceptor,
}

/// What was read anew.
pub struct Renewed(Acceptors);

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl TlsServer {
    /// Reads certificates and keys.
    ///
    /// # Errors
    /// Something is missing, cannot be read, or is not what it should be.
    pub fn new(options: TlsOptions) -> Result<Self, TlsError> {
        let acceptors = acceptors(&options)?;
        Ok(Self {
            options,
            current: watch::Sender::new(acceptors),
        })
    }

    /// Reads them again, for [`TlsServer::replace`].
    ///
    /// # Errors
    /// As [`TlsServer::new`].
    pub fn prepare(&self) -> Result<Renewed, TlsError> {
        acceptors(&self.options).map(Renewed)
    }

    /// The next connections get what was read. Sessions from before cannot be resumed, so that a certificate that was
    /// revoked meanwhile is looked at again. Connections that are there stay.
    pub fn replace(&self, renewed: Renewed) {
        self.current.send_replace(renewed.0);
    }

    /// Whether clients have to show a certificate that its authorities vouch for.
    pub fn needs_client_cert(&self) -> bool {
        self.options.ca.is_some() && self.options.needs_client_cert
    }

    /// Encrypts a pipe, for MQTT or for HTTP, and says who is at its other end.
    pub(in crate::transport) async fn accept(
        &self,
        stream: Stream,
        is_http: bool,
    ) -> io::Result<(Stream, Option<Arc<PeerCertificate>>)> {
        let Acceptors { mqtt, http } = self.current.borrow().clone();
        let acceptor = if is_http { http } else { mqtt };
        let stream = match acceptor.accept(stream).into_fallible().await {
            Ok(stream) => stream,
            Err((error, stream)) => {
                turn_away(stream).await;
                return Err(error);
            }
        };
        let certificate = match stream.get_ref().1.peer_certificates() {
            Some([certificate, ..]) => {
                let read = PeerCertificate::read(certificate);
                // Whom a certificate names must not be a matter of opinion: one that two readers read differently is none.
                let read = read.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
                Some(Arc::new(read))
            }
            _ => None,
        };
        Ok((Stream::Tls(Box::new(Encrypted::new(stream))), certificate))
    }
}

fn acceptors(options: &TlsOptions) -> Result<Acceptors, TlsError> {
    if options.server_name.is_some() || !options.verify {
        return Err(TlsError::Unusable(
            "server_name and verify=False are for clients; a listener asks for certificates where there is a ca".to_owned(),
        ));
    }
    let Some(cert) = &options.cert else {
        return Err(TlsError::Unusable(
            "a listener needs cert and key".to_owned(),
        ));
    };
    let chain = material::certificates(cert, "cert")?;
    let key_source = options.key.as_ref().unwrap_or(cert);
    let key = material::key(key_source, options.key_password.as_deref())?;
    let both = || format!("{} and {}", cert.named("cert"), key_source.named("key"));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(options.min_version.and_later())
        .map_err(unusable)?
        .with_client_cert_verifier(verifier(options)?)
        .with_single_cert(chain, key)
        .map_err(|error| unusable(format!("{}: {}", both(), words::ill_matched(&error))))?;
    config.ticketer = Ticketer::new().map_err(unusable)?;
    let agreeing_on = |usual| {
        let mut config = config.clone();
        config.alpn_protocols = protocols(&options.alpn, usual);
        TlsAcceptor::from(Arc::new(config))
    };
    Ok(Acceptors {
        mqtt: agreeing_on("mqtt"),
        http: agreeing_on("http/1.1"),
    })
}

fn verifier(options: &TlsOptions) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let Some(ca) = &options.ca else {
        if options.crl.is_some() {
            return Err(TlsError::Unusable(
                "crl: without a ca nobody is asked for a certificate that could be revoked"
                    .to_owned(),
            ));
        }
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let roots = Arc::new(material::authorities(ca)?);
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    if let Some(crl) = &options.crl {
        builder = builder
            .with_crls(material::revocations(crl)?)
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration();
    }
    if !options.needs_client_cert {
        builder = builder.allow_unauthenticated();
    }
    let named = match &options.crl {
        Some(crl) => crl.named("crl"),
        None => ca.named("ca"),
    };
    let built = builder.build();
    built.map_err(|error| unusable(format!("{named}: {error}")))
}
