//! Unix sockets.

use super::{broker, carries_messages, connected, listener};
use rmqtt::broker::{Broker, BrokerError, BrokerOptions};
use rmqtt::client::ClientOptions;
use socket2::{Domain, SockAddr, Socket, Type};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

/// A path of this test's own, where nothing is.
fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("rmqtt-{}-{name}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn url(path: &std::path::Path) -> String {
    format!("unix://{}", path.display())
}

#[tokio::test]
async fn messages_of_every_size_arrive_over_a_unix_socket() {
    let path = path("messages");
    let broker = broker([listener(&url(&path))]).await;
    assert_eq!(broker.addresses()[0].to_string(), url(&path));
    let client = connected(ClientOptions::new(broker.addresses()[0].clone())).await;
    carries_messages(&client).await;
    assert_eq!(broker.clients()[0].peer.address, None);
    assert_eq!(broker.clients()[0].peer.listener, Some(0));
}

#[tokio::test]
async fn the_file_is_for_its_owner_alone_unless_said_otherwise() {
    let (own, all) = (path("own"), path("all"));
    let mut open = listener(&url(&all));
    open.gate.socket_mode = 0o666;
    let _broker = broker([listener(&url(&own)), open]).await;
    for (path, mode) in [(own, 0o600), (all, 0o666)] {
        let found = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode);
    }
}

#[tokio::test]
async fn the_file_is_gone_when_the_broker_has_stopped() {
    let path = path("gone");
    let broker = broker([listener(&url(&path))]).await;
    assert!(path.exists());
    broker.stop(Duration::ZERO).await;
    assert!(!path.exists());
    broker.start().await.unwrap();
    assert!(path.exists());
}

#[tokio::test]
async fn a_file_that_a_dead_process_left_is_replaced() {
    let path = path("stale");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let broker = broker([listener(&url(&path))]).await;
    let _client = connected(ClientOptions::new(broker.addresses()[0].clone())).await;
}

#[tokio::test]
async fn neither_a_socket_in_use_nor_another_file_is_replaced() {
    let (used, file) = (path("used"), path("file"));
    let _other = std::os::unix::net::UnixListener::bind(&used).unwrap();
    std::fs::write(&file, "precious").unwrap();
    for path in [&used, &file] {
        let broker = Broker::new(BrokerOptions {
            listeners: vec![listener(&url(path))],
            ..BrokerOptions::default()
        });
        let error = broker.start().await.unwrap_err();
        assert!(matches!(error, BrokerError::Bind { .. }), "{error}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    assert!(used.exists());
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn a_socket_whose_backlog_is_full_is_in_use_and_holds_nobody_up() {
    let path = path("full");
    let address = SockAddr::unix(&path).unwrap();
    let busy = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    busy.bind(&address).unwrap();
    busy.listen(0).unwrap();
    let waiting: Vec<Socket> = std::iter::repeat_with(|| {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.connect(&address).map(|()| socket)
    })
    .map_while(Result::ok)
    .collect();
    assert!(!waiting.is_empty());
    let broker = Broker::new(BrokerOptions {
        listeners: vec![listener(&url(&path))],
        ..BrokerOptions::default()
    });
    let error = broker.start().await.unwrap_err();
    assert!(matches!(error, BrokerError::Bind { .. }), "{error}");
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn another_brokers_file_is_left_alone() {
    let path = path("other");
    let first = broker([listener(&url(&path))]).await;
    std::fs::remove_file(&path).unwrap();
    let _second = broker([listener(&url(&path))]).await;
    first.stop(Duration::ZERO).await;
    assert!(path.exists());
}
