//! TLS that comes about.

use super::{
    CERTIFICATES, believing, broker, carries_messages, connected, encrypted, here, listener,
    options, refused, showing,
};
use crate::client_script::soon;
use crate::raw::until;
use rmqtt::client::Close;
use rmqtt::transport::{Source, TlsError, TlsOptions, TlsServer, TlsVersion};
use std::time::Duration;

#[tokio::test]
async fn messages_of_every_size_arrive_over_tls() {
    let broker = broker([encrypted(showing(&CERTIFICATES.server))]).await;
    let client = connected(options(&broker, &believing())).await;
    carries_messages(&client).await;
    soon(client.close(Close::Drain(Duration::from_secs(5)))).await;
    broker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn tls_1_2_alone_and_1_3_alone_do_as_well() {
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let broker = broker([encrypted(TlsOptions {
            min_version: version,
            ..showing(&CERTIFICATES.server)
        })])
        .await;
        let tls = TlsOptions {
            min_version: version,
            ..believing()
        };
        carries_messages(&connected(options(&broker, &tls)).await).await;
    }
}

#[tokio::test]
async fn the_broker_knows_whom_a_clients_certificate_names() {
    let broker = broker([
        encrypted(TlsOptions {
            ca: here(&CERTIFICATES.ca),
            ..showing(&CERTIFICATES.server)
        }),
        listener("mqtt://127.0.0.1:0"),
    ])
    .await;
    let tls = TlsOptions {
        ca: here(&CERTIFICATES.ca),
        ..showing(&CERTIFICATES.client)
    };
    let _client = connected(options(&broker, &tls)).await;
    let peer = broker.clients()[0].peer.clone();
    assert_eq!(peer.listener, Some(0));
    assert!(peer.address.is_some());
    let certificate = peer.certificate.unwrap();
    assert_eq!(certificate.common_name.as_deref(), Some("client"));
    assert_eq!(certificate.subject, "CN=client");
    assert_eq!(certificate.email_addresses, ["client@example.com"]);
    assert_eq!(certificate.uris, ["urn:rmqtt:client"]);
    assert!(certificate.dns_names.is_empty() && certificate.ip_addresses.is_empty());
}

#[tokio::test]
async fn a_client_without_a_certificate_comes_in_where_that_is_optional() {
    let broker = broker([encrypted(TlsOptions {
        ca: here(&CERTIFICATES.ca),
        needs_client_cert: false,
        ..showing(&CERTIFICATES.server)
    })])
    .await;
    let _client = connected(options(&broker, &believing())).await;
    assert_eq!(broker.clients()[0].peer.certificate, None);
}

#[tokio::test]
async fn a_session_is_resumed_with_the_certificate_it_began_with() {
    let broker = broker([encrypted(TlsOptions {
        ca: here(&CERTIFICATES.ca),
        ..showing(&CERTIFICATES.server)
    })])
    .await;
    let options = options(
        &broker,
        &TlsOptions {
            ca: here(&CERTIFICATES.ca),
            ..showing(&CERTIFICATES.client)
        },
    );
    for _ in 0..3 {
        let client = connected(options.clone()).await;
        // With TLS 1.3 tickets come behind the handshake.
        carries_messages(&client).await;
        let named = broker.clients()[0].peer.certificate.clone().unwrap();
        assert_eq!(named.common_name.as_deref(), Some("client"));
        soon(client.close(Close::Drain(Duration::from_secs(5)))).await;
        until("gone", &broker, |broker| broker.clients().is_empty()).await;
    }
}

#[tokio::test]
async fn certificates_are_read_anew_without_a_restart() {
    let folder = folder("renewed");
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let write = |issued: &rmqtt::transport::Issued| {
        std::fs::write(&cert, &issued.cert).unwrap();
        std::fs::write(&key, &issued.key).unwrap();
    };
    write(&CERTIFICATES.expired);
    let broker = broker([encrypted(TlsOptions {
        cert: Some(Source::File(cert.clone())),
        key: Some(Source::File(key.clone())),
        ..TlsOptions::default()
    })])
    .await;
    assert!(
        refused(options(&broker, &believing()))
            .await
            .contains("has expired")
    );
    std::fs::write(&cert, "nothing of use").unwrap();
    assert!(broker.reload_certificates().is_err());
    assert!(
        refused(options(&broker, &believing()))
            .await
            .contains("has expired")
    );
    write(&CERTIFICATES.server);
    broker.reload_certificates().unwrap();
    let _client = connected(options(&broker, &believing())).await;
}

