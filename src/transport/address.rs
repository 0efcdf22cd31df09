//! Reading and writing addresses. Owns their text form, and refuses what is not spoken here with a message fit for
//! users. Opens nothing: see the files beside this one.

use super::{Address, AddressError};
use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use tungstenite::http::uri::PathAndQuery;

/// The registered port of MQTT without TLS.
const PORT: u16 = 1883;
/// And with it.
const PORT_TLS: u16 = 8883;
/// Those of HTTP, for WebSocket.
const PORT_WS: u16 = 80;
const PORT_WSS: u16 = 443;

impl Address {
    /// Reads `mqtt://host[:port]`, `mqtts://…`, `ws://host[:port][/path]`, `wss://…`, `unix:///path`, `mem://name`, or a bare
    /// `host[:port]`. `tcp://` is the same as `mqtt://`; `ssl://` and `tls://` are the same as `mqtts://`.
    ///
    /// IPv6 addresses stand in brackets where a port follows: `[::1]:1883`. Alone, `::1` is read as well.
    ///
    /// # Errors
    /// The scheme is not spoken here, or the text is no address.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://") else {
            let (host, port) = authority(text, text, PORT)?;
            return Ok(Self::Tcp { host, port });
        };
        match scheme.to_ascii_lowercase().as_str() {
            "mqtt" | "tcp" => {
                let (host, port) = authority(text, rest, PORT)?;
                Ok(Self::Tcp { host, port })
            }
            "mqtts" | "ssl" | "tls" => {
                let (host, port) = authority(text, rest, PORT_TLS)?;
                Ok(Self::Tls { host, port })
            }
            "ws" => {
                let (authority, path) = split_path(text, rest)?;
                let (host, port) = self::authority(text, authority, PORT_WS)?;
                Ok(Self::Ws { host, port, path })
            }
            "wss" => {
                let (authority, path) = split_path(text, rest)?;
                let (host, port) = self::authority(text, authority, PORT_WSS)?;
                Ok(Self::Wss { host, port, path })
            }
            "unix" => unix(text, rest),
            "mem" => memory(text, rest),
            _ => refuse(
                text,
                &format!(
                    "unknown scheme '{scheme}'; use mqtt://, mqtts://, ws://, wss://, unix:// or mem://"
                ),
            ),
        }
    }

    /// The host, where there is one.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Tcp { host, .. }
            | Self::Tls { host, .. }
            | Self::Ws { host, .. }
            | Self::Wss { host, .. } => Some(host),
            Self::Unix { .. } | Self::Memory { .. } => None,
        }
    }

    /// The port, where there is one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { port, .. }
            | Self::Tls { port, .. }
            | Self::Ws { port, .. }
            | Self::Wss { port, .. } => Some(*port),
            Self::Unix { .. } | Self::Memory { .. } => None,
        }
    }

    /// Whether what is said there is encrypted.
    pub fn is_secure(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::Wss { .. })
    }

    /// Whether it is said in the frames of a WebSocket.
    pub fn is_websocket(&self) -> bool {
        matches!(self, Self::Ws { .. } | Self::Wss { .. })
    }

    /// The path of a WebSocket; empty where there is none.
    pub fn path(&self) -> &str {
        match self {
            Self::Ws { path, .. } | Self::Wss { path, .. } => path,
            _ => "",
        }
    }

    /// The same, at this place.
    pub(super) fn at(&self, place: SocketAddr) -> Self {
        let mut moved = self.clone();
        if let Self::Tcp { host, port }
        | Self::Tls { host, port }
        | Self::Ws { host, port, .. }
        | Self::Wss { host, port, .. } = &mut moved
        {
            (*host, *port) = (place.ip().to_string(), place.port());
        }
        moved
    }

    /// The same with another's path, unless it has one of its own.
    pub(super) fn with_path_of(mut self, other: &Self) -> Self {
        if let Self::Ws { path, .. } | Self::Wss { path, .. } = &mut self
            && path.is_empty()
        {
            other.path().clone_into(path);
        }
        self
    }
}

/// For people: what stands behind a question mark is left out, for it is often a token or a signature.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Self::Tcp { host, port } => ("mqtt", host, port),
            Self::Tls { host, port } => ("mqtts", host, port),
            Self::Ws { host, port, .. } => ("ws", host, port),
            Self::Wss { host, port, .. } => ("wss", host, port),
            Self::Unix { path } => return write!(f, "unix://{}", path.display()),
            Self::Memory { name } => return write!(f, "mem://{name}"),
        };
        let path = without_query(self.path());
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}{path}")
        } else {
            write!(f, "{scheme}://{host}:{port}{path}")
        }
    }
}

