//! Our broker alone in a process, with bounds that no scenario reaches unless it asks for them.

use crate::Outcome;
use lexopt::prelude::*;
use rmqtt::broker::{Broker, BrokerOptions, BrokerStats, Limits};
use rmqtt::transport::Address;
use std::io::BufRead;

/// Serves until standard input ends; a line there asks for the counters.
pub fn run(arguments: &mut lexopt::Parser) -> Outcome<()> {
    let (mut threads, mut own_threads, mut queue_messages_max) = (2, 0, 200_000);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("threads") => threads = arguments.value()?.parse()?,
            Long("own-threads") => own_threads = arguments.value()?.parse()?,
            Long("queue-messages") => queue_messages_max = arguments.value()?.parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    let broker = Broker::new(BrokerOptions {
        listeners: vec![Address::Tcp {
            host: "127.0.0.1".to_owned(),
            port: 0,
        }.into()],
        limits: Limits {
            queue_messages_max,
            queue_bytes_max: 1 << 30,
            ..Limits::default()
        },
        threads: own_threads,
        ..BrokerOptions::default()
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?;
    runtime.block_on(broker.start())?;
    for address in broker.addresses() {
        if let Address::Tcp { port, .. } = address {
            println!("{port}");
        }
    }
    for line in std::io::stdin().lock().lines() {
        line?;
        println!("{}", json(&broker.stats()));
    }
    Ok(())
}

fn json(stats: &BrokerStats) -> String {
    let counters = [
        ("connections", stats.connections as u64),
        ("sessions", stats.sessions as u64),
        ("subscriptions", stats.subscriptions as u64),
        ("retained_messages", stats.retained_messages as u64),
        ("queued_messages", stats.queued_messages as u64),
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
    let fields = counters.map(|(name, count)| format!("\"{name}\":{count}"));
    format!("{{{}}}", fields.join(","))
}
