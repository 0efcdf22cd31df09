//! What a connection has to pass before a listener takes it in, beside being connected.

use super::peer::PeerInfo;
use super::tls::TlsServer;
use super::websocket::{self, Origins};
use super::{Address, Forwarders, Stream, forwarded};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The owner alone.
const SOCKET_MODE: u32 = 0o600;

/// How one listener takes connections in.
#[derive(Debug, Clone)]
pub struct Gate {
    /// For `mqtts://` and `wss://`.
    pub tls: Option<Arc<TlsServer>>,
    /// The mode of the file of a Unix socket: who may write to it may connect.
    pub socket_mode: u32,
    /// Whose pages may connect to `ws://` and `wss://`.
    pub origins: Origins,
    /// The proxies through which everybody comes here, each connection with a header of the PROXY protocol; `None`: there
    /// are none, and nobody is asked.
    pub forwarders: Option<Forwarders>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            tls: None,
            socket_mode: SOCKET_MODE,
            origins: Origins::default(),
            forwarders: None,
        }
    }
}

impl Gate {
    /// Whether what has connected at this address has nothing to pass.
    pub fn is_open(&self, address: &Address) -> bool {
        self.tls.is_none() && self.forwarders.is_none() && !address.is_websocket()
    }

    /// What does not fit together.
    ///
    /// # Errors
    /// In words for users.
    pub fn check(&self, address: &Address) -> Result<(), String> {
        if self.origins != Origins::default() && !address.is_websocket() {
            return Err(format!(
                "{address} is no WebSocket, and has origins all the same: write ws:// or wss://, or leave origins out"
            ));
        }
        if address.path().contains('?') {
            return Err(format!("{address}: a listener's path has no question mark"));
        }
        let forwarders = self.forwarders.as_ref();
        forwarders.map_or(Ok(()), |forwarders| forwarders.check(address))?;
        match (address.is_secure(), &self.tls) {
            (true, None) => Err(format!("{address} needs tls: a certificate and its key")),
            (false, Some(_)) => Err(format!(
                "{address} is not encrypted, and has tls all the same: write mqtts:// or wss://, or leave tls out"
            )),
            _ => Ok(()),
        }
    }

    /// Whether what has connected from there may say for whom it is, or nobody is asked.
    pub fn trusts(&self, address: Option<SocketAddr>) -> bool {
        let address = address.map(|address| address.ip());
        let forwarders = self.forwarders.as_ref();
        forwarders.is_none_or(|forwarders| forwarders.trust(address))
    }

    /// Hears for whom it is, where that is asked. How long that may take, and [`Gate::trusts`], are the caller's to see to.
    ///
    /// # Errors
    /// It does not say so.
    pub async fn hear_source(&self, stream: &mut Stream, peer: &mut PeerInfo) -> io::Result<()> {
        if self.forwarders.is_some() {
            peer.address = forwarded::source(stream, peer.address).await?;
        }
        Ok(())
    }

    /// Shakes hands with what has connected at this address, and adds to what is known of it. How long that may take is the
    /// caller's to say.
    ///
    /// # Errors
    /// It has not passed.
    pub async fn admit(
        &self,
        address: &Address,
        stream: Stream,
        mut peer: PeerInfo,
    ) -> io::Result<(Stream, PeerInfo)> {
        let mut stream = stream;
        if let Some(tls) = &self.tls {
            (stream, peer.certificate) = tls.accept(stream, address.is_websocket()).await?;
        }
        if address.is_websocket() {
            stream = websocket::accept(stream, address.path(), &self.origins).await?;
        }
        Ok((stream, peer))
    }
}

/// What was said last, why it was not let in, must not be lost to a reset, as it would be with something unread.
pub(super) async fn turn_away(mut stream: Stream) {
    const UNREAD_MAX: u64 = 64 << 10;
    if stream.shutdown().await.is_ok() {
        let _ = tokio::io::copy(&mut stream.take(UNREAD_MAX), &mut tokio::io::sink()).await;
    }
}
