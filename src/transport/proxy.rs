//! A client's way through a proxy: what is asked of it before the first byte for the broker, and what it answers.
//!
//! Owns the URL of a proxy and the way to it; what is said there is in `http` (CONNECT) and `socks`. Whatever a proxy
//! answers is read with a bound, and a user name and password stand in no error. How long all of it may take is the caller's
//! to say.

mod http;
mod socks;
#[cfg(test)]
mod tests;

use super::address::{authority, refuse};
use super::race::{interleaved, race};
use super::{AddressError, Stream, tcp};
use std::fmt;
use std::io;
use tokio::net::lookup_host;

/// The registered port of SOCKS.
const PORT_SOCKS: u16 = 1080;
/// RFC 1929 has one byte for the length of each.
const LOGIN_BYTES_MAX: usize = 255;

/// A proxy between a client and its brokers.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: Kind,
    host: String,
    port: u16,
    login: Option<Login>,
}

/// What it speaks, and who resolves the names of brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// HTTP, by CONNECT. The proxy resolves.
    Http,
    /// SOCKS 5. The client resolves.
    Socks5,
    /// SOCKS 5. The proxy resolves.
    Socks5h,
}

/// Who we are to it.
#[derive(Clone, PartialEq, Eq)]
struct Login {
    user: String,
    password: String,
}

/// Neither who we are to it.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            Kind::Http => "http",
            Kind::Socks5 => "socks5",
            Kind::Socks5h => "socks5h",
        };
        write!(f, "{scheme}://{}", target(&self.host, self.port))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl Proxy {
    /// Reads `http://[user:password@]host:port`, `socks5://…` (names are resolved here) or `socks5h://…` (by the proxy). Signs
    /// in user name and password that would mean something else are written as `%` and two hex digits.
    ///
    /// # Errors
    /// It is none of these. What was given is not repeated where it may hold a password.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let kind = match scheme.to_ascii_lowercase().as_str() {
            "http" => Kind::Http,
            "socks5" => Kind::Socks5,
            "socks5h" => Kind::Socks5h,
            _ => {
                return Err(AddressError(
                    "a proxy is http://host:port, socks5://host:port (names are resolved here) or socks5h://host:port (by the proxy)"
                        .to_owned(),
                ));
            }
        };
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(Login::parse(login)?), rest),
            None => (None, rest),
        };
        let shown = format!("{scheme}://{rest}");
        let (host, port) = authority(
            &shown,
            rest,
            if kind == Kind::Http { 0 } else { PORT_SOCKS },
        )?;
        if port == 0 {
            // Programs disagree about what is usual.
            return refuse(&shown, "the port of the proxy is missing");
        }
        Ok(Self {
            kind,
            host,
            port,
            login,
        })
    }

    /// Opens a pipe to `host` by way of it. Where the client resolves, the addresses are raced as without a proxy.
    pub(super) async fn open(&self, host: &str, port: u16) -> io::Result<Stream> {
        if self.kind != Kind::Socks5 {
            return self.ask(host, port).await;
        }
        let found = lookup_host((host, port)).await;
        let found = found.map_err(|error| {
            let why = format!(
                "the name {host} could not be resolved, before the proxy was asked: {error}"
            );
            io::Error::new(error.kind(), why)
        })?;
        let asked = async |address: std::net::SocketAddr| {
            self.ask(&address.ip().to_string(), address.port()).await
        };
        let raced = race(interleaved(found), asked).await;
        raced.unwrap_or_else(|| Err(tcp::nothing_resolved(host)))
    }

    async fn ask(&self, host: &str, port: u16) -> io::Result<Stream> {
        let connected = tcp::connect(&self.host, self.port).await;
        let mut stream = Stream::Tcp(connected.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("the proxy {self} could not be reached: {error}"),
            )
        })?);
        let login = self.login.as_ref();
        let asked = match self.kind {
            Kind::Http => http::connect(&mut stream, &target(host, port), login).await,
            Kind::Socks5 | Kind::Socks5h => socks::connect(&mut stream, (host, port), login).await,
        };
        match asked {
            Ok(()) => Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(io::Error::new(
                error.kind(),
                format!("the proxy {self} closed the connection instead of answering"),
            )),
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!("the proxy {self} {error}"),
            )),
        }
    }
}

impl Login {
    fn parse(text: &str) -> Result<Self, AddressError> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let read = |text: &str| {
            decoded(text).filter(|plain| plain.len() <= LOGIN_BYTES_MAX && !plain.contains('\0'))
        };
        match (read(user), read(password)) {
            (Some(user), Some(password)) if !user.is_empty() => Ok(Self { user, password }),
            _ => Err(AddressError(
                "the user name or password of the proxy cannot be read: 1 to 255 bytes each, in them '%' and signs with a meaning written as %25"
                    .to_owned(),
            )),
        }
    }
}

/// Takes `%` and two hex digits for the byte they stand for.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
        bytes.push(u8::try_from(high << 4 | low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// `host:port`, with brackets about IPv6.
fn target(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// What a proxy has done, in words that follow its name.
fn failed(kind: io::ErrorKind, what: impl Into<String>) -> io::Error {
    io::Error::new(kind, what.into())
}
