//! The way of a client to an address: what lies between it and the pipe.

use super::tls::TlsClient;
use super::websocket::{self, Headers};
use super::{Address, Proxy, Stream};
use std::io;

/// What a client needs on its way.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// For `mqtts://` and `wss://`.
    pub tls: Option<TlsClient>,
    /// Between the client and every address that is on the network.
    pub proxy: Option<Proxy>,
    /// Sent along where the way begins with HTTP: `ws://` and `wss://`.
    pub ws_headers: Headers,
}

impl Route {
    /// What does not fit together.
    ///
    /// # Errors
    /// In words for users.
    pub fn check(&self, address: &Address) -> Result<(), String> {
        if self.proxy.is_some() && address.host().is_none() {
            return Err(format!("there is no way to {address} through a proxy"));
        }
        if !self.ws_headers.is_empty() && !address.is_websocket() {
            return Err(format!(
                "{address} has no headers, and ws_headers were given: write ws:// or wss://"
            ));
        }
        match (address.is_secure(), &self.tls) {
            (true, None) => Err(format!("{address} needs tls")),
            (false, Some(_)) => Err(format!(
                "{address} is not encrypted, and tls was asked for: write mqtts:// or wss://"
            )),
            _ => Ok(()),
        }
    }

    /// Opens a pipe to `address`. The IP addresses that a name resolves to are raced, IPv6 against IPv4. Meanwhile `missing`
    /// says what has not come yet, for whoever waits no longer.
    ///
    /// # Errors
    /// Of the operating system, or whatever the way is made of, in words for users; `NotFound` for an in-memory name that
    /// nobody has bound.
    pub async fn open(&self, address: &Address, missing: &mut &'static str) -> io::Result<Stream> {
        self.check(address)
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        *missing = match self.proxy {
            Some(_) => "no answer from the proxy",
            None => "no connection to that address",
        };
        let mut stream = match (&self.proxy, address.host(), address.port()) {
            (Some(proxy), Some(host), Some(port)) => proxy.open(host, port).await?,
            _ => Stream::plain(address).await?,
        };
        if let (Some(tls), Some(host)) = (&self.tls, address.host()) {
            *missing = "no end of the TLS handshake";
            stream = tls.connect(stream, host, address.is_websocket()).await?;
        }
        if address.is_websocket() {
            *missing = "no answer to the WebSocket handshake";
            stream = websocket::connect(stream, address, &self.ws_headers).await?;
        }
        Ok(stream)
    }
}

/// What has answered, if it is plainly something else than was asked for: told by its first bytes.
pub fn mistaken(first: &[u8]) -> Option<&'static str> {
    match first {
        // A TLS alert: version 3, whatever the minor one.
        [0x15, 0x03, ..] => {
            Some("the server speaks TLS at this port: use mqtts:// instead of mqtt://")
        }
        [b'H', b'T', b'T', b'P', b'/', ..] => {
            Some("an HTTP server answers at this port: use ws:// or wss:// if it has WebSockets")
        }
        _ => None,
    }
}