/// Repeats of the text what cannot be a secret: errors end up in logs.
pub(super) fn refuse<T>(text: &str, why: &str) -> Result<T, AddressError> {
    let text = without_query(text);
    let text = match text.rsplit_once('@') {
        Some((_, place)) => Cow::Owned(format!("…@{place}")),
        None => text,
    };
    Err(AddressError(format!("'{text}' is not an address: {why}")))
}

fn without_query(text: &str) -> Cow<'_, str> {
    match text.split_once('?') {
        Some((shown, _)) => Cow::Owned(format!("{shown}?…")),
        None => Cow::Borrowed(text),
    }
}

/// Takes `host[:port][/path]` apart.
fn split_path<'a>(text: &str, rest: &'a str) -> Result<(&'a str, String), AddressError> {
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let is_path = path.is_empty() || path.starts_with('/');
    let is_sent_as_it_is = path.bytes().all(|byte| byte.is_ascii_graphic());
    if is_path && is_sent_as_it_is && !path.contains('#') {
        let is_valid = path.is_empty() || path.parse::<PathAndQuery>().is_ok();
        if is_valid {
            return Ok((authority, path.to_owned()));
        }
    }
    refuse(
        text,
        "behind the host stands a path like /mqtt, in ASCII, with everything else percent-encoded",
    )
}

/// Takes `host[:port]` apart.
pub(super) fn authority(
    text: &str,
    authority: &str,
    port_usual: u16,
) -> Result<(String, u16), AddressError> {
    // A single slash at the end is what copying from a browser or a library leaves behind; it says nothing.
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains('@') {
        // The text is not repeated: it may hold a password, and errors end up in logs.
        return Err(AddressError(
            "an address must not contain a user name or password; give them beside it, as username and password".to_owned(),
        ));
    }
    check_host_text(text, authority)?;
    let (host, port) = split_port(text, authority)?;
    if host.is_empty() {
        return refuse(text, "the host is missing");
    }
    let port = match port {
        None => port_usual,
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if digits.bytes().all(|byte| byte.is_ascii_digit()) => port,
            _ => return refuse(text, "the port must be a number from 0 to 65535"),
        },
    };
    Ok((host.to_owned(), port))
}

/// Takes `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address apart.
fn split_port<'a>(
    text: &str,
    authority: &'a str,
) -> Result<(&'a str, Option<&'a str>), AddressError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else {
            return refuse(text, "the bracket is not closed");
        };
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return refuse(text, "between brackets stands an IPv6 address");
        }
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => refuse(text, "behind the bracket stands :port or nothing"),
        };
    }
    if authority.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok((authority, None));
    }
    match authority.split_once(':') {
        None => Ok((authority, None)),
        Some((_, port)) if port.contains(':') => refuse(
            text,
            "an IPv6 address with a port is written in brackets: [::1]:1883",
        ),
        Some((host, port)) => Ok((host, Some(port))),
    }
}

fn check_host_text(text: &str, authority: &str) -> Result<(), AddressError> {
    if authority.contains('/') {
        return refuse(text, "MQTT over TCP has no path");
    }
    if authority.contains(['?', '#']) {
        return refuse(text, "options are given beside the address, not in it");
    }
    if authority.contains(|sign: char| sign.is_whitespace() || sign.is_control()) {
        return refuse(text, "there is a space or control character in it");
    }
    Ok(())
}

fn unix(text: &str, path: &str) -> Result<Address, AddressError> {
    if !path.starts_with('/') {
        return refuse(text, "a socket's path is absolute: unix:///run/mqtt.sock");
    }
    if path.ends_with('/') || path.contains('\0') {
        return refuse(text, "that is no path of a socket");
    }
    Ok(Address::Unix {
        path: PathBuf::from(path),
    })
}

fn memory(text: &str, name: &str) -> Result<Address, AddressError> {
    if name.is_empty() {
        return refuse(text, "the name is missing, as in mem://broker");
    }
    if name.contains(|sign: char| sign.is_whitespace() || sign.is_control()) {
        return refuse(text, "there is a space or control character in it");
    }
    if name.contains(['/', '?', '#', '@', ':']) {
        return refuse(text, "an in-memory name has none of / ? # @ :");
    }
    Ok(Address::Memory {
        name: name.to_owned(),
    })
}
