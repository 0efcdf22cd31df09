//! A socket and what lies on top of it: nothing, TLS, the frames of a WebSocket, or both.
//!
//! Blocks or not as the socket does. The client's end only, and as cheap as it can be: it shares the cores with the broker
//! that is measured.

use crate::Outcome;
use mio::{Interest, Registry, Token, event};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConfig, ClientConnection, HandshakeKind, RootCertStore};
use std::fmt::Debug;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

/// Encrypted bytes that are read at once.
const AHEAD: usize = 32 << 10;
/// The longest payload of a frame.
const FRAME_MAX: usize = 65_535;
/// The handshake of a WebSocket, which need not be unguessable here.
const UPGRADE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// How clients reach the broker.
#[derive(Debug, Clone, Default)]
pub struct Way {
    pub tls: Option<Arc<ClientConfig>>,
    pub is_websocket: bool,
}

/// One version and one cipher suite, so that every broker is asked for the same; what this authority vouches for is
/// believed. `records`: the bytes of a record at most. Whoever resumes has a store of sessions in which all connections find those of the others.
pub fn pinned(
    version: &str,
    ca: &Path,
    resumes: bool,
    records: Option<usize>,
) -> Outcome<Arc<ClientConfig>> {
    let (version, suite) = match version {
        "1.2" => (&TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        "1.3" => (&TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256),
        other => return Err(format!("no version of TLS: {other}").into()),
    };
    let mut provider: CryptoProvider = ring::default_provider();
    provider.cipher_suites.retain(|one| one.suite() == suite);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.max_fragment_size = records;
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    Ok(Arc::new(config))
}

/// A connection.
#[derive(Debug)]
pub struct Pipe<S> {
    socket: S,
    tls: Option<Box<Tls>>,
    frames: Option<Box<Frames>>,
}

#[derive(Debug)]
struct Tls {
    connection: ClientConnection,
    /// What was read and not decrypted yet, and where it begins.
    ahead: Vec<u8>,
    taken: usize,
}

/// What comes and goes in frames.
#[derive(Debug, Default)]
struct Frames {
    /// The beginning of the head of a frame.
    head: Vec<u8>,
    /// Payload that has yet to come of a frame.
    left: usize,
    /// Frames that have yet to go, and how much of them has.
    out: Vec<u8>,
    written: usize,
}

impl<S> From<S> for Pipe<S> {
    fn from(socket: S) -> Self {
        Self {
            socket,
            tls: None,
            frames: None,
        }
    }
}

impl Pipe<TcpStream> {
    /// Shakes hands as often as this way asks for.
    pub fn shake(socket: TcpStream, way: &Way) -> Outcome<Self> {
        let mut pipe = Self::from(socket);
        if let Some(config) = &way.tls {
            let name = ServerName::try_from("localhost")?;
            let mut connection = ClientConnection::new(Arc::clone(config), name)?;
            connection.complete_io(&mut pipe.socket)?;
            pipe.tls = Some(Box::new(Tls {
                connection,
                ahead: Vec::new(),
                taken: 0,
            }));
        }
        if way.is_websocket {
            pipe.write_all(UPGRADE)?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                pipe.read_exact(&mut byte)?;
                answer.extend(byte);
            }
            if !answer.starts_with(b"HTTP/1.1 101 ") {
                return Err(String::from_utf8_lossy(&answer).into());
            }
            pipe.frames = Some(Box::default());
        }
        Ok(pipe)
    }

    /// From now on it does not block.
    pub fn unblock(self) -> Outcome<Pipe<mio::net::TcpStream>> {
        self.socket.set_read_timeout(None)?;
        self.socket.set_nonblocking(true)?;
        Ok(Pipe {
            socket: mio::net::TcpStream::from_std(self.socket),
            tls: self.tls,
            frames: self.frames,
        })
    }
}

impl<S> Pipe<S> {
    /// What was agreed on, in the words of the standards.
    pub fn agreed(&self) -> String {
        let Some(tls) = &self.tls else {
            return "nothing".to_owned();
        };
        let version = tls.connection.protocol_version();
        let suite = tls.connection.negotiated_cipher_suite();
        let said = |what: Option<&dyn Debug>| what.map_or_else(String::new, |it| format!("{it:?}"));
        format!(
            "{} {}",
            said(version.as_ref().map(|it| it as &dyn Debug)),
            said(
                suite
                    .map(|it| it.suite())
                    .as_ref()
                    .map(|it| it as &dyn Debug)
            )
        )
    }

