//! Certificates that say what user a client is.

use super::{CERTIFICATES, believing, broker, connected, encrypted, here, options, showing};
use crate::client_script::{message, soon};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType, SignatureAlgorithm, SigningKey,
};
use rmqtt::broker::auth::{Auth, AuthLimits, Source as Users, Users as Passwords};
use rmqtt::broker::rights::{Access, Accesses, Acl, Rule, Whom};
use rmqtt::broker::{Broker, BrokerOptions, ListenerOptions, Local};
use rmqtt::client::{Client, ClientError, Close};
use rmqtt::codec::{ProtocolVersion, ReasonCode};
use rmqtt::message::QoS;
use rmqtt::topic::TopicFilter;
use rmqtt::transport::{CertificateName, Issued, TlsOptions};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// At once, with a word.
const GONE: Close = Close::Drain(Duration::from_secs(5));

static AUTHORITY: LazyLock<CertifiedIssuer<'static, KeyPair>> = LazyLock::new(|| {
    CertifiedIssuer::self_signed(authority(), KeyPair::generate().unwrap()).unwrap()
});

fn authority() -> CertificateParams {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

/// A client's certificate with these common names, and what else is done to it.
fn issued(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    for name in names {
        params
            .distinguished_name
            .push(DnType::CommonName, (*name).to_owned());
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    Issued {
        cert: params.signed_by(&key, &AUTHORITY).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

fn named(name: &str) -> Issued {
    issued(&[name], |_| ())
}

/// The authority's key, which signs something else than what it is shown: with some bytes changed for as many others.
struct Careless<'a> {
    from: &'a [u8],
    to: &'a [u8],
}

impl Careless<'_> {
    fn changed(&self, der: &[u8]) -> Vec<u8> {
        assert_eq!(
            self.from.len(),
            self.to.len(),
            "all lengths stay as they are"
        );
        let mut windows = der.windows(self.from.len());
        let at = windows.rposition(|window| window == self.from).unwrap();
        [&der[..at], self.to, &der[at + self.to.len()..]].concat()
    }
}

impl PublicKeyData for Careless<'_> {
    fn der_bytes(&self) -> &[u8] {
        AUTHORITY.key().der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        AUTHORITY.key().algorithm()
    }
}

impl SigningKey for Careless<'_> {
    fn sign(&self, certificate: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        AUTHORITY.key().sign(&self.changed(certificate))
    }
}

