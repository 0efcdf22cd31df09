//! The load generator, and the two brokers it is built with: ours and a bare relay.
//!
//! `load` puts one scenario on one broker and prints one line of JSON: what was sent, what came, what came twice or out of
//! order, how long it took, and what it cost the broker's process by the operating system's books. `spread` asks what
//! worker threads are worth, `churn` lets clients come and go, `hostile` sends those who mean harm. `serve` is our broker alone in a process, `relay` the floor
//! under brokers; `certificates` makes some for a run; `sink` and `roundtrip` are the other side and the floor of clients. The Python files beside this package
//! start them in turn and make the tables.

mod actor;
mod books;
mod churn;
mod handshake;
mod hostile;
mod load;
mod peer;
mod pipe;
mod process;
mod relay;
mod roundtrip;
mod scenario;
mod serve;
mod sink;
mod spread;

use lexopt::prelude::*;
use rmqtt::transport::Certificates;
use std::error::Error;
use std::path::Path;

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
        Some(Value(mode)) if mode == "serve" => serve::run(&mut arguments),
        Some(Value(mode)) if mode == "certificates" => certificates(arguments.value()?.as_ref()),
        Some(Value(mode)) if mode == "relay" => relay::run(),
        Some(Value(mode)) if mode == "spread" => {
            println!("{}", spread::run(&mut arguments)?);
            Ok(())
        }
        Some(Value(mode)) if mode == "churn" => {
            println!("{}", churn::run(&mut arguments)?);
            Ok(())
        }
        Some(Value(mode)) if mode == "hostile" => hostile::run(&mut arguments),
        Some(Value(mode)) if mode == "sink" => sink::run(&mut arguments),
        Some(Value(mode)) if mode == "roundtrip" => roundtrip::run(&mut arguments),
        _ => Err(
            "say load, spread, churn, hostile, serve, certificates, relay, sink or roundtrip"
                .into(),
        ),
    }
}

/// An authority and what it has issued to a server, for brokers that are compared.
fn certificates(directory: &Path) -> Outcome<()> {
    let made = Certificates::new()?;
    std::fs::write(directory.join("ca.pem"), made.ca)?;
    std::fs::write(directory.join("server.pem"), made.server.cert)?;
    std::fs::write(directory.join("server.key"), made.server.key)?;
    Ok(())
}
