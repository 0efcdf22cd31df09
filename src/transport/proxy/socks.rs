//! SOCKS 5 (RFC 1928) with user name and password (RFC 1929): three short exchanges of a known length.

use super::{Login, failed, target};
use std::io;
use std::net::IpAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const VERSION: u8 = 5;
const CONNECT: u8 = 1;
const NO_LOGIN: u8 = 0;
const WITH_LOGIN: u8 = 2;
const NONE_OF_THESE: u8 = 0xff;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

pub(super) async fn connect(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    (host, port): (&str, u16),
    login: Option<&Login>,
) -> io::Result<()> {
    let methods: &[u8] = match login {
        Some(_) => &[VERSION, 2, NO_LOGIN, WITH_LOGIN],
        None => &[VERSION, 1, NO_LOGIN],
    };
    stream.write_all(methods).await?;
    match (answer(stream).await?, login) {
        ([VERSION, NO_LOGIN], _) => {}
        ([VERSION, WITH_LOGIN], Some(login)) => log_in(stream, login).await?,
        ([VERSION, WITH_LOGIN | NONE_OF_THESE], None) => {
            return Err(denied(
                "wants to know who we are: give it a user name and password",
            ));
        }
        ([VERSION, NONE_OF_THESE], Some(_)) => {
            return Err(denied(
                "wants to know who we are in a way that is not spoken here",
            ));
        }
        ([b'H', _], _) => return Err(no_socks("speaks HTTP: write http://")),
        _ => return Err(no_socks("does not speak SOCKS 5")),
    }
    stream.write_all(&request(host, port)?).await?;
    let [version, reply] = answer(stream).await?;
    if version != VERSION {
        return Err(no_socks("does not speak SOCKS 5"));
    }
    if reply != 0 {
        return Err(refused(reply, &target(host, port)));
    }
    skip_address(stream).await
}

async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<[u8; 2]> {
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

async fn log_in(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    Login { user, password }: &Login,
) -> io::Result<()> {
    let mut packet = vec![1];
    for part in [user, password] {
        packet.push(short(part.len())?);
        packet.extend_from_slice(part.as_bytes());
    }
    stream.write_all(&packet).await?;
    match answer(stream).await? {
        [1, 0] => Ok(()),
        _ => Err(denied("did not accept the user name and password")),
    }
}

fn request(host: &str, port: u16) -> io::Result<Vec<u8>> {
    let mut packet = vec![VERSION, CONNECT, 0];
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            packet.push(IPV4);
            packet.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            packet.push(IPV6);
            packet.extend_from_slice(&address.octets());
        }
        Err(_) => {
            packet.extend_from_slice(&[NAME, short(host.len())?]);
            packet.extend_from_slice(host.as_bytes());
        }
    }
    packet.extend_from_slice(&port.to_be_bytes());
    Ok(packet)
}

fn short(length: usize) -> io::Result<u8> {
    u8::try_from(length).map_err(|_| {
        failed(
            io::ErrorKind::InvalidInput,
            "was not asked: it takes no names of more than 255 bytes",
        )
    })
}

/// From where it has connected is of no use to us, and has to be read all the same.
async fn skip_address(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut rest = [0; 255 + 2];
    let [_, kind] = answer(stream).await?;
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(stream.read_u8().await?),
        _ => return Err(no_socks("does not speak SOCKS 5")),
    };
    stream.read_exact(&mut rest[..length + 2]).await?;
    Ok(())
}

fn refused(reply: u8, target: &str) -> io::Error {
    let (kind, why) = match reply {
        2 => (io::ErrorKind::PermissionDenied, "its rules do not allow it"),
        3 => (
            io::ErrorKind::NetworkUnreachable,
            "the network cannot be reached from there",
        ),
        4 => (
            io::ErrorKind::HostUnreachable,
            "the host cannot be reached from there, or its name is not known",
        ),
        5 => (
            io::ErrorKind::ConnectionRefused,
            "the connection was refused",
        ),
        6 => (io::ErrorKind::TimedOut, "it took too long"),
        7 => (
            io::ErrorKind::Unsupported,
            "it does not know how to connect",
        ),
        8 => (
            io::ErrorKind::Unsupported,
            "it does not know this kind of address",
        ),
        _ => (io::ErrorKind::Other, "it does not say why"),
    };
    failed(
        kind,
        format!("did not connect to {target}: {why} (reply {reply})"),
    )
}

fn denied(what: &str) -> io::Error {
    failed(io::ErrorKind::PermissionDenied, what)
}

fn no_socks(what: &str) -> io::Error {
    failed(io::ErrorKind::InvalidData, what)
}
