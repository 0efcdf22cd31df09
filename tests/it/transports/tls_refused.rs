//! TLS that does not come about: who is told what, and that nobody else is held up.

use super::{
    CERTIFICATES, believing, broker, connected, counts_refused, encrypted, here, listener, options,
    refused, showing,
};
use crate::client_script::soon;
use crate::raw::in_time;
use rmqtt::broker::{Broker, BrokerOptions, Limits};
use rmqtt::client::{Client, ClientOptions};
use rmqtt::transport::{Address, Issued, TlsOptions};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_server_that_is_not_believed_is_named_for_what_is_wrong_with_it() {
    let made = &*CERTIFICATES;
    let revoking = TlsOptions {
        crl: here(&made.crl),
        ..believing()
    };
    let stranger = TlsOptions {
        ca: here(&made.other_ca),
        ..TlsOptions::default()
    };
    let outdated = TlsOptions {
        crl: here(&made.outdated_crl),
        ..believing()
    };
    for (shown, tls, reason) in [
        (&made.server, &outdated, "list has run out"),
        (&made.server, &stranger, "unknown CA"),
        (&made.self_signed, &believing(), "self-signed"),
        (&made.wrong_host, &believing(), "not for 127.0.0.1"),
        (&made.expired, &believing(), "has expired"),
        (&made.revoked, &revoking, "was revoked"),
        (&made.client, &believing(), "not"),
    ] {
        let broker = broker([encrypted(showing(shown))]).await;
        let cause = refused(options(&broker, tls)).await;
        assert!(cause.contains(reason), "{reason}: {cause}");
    }
}

#[tokio::test]
async fn a_client_that_is_not_believed_is_told_what_is_wrong_with_it() {
    let made = &*CERTIFICATES;
    let broker = broker([encrypted(TlsOptions {
        ca: here(&made.ca),
        crl: here(&made.crl),
        ..showing(&made.server)
    })])
    .await;
    for (shown, reason) in [
        (None, "wants a certificate of ours"),
        (Some(&made.revoked_client), "our certificate was revoked"),
        (Some(&made.self_signed), "our certificate"),
        (Some(&made.expired), "our certificate"),
    ] {
        let tls = TlsOptions {
            ca: here(&made.ca),
            ..shown.map(showing).unwrap_or_default()
        };
        let cause = refused(options(&broker, &tls)).await;
        assert!(cause.contains(reason), "{reason}: {cause}");
    }
    counts_refused(&broker, 4).await;
    assert!(broker.clients().is_empty());
}

/// Whoever was revoked since would come in by it.
#[tokio::test]
async fn a_revocation_list_that_has_run_out_lets_nobody_in() {
    let made = &*CERTIFICATES;
    let broker = broker([encrypted(TlsOptions {
        ca: here(&made.ca),
        crl: here(&made.outdated_crl),
        ..showing(&made.server)
    })])
    .await;
    let tls = TlsOptions {
        ca: here(&made.ca),
        ..showing(&made.client)
    };
    let cause = refused(options(&broker, &tls)).await;
    assert!(cause.contains("our certificate"), "{cause}");
    counts_refused(&broker, 1).await;
}

#[tokio::test]
async fn a_plain_client_at_an_encrypted_port_is_told_so() {
    let broker = broker([encrypted(showing(&CERTIFICATES.server))]).await;
    let Address::Tls { host, port } = broker.addresses()[0].clone() else {
        panic!("not TLS")
    };
    let cause = refused(ClientOptions::new(Address::Tcp { host, port })).await;
    assert!(cause.contains("use mqtts://"), "{cause}");
}

#[tokio::test]
async fn an_encrypted_client_at_a_plain_port_is_told_so() {
    let broker = broker([listener("mqtt://127.0.0.1:0")]).await;
    let Address::Tcp { host, port } = broker.addresses()[0].clone() else {
        panic!("not TCP")
    };
    let mut options = options(&broker, &believing());
    options.address = Address::Tls { host, port };
    options.route.tls = Some(rmqtt::transport::TlsClient::new(&believing()).expect("a client"));
    let cause = refused(options).await;
    assert!(cause.contains("speak TLS at this port"), "{cause}");
}

