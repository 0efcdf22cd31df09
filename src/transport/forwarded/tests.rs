//! Headers of proxies, as bytes, and who is listened to.

use super::{Forwarders, V2_BYTES_MAX, source};
use std::net::SocketAddr;
use tokio::io::AsyncReadExt;

const OWN: &str = "10.0.0.1:9";

fn own() -> SocketAddr {
    OWN.parse().expect("an address")
}

/// What is read of a header with something behind it, which has to be left alone.
async fn read(header: &[u8]) -> Result<Option<SocketAddr>, String> {
    let all = [header, b"MQTT"].concat();
    let mut stream = &all[..];
    let said = source(&mut stream, Some(own())).await;
    if said.is_ok() {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("bytes");
        assert_eq!(rest, b"MQTT");
    }
    said.map_err(|error| error.to_string())
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("short");
    [
        &b"\r\n\r\n\0\r\nQUIT\n"[..],
        &[command, family],
        &length.to_be_bytes(),
        body,
    ]
    .concat()
}

const IPV4: &[u8] = &[192, 0, 2, 7, 10, 0, 0, 2, 0x1f, 0x90, 0x07, 0x5b];

fn ipv6() -> Vec<u8> {
    let mut body = vec![0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    body.extend_from_slice(&[0; 16]);
    body.extend_from_slice(&[0x1f, 0x90, 0x07, 0x5b]);
    body
}

/// An address of IPv4 as IPv6 writes it.
fn mapped() -> Vec<u8> {
    let mut body = ipv6();
    body[..16].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7]);
    body
}

#[tokio::test]
async fn both_versions_say_for_whom_a_connection_is() {
    let with_more = [IPV4, &[0x04, 0, 2, b'h', b'i', 0xEE, 0, 0]].concat();
    for (header, said) in [
        (
            &b"PROXY TCP4 192.0.2.7 10.0.0.2 8080 1883\r\n"[..],
            Some("192.0.2.7:8080"),
        ),
        (
            b"PROXY TCP6 2001:db8::7 ::1 8080 1883\r\n",
            Some("[2001:db8::7]:8080"),
        ),
        (
            b"PROXY TCP6 ::ffff:192.0.2.7 ::1 8080 1883\r\n",
            Some("192.0.2.7:8080"),
        ),
        (b"PROXY UNKNOWN\r\n", Some(OWN)),
        (b"PROXY UNKNOWN ffff::f ffff::f 65535 65535\r\n", Some(OWN)),
        (&v2(0x21, 0x11, IPV4), Some("192.0.2.7:8080")),
        (&v2(0x21, 0x11, &with_more), Some("192.0.2.7:8080")),
        (&v2(0x21, 0x21, &ipv6()), Some("[2001:db8::7]:8080")),
        (&v2(0x21, 0x21, &mapped()), Some("192.0.2.7:8080")),
        (&v2(0x21, 0x31, &[0; 216]), None),
        (&v2(0x21, 0x00, &[]), Some(OWN)),
        (&v2(0x20, 0x00, &[]), Some(OWN)),
        (&v2(0x20, 0x11, IPV4), Some(OWN)),
        (&v2(0x20, 0xff, b"whatever"), Some(OWN)),
    ] {
        let said = said.map(|text| text.parse().expect("an address"));
        assert_eq!(read(header).await, Ok(said), "{}", header.escape_ascii());
    }
}

#[tokio::test]
async fn what_is_no_header_is_refused() {
    let long_line = format!("PROXY UNKNOWN {}\r\n", "f".repeat(107));
    let too_long = v2(0x20, 0, &vec![0; usize::from(V2_BYTES_MAX) + 1]);
    for header in [
        &b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0"[..],
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0",
        b"proxy TCP4 192.0.2.7 10.0.0.2 8080 1883\r\n",
        b"PROXY  TCP4 192.0.2.7 10.0.0.2 8080 1883\r\n",
        b"PROXY TCP4 2001:db8::7 ::1 8080 1883\r\n",
        b"PROXY TCP6 192.0.2.7 10.0.0.2 8080 1883\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.2 +8080 1883\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.2 8080 65536\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.2 8080\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.2 8080 1883 \r\n",
        b"PROXY UDP4 192.0.2.7 10.0.0.2 8080 1883\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.2 8080 1883\n",
        b"PROXY TCP4 \xff 10.0.0.2 8080 1883\r\n",
        b"PROXY \r\n      \r\n",
        long_line.as_bytes(),
        &v2(0x21, 0x11, &IPV4[..11]),
        &v2(0x21, 0x21, &ipv6()[..35]),
        &v2(0x21, 0x31, &[0; 215]),
        &v2(0x21, 0x12, IPV4),
        &v2(0x21, 0x41, IPV4),
        &v2(0x22, 0x11, IPV4),
        &v2(0x31, 0x11, IPV4),
        // What else is said, longer than there is room for.
        &v2(0x21, 0x11, &[IPV4, &[0x04, 0, 3, 1, 2]].concat()),
        &v2(0x21, 0x11, &[IPV4, &[0x04, 0xff, 0xff]].concat()),
        &v2(0x21, 0x11, &[IPV4, &[0x04, 0]].concat()),
        &too_long,
    ] {
        let said = read(header).await;
        assert!(said.is_err(), "{}: {said:?}", header.escape_ascii());
    }
}

#[tokio::test]
async fn a_header_that_is_cut_off_is_none() {
    let lines: [&[u8]; 2] = [
        b"PROXY TCP4 192.0.2.7 10.0.0.2 8080 1883\r\n",
        &v2(0x21, 0x11, IPV4),
    ];
    for whole in lines {
        for length in 0..whole.len() {
            let mut stream = &whole[..length];
            let said = source(&mut stream, Some(own())).await;
            assert!(said.is_err(), "{length}");
        }
    }
}

#[test]
fn only_those_that_were_named_are_listened_to() {
    let named = Forwarders::listed(["10.0.0.7", "192.168.0.0/16", "fd00::/8", "::1"]);
    let named = named.expect("networks");
    let trusted = |text: &str| named.trust(Some(text.parse().expect("an address")));
    for text in [
        "10.0.0.7",
        "::ffff:10.0.0.7",
        "192.168.255.1",
        "fdff::1",
        "::1",
    ] {
        assert!(trusted(text), "{text}");
    }
    for text in [
        "10.0.0.8",
        "192.169.0.1",
        "fc00::1",
        "::2",
        "127.0.0.1",
        "::ffff:10.0.0.8",
    ] {
        assert!(!trusted(text), "{text}");
    }
    assert!(named.trust(None), "by a file");
    let everybody = Forwarders::listed(["0.0.0.0/0"]).expect("a network");
    assert!(everybody.trust("203.0.113.9".parse().ok()));
    assert!(!everybody.trust("2001:db8::1".parse().ok()));
}

#[test]
fn what_is_no_network_is_refused() {
    for name in [
        "",
        "proxy.example",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/",
        "10.0.0.0/+8",
        "10.0.0/8",
    ] {
        let error = Forwarders::listed([name]).expect_err(name);
        assert!(
            error.contains("neither an IP address nor a network"),
            "{error}"
        );
    }
}
