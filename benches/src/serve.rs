//! Our broker alone in a process, with bounds that no scenario reaches unless it asks for them.

use crate::Outcome;
use lexopt::prelude::*;
use rmqtt::broker::{Broker, BrokerOptions, BrokerStats, Limits, ListenerOptions};
use rmqtt::transport::{Address, Source, TlsOptions, TlsServer};
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Serves until standard input ends; a line there asks for the counters.
pub fn run(arguments: &mut lexopt::Parser) -> Outcome<()> {
    let (mut threads, mut own_threads) = (2, 0);
    let mut listeners = vec![listener("mqtt", None)?];
    let mut limits = Limits {
        queue_messages_max: 200_000,
        queue_bytes_max: 1 << 30,
        ..Limits::default()
    };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("threads") => threads = arguments.value()?.parse()?,
            Long("own-threads") => own_threads = arguments.value()?.parse()?,
            Long("queue-messages") => limits.queue_messages_max = arguments.value()?.parse()?,
            // As for a port that strangers reach: see docs/limits.md.
            Long("guarded") => limits = guarded(),
            // Behind the plain port, one of each kind: `ports` says where.
            Long("certificates") => {
                let directory = PathBuf::from(arguments.value()?);
                for scheme in ["mqtts", "ws", "wss"] {
                    listeners.push(listener(scheme, Some(&directory))?);
                }
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let broker = Broker::new(BrokerOptions {
        listeners,
        limits,
        threads: own_threads,
        ..BrokerOptions::default()
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?;
    runtime.block_on(broker.start())?;
    let addresses = broker.addresses();
    for port in addresses.iter().take(1).filter_map(Address::port) {
        println!("{port}");
    }
    for line in std::io::stdin().lock().lines() {
        line?;
        println!("{}", json(&broker.stats(), &addresses));
    }
    Ok(())
}

/// At any port of this machine.
fn listener(scheme: &str, certificates: Option<&Path>) -> Outcome<ListenerOptions> {
    let mut listener = ListenerOptions::from(Address::parse(&format!("{scheme}://127.0.0.1:0"))?);
    if let Some(directory) = certificates.filter(|_| listener.address.is_secure()) {
        let tls = TlsServer::new(TlsOptions {
            cert: Some(Source::File(directory.join("server.pem"))),
            key: Some(Source::File(directory.join("server.key"))),
            ..TlsOptions::default()
        })?;
        listener.gate.tls = Some(Arc::new(tls));
    }
    Ok(listener)
}

fn guarded() -> Limits {
    Limits {
        connect_timeout: Duration::from_secs(5),
        connect_rate_max: 5000,
        connect_rate_per_client_id_max: 1,
        keep_alive_max: 60,
        message_rate_max: 100,
        byte_rate_max: 100_000,
        delivery_rate_max: 5000,
        queue_messages_max: 1000,
        queue_bytes_max: 1 << 20,
        ..Limits::default()
    }
}

fn json(stats: &BrokerStats, addresses: &[Address]) -> String {
    let counters = [
        ("connections", stats.connections as u64),
        ("sessions", stats.sessions as u64),
        ("subscriptions", stats.subscriptions as u64),
        ("retained_messages", stats.retained_messages as u64),
        ("queued_messages", stats.queued_messages as u64),
        ("held_bytes", stats.held_bytes as u64),
        ("held_bytes_high", stats.held_bytes_high as u64),
        ("bytes_received", stats.bytes_received),
        ("connects_refused", stats.connects_refused),
        ("connects_accepted", stats.connects_accepted),
        ("connections_violated", stats.connections_violated),
        ("messages_received", stats.messages_received),
        ("messages_delivered", stats.messages_delivered),
        ("messages_dropped_qos0", stats.messages_dropped_qos0),
        (
            "messages_dropped_queue_full",
            stats.messages_dropped_queue_full,
        ),
        ("messages_expired", stats.messages_expired),
        ("wills_published", stats.wills_published),
    ];
    let field = |(name, count): (&str, u64)| format!("\"{name}\":{count}");
    let reached = stats
        .limits_reached
        .iter()
        .map(|(name, count)| (*name, *count));
    let reached: Vec<_> = reached.map(field).collect();
    let fields = counters.map(field).join(",");
    let ports = addresses.iter().filter_map(|address| {
        let (text, port) = (address.to_string(), address.port()?);
        let (scheme, _) = text.split_once(':')?;
        Some(field((scheme, port.into())))
    });
    let ports: Vec<_> = ports.collect();
    format!(
        "{{{fields},\"ports\":{{{}}},\"limits_reached\":{{{}}}}}",
        ports.join(","),
        reached.join(",")
    )
}