/// A certificate such as no careful authority would issue: of the subject `CN=alice, O=mallory`, with this changed.
fn careless(from: &[u8], to: &[u8]) -> Issued {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    for (kind, name) in [
        (DnType::CommonName, "alice"),
        (DnType::OrganizationName, "mallory"),
    ] {
        params.distinguished_name.push(kind, name);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(authority(), Careless { from, to });
    let signed = params.signed_by(&key, &issuer).unwrap();
    let text = STANDARD.encode(issuer.key().changed(signed.der()));
    Issued {
        cert: format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"),
        key: key.serialize_pem(),
    }
}

/// An alternative name of this kind with these bytes, whatever they are.
fn raw_name(kind: u8, bytes: &[u8]) -> CustomExtension {
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let inner = [&[kind, length(bytes)], bytes].concat();
    let outer = [&[0x30, length(&inner)], &inner[..]].concat();
    CustomExtension::from_oid_content(&[2, 5, 29, 17], outer)
}

/// A listener that lets in whom the authority vouches for, under the name in the certificate.
fn listener(from: CertificateName) -> ListenerOptions {
    let mut listener = encrypted(TlsOptions {
        ca: here(&AUTHORITY.pem()),
        ..showing(&CERTIFICATES.server)
    });
    listener.username_from = Some(from);
    listener
}

fn client(broker: &Broker, certificate: &Issued, version: ProtocolVersion) -> Client {
    let tls = TlsOptions {
        cert: here(&certificate.cert),
        key: here(&certificate.key),
        ..believing()
    };
    let mut options = options(broker, &tls);
    options.version = version;
    options.username = Some("somebody else".to_owned());
    options.password = Some("secret".into());
    Client::new(options)
}

async fn user(broker: &Broker, certificate: &Issued) -> Option<String> {
    let client = client(broker, certificate, ProtocolVersion::V5);
    soon(client.connect()).await.unwrap();
    let user = broker.clients()[0].user.clone();
    soon(client.close(GONE)).await;
    crate::raw::until("the leave", broker, |broker| broker.clients().is_empty()).await;
    user
}

async fn refusal(broker: &Broker, certificate: &Issued) -> ReasonCode {
    let client = client(broker, certificate, ProtocolVersion::V5);
    match soon(client.connect()).await.unwrap_err() {
        ClientError::ConnectRefused { reason, .. } => reason,
        other => panic!("{other:?} instead of ConnectRefused"),
    }
}

#[tokio::test]
async fn the_name_in_a_certificate_is_the_user_whatever_connect_says() {
    let certificate = issued(&["pump 7"], |params| {
        params.subject_alt_names = vec![
            SanType::DnsName("pump.example".try_into().unwrap()),
            SanType::Rfc822Name("pump@example.com".try_into().unwrap()),
            SanType::URI("urn:pump:7".try_into().unwrap()),
        ];
    });
    for (from, expected) in [
        (CertificateName::CommonName, "pump 7"),
        (CertificateName::Dns, "pump.example"),
        (CertificateName::Email, "pump@example.com"),
        (CertificateName::Uri, "urn:pump:7"),
    ] {
        let broker = broker([listener(from)]).await;
        let user = user(&broker, &certificate).await;
        assert_eq!(user.as_deref(), Some(expected), "{from:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_names_nobody_or_more_than_one_lets_nobody_in() {
    let by_name = broker([listener(CertificateName::CommonName)]).await;
    for names in [
        &[][..],
        &[""],
        &["al\0ice"],
        &["al\x07ice"],
        &["al\x7fice"],
        &["al\u{85}ice"],
        &["\u{FEFF}alice"],
    ] {
        let certificate = issued(names, |_| ());
        let reason = refusal(&by_name, &certificate).await;
        assert_eq!(reason, ReasonCode::NotAuthorized, "{names:?}");
    }
    let by_dns = broker([listener(CertificateName::Dns)]).await;
    let two = issued(&["alice"], |params| {
        let name = |text: &str| SanType::DnsName(text.try_into().unwrap());
        params.subject_alt_names = vec![name("a.example"), name("b.example")];
    });
    assert_eq!(refusal(&by_dns, &two).await, ReasonCode::NotAuthorized);
    let by_uri = broker([listener(CertificateName::Uri)]).await;
    for bytes in [&b"\xff\xfe"[..], b"urn:\xc0\xafx", b"urn:\x01x", b""] {
        let certificate = issued(&["alice"], |params| {
            params.custom_extensions = vec![raw_name(0x86, bytes)];
        });
        // Some of them are refused in the handshake.
        let client = client(&by_uri, &certificate, ProtocolVersion::V5);
        assert!(soon(client.connect()).await.is_err(), "{bytes:?}");
    }
    for broker in [by_name, by_dns, by_uri] {
        let stats = broker.stats();
        assert_eq!((stats.sessions, stats.connects_accepted), (0, 0));
    }
}

/// Whom the authority vouches for, and yet nobody can say who that is.
#[tokio::test]
async fn a_common_name_that_is_no_text_or_is_there_twice_lets_nobody_in() {
    const UTF8: u8 = 0x0C;
    const PRINTABLE: u8 = 0x13;
    const BMP: u8 = 0x1E;
    let broker = broker([listener(CertificateName::CommonName)]).await;
    let fine = careless(b"alice", b"bobby");
    assert_eq!(user(&broker, &fine).await.as_deref(), Some("bobby"));
    let name = |kind: u8, bytes: &[u8; 5]| [&[kind, 5][..], bytes].concat();
    let alice = name(UTF8, b"alice");
    for (from, to) in [
        (&b"alice"[..], &b"\xff\xfeice"[..]),
        (b"alice", b"\xc0\xafice"),
        (b"alice", b"\xed\xa0\x80ce"),
        (b"alice", b"alic\xc3"),
        (b"alice", b"al\0ic"),
        (b"alice", b"\0\0\0\0\0"),
        (&alice, &name(PRINTABLE, b"al\0ic")),
        (&alice, &name(PRINTABLE, b"al\xffic")),
        (&alice, &name(BMP, b"\0a\0bc")),
        // An organisation that is a second common name.
        (b"\x55\x04\x0a", b"\x55\x04\x03"),
    ] {
        let certificate = careless(from, to);
        let reason = refusal(&broker, &certificate).await;
        assert_eq!(reason, ReasonCode::NotAuthorized, "{to:x?}");
    }
    assert_eq!(broker.stats().connects_accepted, 1);
}

#[tokio::test]
async fn the_certificate_is_proof_enough_in_old_words_too() {
    let broker = broker([listener(CertificateName::CommonName)]).await;
    let client = client(&broker, &named("alice"), ProtocolVersion::V3_1_1);
    soon(client.connect()).await.unwrap();
    assert_eq!(broker.clients()[0].user.as_deref(), Some("alice"));
}

/// CVE-2017-7650, by certificate.
#[tokio::test]
async fn a_name_that_is_more_than_one_level_of_a_topic_opens_no_pattern() {
    let mut acl = Acl::new();
    let filter = TopicFilter::new("devices/%u/#").unwrap();
    let all = Accesses::of(&[Access::Publish, Access::Read]);
    acl.extend(Whom::Everybody, [Rule::new(filter, all, false)]);
    let broker = Broker::new(BrokerOptions {
        listeners: vec![listener(CertificateName::CommonName)],
        acl: Some(Arc::new(acl).into()),
        ..BrokerOptions::default()
    });
    broker.start().await.unwrap();
    for (name, topic, is_allowed) in [
        ("a", "devices/a/x", true),
        ("a", "devices/b/x", false),
        ("+", "devices/+/x", false),
        ("#", "devices/b/x", false),
        ("a/b", "devices/a/b/x", false),
    ] {
        let client = client(&broker, &named(name), ProtocolVersion::V5);
        soon(client.connect()).await.unwrap();
        let topic = topic.replace('+', "b");
        let sent = client.publish(message(&topic, "x".to_owned(), QoS::AtLeastOnce));
        assert_eq!(soon(sent).await.is_ok(), is_allowed, "{name} to {topic}");
    }
}

#[tokio::test]
async fn where_users_are_asked_for_too_the_password_has_to_be_that_of_the_name() {
    let users = Passwords::new([("alice", "secret"), ("bob", "other")]).unwrap();
    let auth = Auth::new(vec![Users::Users(Arc::new(users))], AuthLimits::default()).unwrap();
    let mut strict = listener(CertificateName::CommonName);
    strict.auth = Local::Here(Some(Arc::new(auth)));
    let broker = broker([strict]).await;
    let user = user(&broker, &named("alice")).await;
    assert_eq!(user.as_deref(), Some("alice"));
    for name in ["bob", "carol", "somebody else"] {
        let reason = refusal(&broker, &named(name)).await;
        assert_eq!(reason, ReasonCode::BadUserNameOrPassword, "{name}");
    }
}

#[tokio::test]
async fn a_session_belongs_to_the_name() {
    let broker = broker([listener(CertificateName::CommonName)]).await;
    let keep = |certificate: &Issued| {
        let tls = TlsOptions {
            cert: here(&certificate.cert),
            key: here(&certificate.key),
            ..believing()
        };
        let mut options = options(&broker, &tls);
        options.client_id = Some("one id".to_owned());
        options.clean_start = false;
        options.session_expiry = 60;
        options
    };
    let alice = connected(keep(&named("alice"))).await;
    soon(alice.close(GONE)).await;
    let mallory = Client::new(keep(&named("mallory")));
    let error = soon(mallory.connect()).await.unwrap_err();
    let ClientError::ConnectRefused { reason, .. } = error else {
        panic!("{error:?} instead of ConnectRefused");
    };
    assert_eq!(reason, ReasonCode::NotAuthorized);
}

#[tokio::test]
async fn a_listener_that_lets_clients_in_without_a_certificate_takes_no_names_from_them() {
    let mut optional = encrypted(TlsOptions {
        ca: here(&AUTHORITY.pem()),
        needs_client_cert: false,
        ..showing(&CERTIFICATES.server)
    });
    optional.username_from = Some(CertificateName::CommonName);
    for wrong in [optional, {
        let mut plain = super::listener("mqtt://127.0.0.1:0");
        plain.username_from = Some(CertificateName::CommonName);
        plain
    }] {
        let broker = Broker::new(BrokerOptions {
            listeners: vec![wrong],
            ..BrokerOptions::default()
        });
        let error = broker.start().await.unwrap_err().to_string();
        assert!(error.contains("username_from"), "{error}");
    }
}
