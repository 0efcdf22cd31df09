//! What is read, however it comes in records and pieces.

use super::Encrypted;
use crate::transport::{Certificates, Source, Stream, TlsClient, TlsOptions, TlsServer};
use std::io::{ErrorKind, Write};
use std::sync::LazyLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::TlsStream;
use tokio_rustls::rustls::{AlertDescription, ClientConnection, Error};

static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(|| Certificates::new().unwrap());

/// The two ends of a pipe that holds so many bytes: a client's by hand, and a listener's.
async fn ends(width: usize) -> (Stream, ClientConnection, Stream) {
    let here = |text: &str| Some(Source::Here(text.to_owned().into()));
    let client = TlsClient::new(&TlsOptions {
        ca: here(&CERTIFICATES.ca),
        ..TlsOptions::default()
    });
    let server = TlsServer::new(TlsOptions {
        cert: here(&CERTIFICATES.server.cert),
        key: here(&CERTIFICATES.server.key),
        ..TlsOptions::default()
    });
    let (client, server) = (client.unwrap(), server.unwrap());
    let (near, far) = duplex(width);
    let (near, far) = tokio::join!(
        client.connect(Stream::Memory(near), "localhost", false),
        server.accept(Stream::Memory(far), false)
    );
    let Stream::Tls(near) = near.unwrap() else {
        panic!("not encrypted")
    };
    let Encrypted {
        stream: TlsStream::Client(near),
        ..
    } = *near
    else {
        panic!("not a client")
    };
    let (wire, connection) = near.into_inner();
    (wire, connection, far.unwrap().0)
}

/// What goes over the wire for it.
fn sealed(connection: &mut ClientConnection, payload: &[u8]) -> Vec<u8> {
    connection.writer().write_all(payload).unwrap();
    let mut bytes = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut bytes).unwrap();
    }
    bytes
}

#[tokio::test]
async fn one_read_gives_the_payload_of_all_records_that_have_come() {
    let (mut wire, mut client, mut server) = ends(1 << 20).await;
    let mut bytes = Vec::new();
    for number in 0..100 {
        bytes.extend(sealed(&mut client, &[number; 10]));
    }
    wire.write_all(&bytes).await.unwrap();
    let mut payload = [0; 8192];
    assert_eq!(server.read(&mut payload).await.unwrap(), 1000);
    assert_eq!(payload[990..1000], [99; 10]);
}

#[tokio::test]
async fn payload_comes_out_whole_however_it_is_cut_into_records_and_reads() {
    let sizes = [
        1, 100, 16_384, 5_000, 16_384, 16_384, 3, 12_000, 4_097, 40_000,
    ];
    for width in [700, 5_000, 1 << 20] {
        for size in [1, 20, 5_000, 8_192, 65_536] {
            let (mut wire, mut client, mut server) = ends(width).await;
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            for (number, size) in sizes.iter().enumerate() {
                let byte = |at: usize| u8::try_from((at + number) % 251).unwrap();
                let payload: Vec<u8> = (0..*size).map(byte).collect();
                for piece in payload.chunks(30_000) {
                    bytes.extend(sealed(&mut client, piece));
                }
                expected.extend(payload);
            }
            client.send_close_notify();
            bytes.extend(sealed(&mut client, b""));
            let writing = tokio::spawn(async move {
                wire.write_all(&bytes).await.unwrap();
                wire
            });
            let (mut payload, mut piece) = (Vec::new(), vec![0; size]);
            loop {
                let count = server.read(&mut piece).await.unwrap();
                if count == 0 {
                    break;
                }
                payload.extend_from_slice(&piece[..count]);
            }
            assert!(payload == expected, "{width} {size} {}", payload.len());
            writing.await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_came_before_a_broken_record_counts_and_its_sender_is_told() {
    let (mut wire, mut client, mut server) = ends(1 << 20).await;
    let mut bytes = sealed(&mut client, b"good");
    bytes.extend([0x17, 3, 3, 0, 32]);
    bytes.extend([7; 32]);
    wire.write_all(&bytes).await.unwrap();
    let mut payload = [0; 100];
    assert_eq!(server.read(&mut payload).await.unwrap(), 4);
    let error = server.read(&mut payload).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    drop(server);
    let mut answer = Vec::new();
    wire.read_to_end(&mut answer).await.unwrap();
    let mut answer = &answer[..];
    let told = loop {
        assert!(client.read_tls(&mut answer).unwrap() > 0);
        if let Err(error) = client.process_new_packets() {
            break error;
        }
    };
    let alert = AlertDescription::BadRecordMac;
    assert_eq!(told, Error::AlertReceived(alert));
}

#[tokio::test]
async fn an_end_without_a_goodbye_is_an_error_behind_what_came() {
    let (mut wire, mut client, mut server) = ends(1 << 20).await;
    wire.write_all(&sealed(&mut client, b"good")).await.unwrap();
    drop(wire);
    let mut payload = [0; 100];
    assert_eq!(server.read(&mut payload).await.unwrap(), 4);
    let error = server.read(&mut payload).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}