#[tokio::test]
async fn a_key_may_lie_beside_its_certificate() {
    let issued = &CERTIFICATES.server;
    let both = format!("{}{}", issued.cert, issued.key);
    let broker = broker([encrypted(TlsOptions {
        cert: here(&both),
        ..TlsOptions::default()
    })])
    .await;
    let _client = connected(options(&broker, &believing())).await;
}

#[tokio::test]
async fn a_name_of_its_own_can_be_asked_for() {
    let broker = broker([encrypted(showing(&CERTIFICATES.wrong_host))]).await;
    let tls = TlsOptions {
        server_name: Some("elsewhere.example".to_owned()),
        ..believing()
    };
    let _client = connected(options(&broker, &tls)).await;
}

#[tokio::test]
async fn who_does_not_ask_connects_to_anybody() {
    let broker = broker([encrypted(showing(&CERTIFICATES.self_signed))]).await;
    let tls = TlsOptions {
        verify: false,
        ..TlsOptions::default()
    };
    let _client = connected(options(&broker, &tls)).await;
}

/// By `openssl pkcs8 -topk8 -v2 aes-256-cbc` and its default, of one key; the password is `secret`.
#[test]
fn an_encrypted_key_needs_its_password() {
    let key = include_str!("encrypted.key");
    let with = |password: Option<&str>| {
        TlsServer::new(TlsOptions {
            cert: here(include_str!("encrypted.pem")),
            key: here(key),
            key_password: password.map(ToOwned::to_owned),
            ..TlsOptions::default()
        })
    };
    with(Some("secret")).unwrap();
    for (password, reason) in [
        (None, "encrypted, and there is no key_password"),
        (Some("wrong"), "is key_password right?"),
    ] {
        let error = with(password).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn material_that_cannot_be_used_is_refused_with_a_reason() {
    let server = &CERTIFICATES.server;
    let missing = Some(Source::File("/nonexistent/cert.pem".into()));
    let old =
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n-----END RSA PRIVATE KEY-----\n";
    for (options, reason) in [
        (TlsOptions::default(), "needs cert and key"),
        (
            TlsOptions {
                key: None,
                ..showing(server)
            },
            "no private key",
        ),
        (
            TlsOptions {
                cert: here(&server.key),
                ..showing(server)
            },
            "no certificate in it",
        ),
        (
            TlsOptions {
                cert: here(""),
                ..showing(server)
            },
            "no certificate in it",
        ),
        (
            TlsOptions {
                ca: here(""),
                ..showing(server)
            },
            "ca: there is no certificate",
        ),
        (
            TlsOptions {
                key: here(&CERTIFICATES.client.key),
                ..showing(server)
            },
            "cert and key: the key is not that of the certificate",
        ),
        (
            TlsOptions {
                key: here(old),
                ..showing(server)
            },
            "openssl pkcs8",
        ),
        (
            TlsOptions {
                crl: here(&CERTIFICATES.crl),
                ..showing(server)
            },
            "without a ca",
        ),
        (
            TlsOptions {
                verify: false,
                ..showing(server)
            },
            "for clients",
        ),
        (
            TlsOptions {
                cert: missing,
                ..showing(server)
            },
            "could not be read",
        ),
    ] {
        let error = TlsServer::new(options).unwrap_err();
        assert!(error.to_string().contains(reason), "{reason}: {error}");
        if let TlsError::Read { what, .. } = error {
            assert_eq!(what, "cert");
        }
    }
}

#[test]
fn neither_keys_nor_passwords_are_shown() {
    let options = TlsOptions {
        key_password: Some("hush".to_owned()),
        ..showing(&CERTIFICATES.server)
    };
    let shown = format!("{options:?} {:?}", TlsServer::new(options.clone()).unwrap());
    assert!(
        !shown.contains("hush") && !shown.contains("PRIVATE"),
        "{shown}"
    );
}

fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("rmqtt-tls-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
