//! What proxies are asked and what becomes of their answers, without a network.

use super::{Login, Proxy, http, socks};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

fn login() -> Login {
    Login {
        user: "me".to_owned(),
        password: "hush".to_owned(),
    }
}

#[test]
fn every_kind_of_proxy_is_read_and_shown_without_its_password() {
    for (text, shown) in [
        ("http://proxy:3128", "http://proxy:3128"),
        ("HTTP://me:hush@proxy:3128/", "http://proxy:3128"),
        ("socks5://[::1]", "socks5://[::1]:1080"),
        ("socks5h://me@proxy:1", "socks5h://proxy:1"),
    ] {
        let proxy = Proxy::parse(text).expect(text);
        assert_eq!(proxy.to_string(), shown);
        assert!(!format!("{proxy:?}").contains("hush"));
    }
}

#[test]
fn user_and_password_may_have_any_sign() {
    let proxy = Proxy::parse("http://a%40b:p%3A%25w%C3%BC@host:1").expect("a proxy");
    let login = proxy.login.expect("a login");
    assert_eq!((&*login.user, &*login.password), ("a@b", "p:%wü"));
    let proxy = Proxy::parse("http://user:with:colons@and:at@host:1").expect("a proxy");
    assert_eq!(proxy.login.expect("a login").password, "with:colons@and:at");
}

#[test]
fn what_is_no_proxy_is_refused_and_its_password_not_repeated() {
    for (text, reason) in [
        ("proxy:3128", "a proxy is http://"),
        ("https://proxy:3128", "a proxy is http://"),
        ("socks4://me:hush@proxy", "a proxy is http://"),
        ("http://proxy", "port of the proxy is missing"),
        ("http://me:hush@proxy", "port of the proxy is missing"),
        ("http://me:hush@:3128", "host is missing"),
        ("http://me:hush%zz@proxy:1", "cannot be read"),
        ("http://:hush@proxy:1", "cannot be read"),
        ("http://me:hush@proxy:port", "must be a number"),
        ("http://me:hush%00@proxy:1", "cannot be read"),
    ] {
        let error = Proxy::parse(text).expect_err(text).to_string();
        assert!(error.contains(reason), "{text}: {error}");
        assert!(!error.contains("hush"), "{error}");
    }
}

/// What CONNECT makes of an answer, after which the proxy closes.
async fn http_after(answer: &[u8], login: Option<&Login>) -> (String, Result<(), String>) {
    let (mut near, mut far) = duplex(64 << 10);
    far.write_all(answer).await.expect("written");
    far.shutdown().await.expect("shut");
    let outcome = http::connect(&mut near, "broker:1883", login).await;
    drop(near);
    let mut asked = String::new();
    far.read_to_string(&mut asked).await.expect("text");
    (asked, outcome.map_err(|error| error.to_string()))
}

#[tokio::test]
async fn connect_says_where_to_and_who_asks() {
    let (asked, outcome) = http_after(b"HTTP/1.0 200 OK\r\nVia: x\r\n\r\n", Some(&login())).await;
    assert_eq!(outcome, Ok(()));
    assert_eq!(
        asked,
        "CONNECT broker:1883 HTTP/1.1\r\nHost: broker:1883\r\nProxy-Authorization: Basic bWU6aHVzaA==\r\n\r\n"
    );
}