    /// Whether the session of an earlier connection went on.
    pub fn is_resumed(&self) -> bool {
        let tls = self.tls.as_ref();
        tls.is_some_and(|tls| tls.connection.handshake_kind() == Some(HandshakeKind::Resumed))
    }
}

impl<S: Read + Write> Pipe<S> {
    fn read_below(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.read(out);
        };
        loop {
            match tls.connection.reader().read(out) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            if tls.taken == tls.ahead.len() {
                tls.taken = 0;
                tls.ahead.resize(AHEAD, 0);
                let read = self.socket.read(&mut tls.ahead);
                tls.ahead.truncate(*read.as_ref().unwrap_or(&0));
                if read? == 0 {
                    return Ok(0);
                }
            }
            let mut rest = &tls.ahead[tls.taken..];
            let count = tls.connection.read_tls(&mut rest)?;
            tls.taken += count;
            tls.connection
                .process_new_packets()
                .map_err(io::Error::other)?;
        }
    }

    fn write_below(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.tls.is_none() {
            return self.socket.write(bytes);
        }
        self.flush_below()?;
        let Some(tls) = &mut self.tls else {
            return Ok(0);
        };
        let count = tls.connection.writer().write(bytes)?;
        unless_blocked(self.flush_below())?;
        Ok(count)
    }

    fn flush_below(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.connection.wants_write() {
                tls.connection.write_tls(&mut self.socket)?;
            }
        }
        Ok(())
    }

    /// Writes frames that have yet to go.
    fn drain(&mut self, frames: &mut Frames) -> io::Result<()> {
        while frames.written < frames.out.len() {
            frames.written += self.write_below(&frames.out[frames.written..])?;
        }
        frames.out.clear();
        frames.written = 0;
        Ok(())
    }
}

impl<S: Read + Write> Read for Pipe<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.read_below(out)?;
            let Some(frames) = &mut self.frames else {
                return Ok(count);
            };
            let kept = frames.take(&mut out[..count]);
            if kept > 0 || count == 0 {
                return Ok(kept);
            }
        }
    }
}

impl<S: Read + Write> Write for Pipe<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(mut frames) = self.frames.take() else {
            return self.write_below(bytes);
        };
        let mut write = || {
            self.drain(&mut frames)?;
            let count = frames.put(bytes);
            unless_blocked(self.drain(&mut frames))?;
            Ok(count)
        };
        let written = write();
        self.frames = Some(frames);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(mut frames) = self.frames.take() {
            let drained = self.drain(&mut frames);
            self.frames = Some(frames);
            drained?;
        }
        self.flush_below()
    }
}

impl Frames {
    /// Makes one frame of as much as fits; its mask is one that changes nothing.
    fn put(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(FRAME_MAX);
        match u16::try_from(count).unwrap_or(u16::MAX) {
            short @ 0..126 => self.out.extend([0x82, 0x80 | short.to_le_bytes()[0]]),
            long => {
                self.out.extend([0x82, 0xFE]);
                self.out.extend(long.to_be_bytes());
            }
        }
        self.out.extend([0; 4]);
        self.out.extend(&bytes[..count]);
        count
    }

    /// Leaves the payload at the beginning; says how much it is. Frames are all taken for binary ones of a good server.
    fn take(&mut self, bytes: &mut [u8]) -> usize {
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() {
            if self.left > 0 {
                let count = self.left.min(bytes.len() - at);
                bytes.copy_within(at..at + count, kept);
                (at, kept, self.left) = (at + count, kept + count, self.left - count);
                continue;
            }
            self.head.push(bytes[at]);
            at += 1;
            self.left = match self.head[..] {
                [_, short @ 0..126] => short.into(),
                [_, 126, high, low] => u16::from_be_bytes([high, low]).into(),
                [_, 127, 0, 0, 0, 0, a, b, c, d] => u32::from_be_bytes([a, b, c, d]) as usize,
                _ => continue,
            };
            self.head.clear();
        }
        kept
    }
}

fn unless_blocked(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        other => other,
    }
}

impl event::Source for Pipe<mio::net::TcpStream> {
    fn register(&mut self, registry: &Registry, token: Token, of: Interest) -> io::Result<()> {
        self.socket.register(registry, token, of)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, of: Interest) -> io::Result<()> {
        self.socket.reregister(registry, token, of)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.socket.deregister(registry)
    }
}