#[tokio::test]
async fn a_handshake_that_is_never_finished_ends_and_holds_nobody_up() {
    let broker = Broker::new(BrokerOptions {
        listeners: vec![encrypted(showing(&CERTIFICATES.server))],
        limits: Limits {
            connect_timeout: Duration::from_millis(300),
            ..Limits::default()
        },
        ..BrokerOptions::default()
    });
    broker.start().await.expect("started");
    let port = broker.addresses()[0].port().expect("a port");
    let mut silent = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("connected");
    let mut halting = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("connected");
    // The beginning of a ClientHello that promises 512 bytes.
    halting
        .write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])
        .await
        .expect("written");
    let mut slow = options(&broker, &believing());
    slow.connect_timeout = Duration::from_secs(20);
    let client = connected(slow).await;
    for stream in [&mut silent, &mut halting] {
        let mut rest = Vec::new();
        let _ = in_time("the end", stream.read_to_end(&mut rest)).await;
    }
    counts_refused(&broker, 2).await;
    drop(client);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_those_who_shake_hands() {
    let broker = broker([encrypted(showing(&CERTIFICATES.server))]).await;
    let port = broker.addresses()[0].port().expect("a port");
    let mut silent = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("connected");
    silent.write_all(&[0x16]).await.expect("written");
    in_time("the stop", broker.stop(Duration::from_secs(60))).await;
    let mut rest = Vec::new();
    let _ = in_time("the end", silent.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn garbage_at_an_encrypted_port_ends_with_an_alert() {
    let broker = broker([encrypted(showing(&CERTIFICATES.server))]).await;
    let port = broker.addresses()[0].port().expect("a port");
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 64],
        &[0x16, 3, 1, 0xff, 0xff, 0],
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("connected");
        stream.write_all(garbage).await.expect("written");
        stream.shutdown().await.expect("shut");
        let mut rest = Vec::new();
        let _ = in_time("the end", stream.read_to_end(&mut rest)).await;
        assert!(rest.is_empty() || rest[0] == 0x15, "{rest:?}");
    }
    counts_refused(&broker, 3).await;
}

#[tokio::test]
async fn tls_and_the_address_have_to_go_together() {
    let mut plain = listener("mqtt://127.0.0.1:0");
    plain.gate.tls = encrypted(showing(&CERTIFICATES.server)).gate.tls;
    for (listener, reason) in [
        (plain, "not encrypted"),
        (listener("mqtts://127.0.0.1:0"), "needs tls"),
    ] {
        let broker = Broker::new(BrokerOptions {
            listeners: vec![listener],
            ..BrokerOptions::default()
        });
        let error = broker.start().await.expect_err("refused").to_string();
        assert!(error.contains(reason), "{error}");
    }
    let options = ClientOptions::new(Address::parse("mqtts://127.0.0.1:1").expect("an address"));
    let error = soon(Client::new(options).connect())
        .await
        .expect_err("refused");
    assert!(error.to_string().contains("needs tls"), "{error}");
}

#[tokio::test]
async fn the_network_is_let_in_anonymously_only_where_certificates_are_asked_for() {
    let made = &*CERTIFICATES;
    for (ca, may) in [(None, false), (here(&made.ca), true)] {
        let mut listener = encrypted(TlsOptions {
            ca,
            ..showing(&made.server)
        });
        listener.address = Address::parse("mqtts://0.0.0.0:0").expect("an address");
        let broker = Broker::new(BrokerOptions {
            listeners: vec![listener],
            ..BrokerOptions::default()
        });
        assert_eq!(broker.start().await.is_ok(), may);
    }
}

#[tokio::test]
async fn a_listener_has_a_bound_of_its_own() {
    let mut narrow = listener("mqtt://127.0.0.1:0");
    narrow.connections_max = Some(1);
    let broker = broker([narrow, listener("mqtt://127.0.0.1:0")]).await;
    let mut wide = ClientOptions::new(broker.addresses()[1].clone());
    wide.reconnect = None;
    let narrow = options(&broker, &believing());
    let _first = connected(narrow.clone()).await;
    assert!(soon(Client::new(narrow).connect()).await.is_err());
    let _third = connected(wide).await;
    assert_eq!(broker.clients().len(), 2);
}

#[tokio::test]
async fn a_clients_certificate_that_is_larger_than_any_is_refused_and_nobody_else_notices() {
    let made = &*CERTIFICATES;
    let broker = broker([encrypted(TlsOptions {
        ca: here(&made.ca),
        ..showing(&made.server)
    })])
    .await;
    let honest = TlsOptions {
        ca: here(&made.ca),
        ..showing(&made.client)
    };
    let client = connected(options(&broker, &honest)).await;
    let hosts: Vec<_> = (0..2_000).map(|n| format!("h{n}.example")).collect();
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(hosts).expect("names");
    let certificate = params.self_signed(&key).expect("a certificate").pem();
    // Some 30 KB each: below and above what fits into one message of a handshake, 64 KiB.
    for count in [1, 5] {
        let huge = Issued {
            cert: certificate.repeat(count),
            key: key.serialize_pem(),
        };
        let tls = TlsOptions {
            ca: here(&made.ca),
            ..showing(&huge)
        };
        let mut options = options(&broker, &tls);
        options.fall_back = false;
        assert!(soon(Client::new(options).connect()).await.is_err());
    }
    counts_refused(&broker, 2).await;
    super::carries_messages(&client).await;
}
