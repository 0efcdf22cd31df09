//! What Python asks for of the way to a broker, and of the places where one listens.

use super::super::errors::tls_error;
use super::{address, out_of_range};
use crate::broker::{ListenerOptions, Local};
use crate::client::ClientOptions;
use crate::transport::{
    Address, CertificateName, Forwarders, Gate, Headers, Origins, Proxy, Route, Source, TlsClient,
    TlsOptions, TlsServer, TlsVersion,
};
use bytes::Bytes;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;

/// `rmqtt.TLS`.
#[derive(FromPyObject)]
pub(crate) struct TlsArguments {
    ca: Option<SourceArgument>,
    cert: Option<SourceArgument>,
    key: Option<SourceArgument>,
    key_password: Option<String>,
    crl: Option<SourceArgument>,
    server_name: Option<String>,
    alpn: Vec<String>,
    verify: bool,
    client_cert: String,
    min_version: String,
}

/// A path, PEM text, or bytes of either form.
struct SourceArgument(Source);

impl<'py> FromPyObject<'_, 'py> for SourceArgument {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = given.extract::<Vec<u8>>() {
            return Ok(Self(Source::Here(Bytes::from(bytes))));
        }
        if let Ok(text) = given.extract::<String>()
            && text.contains("-----BEGIN ")
        {
            return Ok(Self(Source::Here(Bytes::from(text))));
        }
        let path: PathBuf = given
            .extract()
            .map_err(|_| PyTypeError::new_err("must be a path, PEM text, or bytes"))?;
        Ok(Self(Source::File(path)))
    }
}

impl TlsArguments {
    fn read(self) -> PyResult<TlsOptions> {
        let source = |given: Option<SourceArgument>| given.map(|given| given.0);
        if self
            .alpn
            .iter()
            .any(|name| !(1..=255).contains(&name.len()))
        {
            return Err(out_of_range("tls.alpn", "names of 1 to 255 bytes"));
        }
        Ok(TlsOptions {
            ca: source(self.ca),
            cert: source(self.cert),
            key: source(self.key),
            key_password: self.key_password,
            crl: source(self.crl),
            server_name: self.server_name,
            alpn: self.alpn,
            verify: self.verify,
            needs_client_cert: match &*self.client_cert {
                "required" => true,
                "optional" => false,
                _ => return Err(out_of_range("tls.client_cert", "'required' or 'optional'")),
            },
            min_version: match &*self.min_version {
                "1.2" => TlsVersion::V1_2,
                "1.3" => TlsVersion::V1_3,
                _ => return Err(out_of_range("tls.min_version", "'1.2' or '1.3'")),
            },
        })
    }

    /// For a client.
    fn client(self, py: Python<'_>) -> PyResult<TlsClient> {
        let options = self.read()?;
        py.detach(|| TlsClient::new(&options))
            .map_err(|error| tls_error(py, &error))
    }

    fn server(self, py: Python<'_>) -> PyResult<TlsServer> {
        let options = self.read()?;
        py.detach(|| TlsServer::new(options))
            .map_err(|error| tls_error(py, &error))
    }
}

/// What lies on the way to the broker: encryption by what the system believes, unless more is said.
pub(super) fn route(
    options: &ClientOptions,
    tls: Option<TlsArguments>,
    headers: &[(String, String)],
    py: Python<'_>,
) -> PyResult<Route> {
    let addresses = || std::iter::once(&options.address).chain(&options.others);
    let tls = match tls {
        Some(tls) => Some(tls.client(py)?),
        None if addresses().any(Address::is_secure) => {
            let usual = py.detach(|| TlsClient::new(&TlsOptions::default()));
            Some(usual.map_err(|error| tls_error(py, &error))?)
        }
        None => None,
    };
    let headers = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let ws_headers =
        Headers::new(headers).map_err(|why| PyValueError::new_err(format!("ws_headers: {why}")))?;
    let route = Route {
        tls,
        proxy: None,
        ws_headers,
    };
    for address in addresses() {
        // One that is not encrypted among others would be where somebody on the way could drive the client to.
        route.check(address).map_err(PyValueError::new_err)?;
    }
    Ok(route)
}

/// Lays a client's way to all of its addresses through a proxy.
pub(super) fn go_through(proxy: Option<&str>, options: &mut ClientOptions) -> PyResult<()> {
    let Some(url) = proxy else {
        return Ok(());
    };
    let unusable = |why: String| PyValueError::new_err(format!("proxy: {why}"));
    let proxy = Proxy::parse(url).map_err(|error| unusable(error.to_string()))?;
    options.route.proxy = Some(proxy);
    for address in std::iter::once(&options.address).chain(&options.others) {
        options.route.check(address).map_err(unusable)?;
    }
    Ok(())
}

/// `rmqtt.Listener`.
#[derive(FromPyObject)]
pub(crate) struct ListenerArguments {
    url: String,
    tls: Option<TlsArguments>,
    socket_mode: u32,
    max_connections: Option<usize>,
    allow_anonymous: Option<bool>,
    origins: Option<Vec<String>>,
    proxy_protocol: Option<Vec<String>>,
    username_from: Option<String>,
}

impl ListenerArguments {
    pub(super) fn read(self, py: Python<'_>) -> PyResult<ListenerOptions> {
        if self.socket_mode > 0o777 {
            return Err(out_of_range("socket_mode", "0 to 0o777"));
        }
        if self.max_connections == Some(0) {
            return Err(out_of_range("max_connections", "1 or more, or None"));
        }
        let address = address(&self.url)?;
        let origins = match self.origins {
            Some(origins) => Origins::listed(&origins)
                .map_err(|why| PyValueError::new_err(format!("origins: {why}")))?,
            None => Origins::default(),
        };
        let gate = Gate {
            tls: self
                .tls
                .map(|tls| tls.server(py).map(Arc::new))
                .transpose()?,
            socket_mode: self.socket_mode,
            origins,
            forwarders: self
                .proxy_protocol
                .map(Forwarders::listed)
                .transpose()
                .map_err(|why| PyValueError::new_err(format!("proxy_protocol: {why}")))?,
        };
        gate.check(&address).map_err(PyValueError::new_err)?;
        Ok(ListenerOptions {
            address,
            gate,
            connections_max: self.max_connections,
            allow_anonymous: self.allow_anonymous,
            username_from: self
                .username_from
                .as_deref()
                .map(certificate_name)
                .transpose()?,
            auth: Local::AsEverywhere,
            acl: Local::AsEverywhere,
        })
    }
}

fn certificate_name(kind: &str) -> PyResult<CertificateName> {
    match kind {
        "cn" => Ok(CertificateName::CommonName),
        "san-dns" => Ok(CertificateName::Dns),
        "san-email" => Ok(CertificateName::Email),
        "san-uri" => Ok(CertificateName::Uri),
        _ => Err(out_of_range(
            "username_from",
            "'cn', 'san-dns', 'san-email', 'san-uri' or None",
        )),
    }
}