#[tokio::test]
async fn whatever_else_a_proxy_answers_to_connect_is_a_failure_that_says_so() {
    let flood = format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(10_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(65));
    for (answer, reason) in [
        (
            &b"HTTP/1.1 407 Auth\r\n\r\nbody"[..],
            "wants a user name and password (407)",
        ),
        (
            b"HTTP/1.1 403 Forbidden\r\n\r\n",
            "did not connect to broker:1883: it answered 403 Forbidden",
        ),
        (b"HTTP/1.1 502\r\n\r\n", "answered 502"),
        (b"HTTP/1.1 200 OK\r\n\r\n\x20\x02\0\0", "said more than"),
        (
            b"HTTP/1.1 200 OK\r\nX\x01: y\r\n\r\n",
            "does not speak HTTP",
        ),
        (b"HTTP/1.1 200 OK\r\n", "unexpected end of file"),
        (b"HTT", "unexpected end of file"),
        (b"", "unexpected end of file"),
        (b"\x05\x00", "speaks SOCKS"),
        (b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP"),
        (flood.as_bytes(), "more than it may"),
        (many.as_bytes(), "more than it may"),
    ] {
        let (_, outcome) = http_after(answer, None).await;
        let error = outcome.expect_err(reason);
        assert!(error.contains(reason), "{reason}: {error}");
    }
    let (_, outcome) = http_after(b"HTTP/1.1 407 Auth\r\n\r\n", Some(&login())).await;
    let error = outcome.expect_err("refused");
    assert!(error.contains("did not accept"), "{error}");
    assert!(!error.contains("hush"), "{error}");
}

/// What SOCKS makes of these answers, after which the proxy closes, and what it asked.
async fn socks_after(
    answers: &[u8],
    host: &str,
    login: Option<&Login>,
) -> (Vec<u8>, io::Result<()>) {
    let (mut near, mut far) = duplex(64 << 10);
    far.write_all(answers).await.expect("written");
    far.shutdown().await.expect("shut");
    let outcome = socks::connect(&mut near, (host, 1883), login).await;
    drop(near);
    let mut asked = Vec::new();
    far.read_to_end(&mut asked).await.expect("bytes");
    (asked, outcome)
}

#[tokio::test]
async fn socks_is_asked_for_addresses_and_for_names() {
    let bound = [5, 0, 0, 1, 127, 0, 0, 1, 0, 1];
    for (host, address) in [
        ("127.0.0.1", &b"\x01\x7f\0\0\x01"[..]),
        ("::1", b"\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"),
        ("broker", b"\x03\x06broker"),
    ] {
        let (asked, outcome) = socks_after(&[&[5, 0][..], &bound].concat(), host, None).await;
        outcome.expect(host);
        let port = 1883_u16.to_be_bytes();
        assert_eq!(asked, [&[5, 1, 0, 5, 1, 0][..], address, &port].concat());
    }
    let named = [5, 2, 1, 0, 5, 0, 0, 3, 1, b'x', 0, 1];
    let (asked, outcome) = socks_after(&named, "broker", Some(&login())).await;
    outcome.expect("connected");
    assert!(asked.starts_with(b"\x05\x02\0\x02\x01\x02me\x04hush"));
}

#[tokio::test]
async fn whatever_else_a_socks_proxy_answers_is_a_failure_that_says_so() {
    let (me, long) = (login(), "x".repeat(256));
    for (answers, host, login, reason) in [
        (&[5, 0xff][..], "b", None, "give it a user name"),
        (&[5, 2], "b", None, "give it a user name"),
        (&[5, 0xff], "b", Some(&me), "not spoken here"),
        (&[5, 2, 1, 1], "b", Some(&me), "did not accept"),
        (&[5, 9], "b", None, "does not speak SOCKS 5"),
        (b"HTTP/1.1 400", "b", None, "speaks HTTP"),
        (&[4, 0], "b", None, "does not speak SOCKS 5"),
        (&[5, 0, 5, 2], "b", None, "its rules do not allow it"),
        (&[5, 0, 5, 4], "b", None, "its name is not known"),
        (
            &[5, 0, 5, 5],
            "b",
            None,
            "did not connect to b:1883: the connection was refused",
        ),
        (&[5, 0, 5, 99], "b", None, "(reply 99)"),
        (&[5, 0, 5, 0, 0, 9], "b", None, "does not speak SOCKS 5"),
        (&[5, 0, 5, 0, 0, 1, 127], "b", None, "early eof"),
        (&[5], "b", None, "early eof"),
        (&[], "b", None, "early eof"),
        (&[5, 0], &*long, None, "more than 255 bytes"),
    ] {
        let (_, outcome) = socks_after(answers, host, login).await;
        let error = outcome.expect_err(reason).to_string();
        assert!(error.contains(reason), "{reason}: {error}");
        assert!(!error.contains("hush"), "{error}");
    }
}
