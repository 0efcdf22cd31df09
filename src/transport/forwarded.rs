//! The PROXY protocol, versions 1 and 2: what a proxy before a listener says of whom it speaks for, ahead of the first byte
//! of theirs.
//!
//! Only proxies that were named are listened to: anybody could say it, and limits, throttles and rights go by the address.
//! The header is read to its last byte and no further, since what follows is not ours to read; it has a bound.

#[cfg(test)]
mod tests;

use super::Address;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, line end included.
const V1_BYTES_MAX: usize = 107;
/// What may follow the fixed part of version 2: addresses, and things that are skipped, such as certificates.
const V2_BYTES_MAX: u16 = 4096;

/// The proxies from which a listener takes connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarders {
    networks: Vec<Network>,
}

/// Addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Forwarders {
    /// Reads addresses (`10.0.0.7`, `::1`) and networks (`10.0.0.0/8`). With none, only who comes by a Unix socket is
    /// listened to.
    ///
    /// # Errors
    /// One is neither, in words for users.
    pub fn listed<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Result<Self, String> {
        let networks = names.into_iter().map(|name| {
            let name = name.as_ref();
            Network::parse(name).ok_or_else(|| {
                format!("{name:?} is neither an IP address nor a network such as 10.0.0.0/8")
            })
        });
        Ok(Self {
            networks: networks.collect::<Result<_, _>>()?,
        })
    }

    /// Whether they can be told from others at this address.
    pub(super) fn check(&self, address: &Address) -> Result<(), String> {
        let why = match (address, self.networks.is_empty()) {
            (Address::Memory { .. }, _) => "there is no proxy within a process",
            (Address::Unix { .. }, false) => {
                "a Unix socket knows no addresses: leave proxy_protocol empty, and give the file to the proxy"
            }
            (Address::Unix { .. }, true) | (_, false) => return Ok(()),
            (_, true) => "proxy_protocol names no proxy to listen to",
        };
        Err(format!("{address}: {why}"))
    }

    /// Whether what comes from there is a proxy's. Who comes without an address has opened a file that only those may who are
    /// to.
    pub fn trust(&self, address: Option<IpAddr>) -> bool {
        address.is_none_or(|address| {
            let address = address.to_canonical();
            self.networks.iter().any(|network| network.has(address))
        })
    }
}

impl Network {
    fn parse(name: &str) -> Option<Self> {
        let (address, bits) = match name.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (name, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => all,
            Some(digits) => number(digits).filter(|bits| *bits <= all)?,
        };
        Some(Self { address, bits })
    }

    fn has(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = (own.to_bits() ^ other.to_bits()).leading_zeros();
                differing >= self.bits
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = (own.to_bits() ^ other.to_bits()).leading_zeros();
                differing >= self.bits
            }
            _ => false,
        }
    }
}

/// Digits alone: `parse` takes a sign too.
fn number<T: std::str::FromStr>(digits: &str) -> Option<T> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

/// Reads what a proxy says: the address of whom it speaks for. Where it speaks for itself, to see whether we are there, or
/// does not know, that is `own`, the proxy's.
///
/// # Errors
/// It says no such thing, or too much of it.
pub(super) async fn source(
    stream: &mut (impl AsyncRead + Unpin),
    own: Option<SocketAddr>,
) -> io::Result<Option<SocketAddr>> {
    // Every header of either version is longer.
    let mut first = [0; SIGNATURE.len()];
    stream.read_exact(&mut first).await?;
    if first == *SIGNATURE {
        version_2(stream, own).await
    } else if first.starts_with(b"PROXY ") {
        version_1(stream, &first, own).await
    } else {
        Err(malformed())
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "there is no header of a proxy")
}

async fn version_1(
    stream: &mut (impl AsyncRead + Unpin),
    first: &[u8],
    own: Option<SocketAddr>,
) -> io::Result<Option<SocketAddr>> {
    let mut line = Vec::with_capacity(V1_BYTES_MAX);
    line.extend_from_slice(first);
    while !line.ends_with(b"\r\n") {
        if line.len() == V1_BYTES_MAX {
            return Err(malformed());
        }
        // One by one: what is behind the line is not to be read here.
        line.push(stream.read_u8().await?);
    }
    let text = str::from_utf8(&line[..line.len() - 2]).map_err(|_| malformed())?;
    let parts: Vec<&str> = text.split(' ').collect();
    let (from, to): (IpAddr, IpAddr) = match parts[..] {
        ["PROXY", "UNKNOWN", ..] => return Ok(own),
        ["PROXY", "TCP4" | "TCP6", from, to, _, _] => {
            let read = |text: &str| text.parse().map_err(|_| malformed());
            (read(from)?, read(to)?)
        }
        _ => return Err(malformed()),
    };
    let ports = number::<u16>(parts[4]).zip(number::<u16>(parts[5]));
    let is_ipv4 = parts[1] == "TCP4";
    match ports {
        Some((port, _)) if from.is_ipv4() == is_ipv4 && to.is_ipv4() == is_ipv4 => {
            Ok(Some(SocketAddr::new(from.to_canonical(), port)))
        }
        _ => Err(malformed()),
    }
}

async fn version_2(
    stream: &mut (impl AsyncRead + Unpin),
    own: Option<SocketAddr>,
) -> io::Result<Option<SocketAddr>> {
    let (command, family) = (stream.read_u8().await?, stream.read_u8().await?);
    let length = stream.read_u16().await?;
    if length > V2_BYTES_MAX {
        return Err(malformed());
    }
    let mut body = vec![0; length.into()];
    stream.read_exact(&mut body).await?;
    match command {
        // Whatever stands in it.
        0x20 => return Ok(own),
        0x21 => {}
        _ => return Err(malformed()),
    }
    let (source, rest) = match family {
        0x00 => (own, &body[..]),
        0x11 => {
            let ([a, b, c, d, _, _, _, _, high, low, _, _], rest) = cut(&body)?;
            let address = Ipv4Addr::new(*a, *b, *c, *d).into();
            let port = u16::from_be_bytes([*high, *low]);
            (Some(SocketAddr::new(address, port)), rest)
        }
        0x21 => {
            let (from, rest) = cut::<16>(&body)?;
            let (_, rest) = cut::<16>(rest)?;
            let ([high, low, _, _], rest) = cut(rest)?;
            let port = u16::from_be_bytes([*high, *low]);
            // One of IPv4 as such, as everywhere.
            let address = Ipv6Addr::from(*from).to_canonical();
            (Some(SocketAddr::new(address, port)), rest)
        }
        // A Unix socket: there is no address of the network.
        0x31 => (None, cut::<216>(&body)?.1),
        _ => return Err(malformed()),
    };
    check_values(rest)?;
    Ok(source)
}

fn cut<const SIZE: usize>(bytes: &[u8]) -> io::Result<(&[u8; SIZE], &[u8])> {
    bytes.split_first_chunk().ok_or_else(malformed)
}

/// What else is said is of no use here, and has to be well formed all the same: a kind, a length, and so many bytes.
fn check_values(mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        let ([_, high, low], value) = cut(rest)?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = value.get(length..).ok_or_else(malformed)?;
    }
    Ok(())
}
