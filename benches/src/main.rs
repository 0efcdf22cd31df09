//! The load generator, and the two brokers it is built with: ours and a bare relay.
//!
//! `load` puts one scenario on one broker and prints one line of JSON: what was sent, what came, what came twice or out of
//! order, how long it took, and what it cost the broker's process by the operating system's books. `serve` is our broker
//! alone in a process, `relay` the floor. `benches/run.py` starts them in turn and makes the tables.

mod books;
mod handshake;
mod load;
mod peer;
mod process;
mod relay;
mod roundtrip;
mod scenario;
mod sink;

use lexopt::prelude::*;
use std::error::Error;
use std::io::Read;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    process::allow_many_sockets()?;
    let mut arguments = lexopt::Parser::from_env();
    match arguments.next()? {
        Some(Value(mode)) if mode == "load" => {
            let scenario = scenario::Scenario::from_arguments(&mut arguments)?;
            println!("{}", load::run(&scenario)?);
            Ok(())
        }
        Some(Value(mode)) if mode == "serve" => serve(),
        Some(Value(mode)) if mode == "relay" => relay::run(),
        Some(Value(mode)) if mode == "sink" => sink::run(&mut arguments),
        Some(Value(mode)) if mode == "roundtrip" => roundtrip::run(&mut arguments),
        _ => Err("say load, serve, relay, sink or roundtrip".into()),
    }
}

/// Our broker until standard input ends, with bounds that no scenario reaches.
fn serve() -> Outcome<()> {
    let options = rmqtt::broker::BrokerOptions {
        listeners: vec![rmqtt::transport::Address::Tcp {
            host: "127.0.0.1".to_owned(),
            port: 0,
        }],
        limits: rmqtt::broker::Limits {
            queue_messages_max: 200_000,
            queue_bytes_max: 1 << 30,
            ..rmqtt::broker::Limits::default()
        },
        ..rmqtt::broker::BrokerOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let broker = rmqtt::broker::Broker::new(options);
    runtime.block_on(broker.start())?;
    for address in broker.addresses() {
        if let rmqtt::transport::Address::Tcp { port, .. } = address {
            println!("{port}");
        }
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
