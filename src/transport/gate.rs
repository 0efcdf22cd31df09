//! What a connection has to pass before a listener takes it in, beside being connected.

use super::peer::PeerInfo;
use super::tls::TlsServer;
use super::{Address, Stream};
use std::io;
use std::sync::Arc;

/// The owner alone.
const SOCKET_MODE: u32 = 0o600;

/// How one listener takes connections in.
#[derive(Debug, Clone)]
pub struct Gate {
    /// For `mqtts://` and `wss://`.
    pub tls: Option<Arc<TlsServer>>,
    /// The mode of the file of a Unix socket: who may write to it may connect.
    pub socket_mode: u32,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            tls: None,
            socket_mode: SOCKET_MODE,
        }
    }
}

impl Gate {
    /// Whether what has connected has nothing to pass.
    pub fn is_open(&self) -> bool {
        self.tls.is_none()
    }

    /// What does not fit together.
    ///
    /// # Errors
    /// In words for users.
    pub fn check(&self, address: &Address) -> Result<(), String> {
        match (address.is_secure(), &self.tls) {
            (true, None) => Err(format!("{address} needs tls: a certificate and its key")),
            (false, Some(_)) => Err(format!(
                "{address} is not encrypted, and has tls all the same: write mqtts:// or wss://, or leave tls out"
            )),
            _ => Ok(()),
        }
    }

    /// Shakes hands with what has connected, and adds to what is known of it. How long that may take is the caller's to say.
    ///
    /// # Errors
    /// It has not passed.
    pub async fn admit(
        &self,
        stream: Stream,
        mut peer: PeerInfo,
    ) -> io::Result<(Stream, PeerInfo)> {
        let mut stream = stream;
        if let Some(tls) = &self.tls {
            (stream, peer.certificate) = tls.accept(stream).await?;
        }
        Ok((stream, peer))
    }
}
