//! What one run puts on a broker.

use crate::Outcome;
use crate::pipe::{Way, pinned};
use lexopt::prelude::*;
use std::path::PathBuf;

/// Who publishes to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// The n-th publisher to the n-th subscriber.
    Pairs,
    /// All publishers to the one subscriber, by a wildcard.
    FanIn,
    /// The one publisher to all subscribers.
    FanOut,
    /// Nobody publishes: clients come, subscribe and stay.
    Idle,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub port: u16,
    /// The broker's process, for its books.
    pub pid: i32,
    pub topology: Topology,
    pub publishers: usize,
    pub subscribers: usize,
    pub qos: u8,
    /// Bytes; at least what the books need.
    pub payload: usize,
    /// Closed loop: unfinished messages of one publisher at most.
    pub window: u64,
    /// Open loop: messages a second of all publishers together, whether or not the broker keeps up; 0: closed loop.
    pub rate: u64,
    /// Of all publishers together.
    pub messages: u64,
    /// Filters that others have subscribed to beforehand: half of them exact, half with a wildcard; none matches.
    pub filters: usize,
    /// Clients that are connected and subscribed and do nothing.
    pub idle: usize,
    /// Retained messages under topics of their own.
    pub retained: usize,
    /// Subscribers, each to another filter that matches the one publisher's topic; 0: nobody gets it.
    pub matching: Option<usize>,
    /// Subscribers read nothing before all has been published: some bound is hit.
    pub slow: bool,
    /// MQTT 5 instead of 3.1.1.
    pub v5: bool,
    /// What lies between clients and broker.
    pub way: Way,
}

impl Scenario {
    pub fn from_arguments(arguments: &mut lexopt::Parser) -> Outcome<Self> {
        let mut scenario = Self {
            port: 0,
            pid: 0,
            topology: Topology::Pairs,
            publishers: 1,
            subscribers: 1,
            qos: 0,
            payload: 64,
            window: 100,
            rate: 0,
            messages: 100_000,
            filters: 0,
            idle: 0,
            retained: 0,
            matching: None,
            slow: false,
            v5: false,
            way: Way::default(),
        };
        let (mut tls, mut ca, mut resumes, mut records) = (None, PathBuf::new(), false, None);
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("port") => scenario.port = arguments.value()?.parse()?,
                Long("pid") => scenario.pid = arguments.value()?.parse()?,
                Long("publishers") => scenario.publishers = arguments.value()?.parse()?,
                Long("subscribers") => scenario.subscribers = arguments.value()?.parse()?,
                Long("qos") => scenario.qos = arguments.value()?.parse()?,
                Long("payload") => scenario.payload = arguments.value()?.parse()?,
                Long("window") => scenario.window = arguments.value()?.parse()?,
                Long("rate") => scenario.rate = arguments.value()?.parse()?,
                Long("messages") => scenario.messages = arguments.value()?.parse()?,
                Long("filters") => scenario.filters = arguments.value()?.parse()?,
                Long("idle") => scenario.idle = arguments.value()?.parse()?,
                Long("retained") => scenario.retained = arguments.value()?.parse()?,
                Long("matching") => scenario.matching = Some(arguments.value()?.parse()?),
                Long("websocket") => scenario.way.is_websocket = true,
                Long("tls") => tls = Some(arguments.value()?.string()?),
                Long("ca") => ca = arguments.value()?.into(),
                Long("resume") => resumes = true,
                Long("records") => records = Some(arguments.value()?.parse()?),
                Long("slow") => scenario.slow = true,
                Long("v5") => scenario.v5 = true,
                Long("topology") => {
                    scenario.topology = match arguments.value()?.string()?.as_str() {
                        "pairs" => Topology::Pairs,
                        "fan-in" => Topology::FanIn,
                        "fan-out" => Topology::FanOut,
                        "idle" => Topology::Idle,
                        other => return Err(format!("no topology: {other}").into()),
                    };
                }
                other => return Err(other.unexpected().into()),
            }
        }
        if let Some(version) = tls {
            scenario.way.tls = Some(pinned(&version, &ca, resumes, records)?);
        }
        if let Some(count) = scenario.matching {
            scenario.topology = Topology::FanOut;
            scenario.subscribers = count;
        }
        if scenario.slow {
            scenario.window = scenario.messages;
        }
        Ok(scenario)
    }

    /// What a subscriber asks for.
    pub fn filter(&self, subscriber: usize) -> String {
        match self.topology {
            Topology::Pairs | Topology::Idle => topic(subscriber),
            Topology::FanIn => "bench/plant/+/temperature".to_owned(),
            Topology::FanOut if self.matching.is_some() => match subscriber % 4 {
                0 => topic(0),
                1 => "bench/plant/+/temperature".to_owned(),
                2 => "+/+/0000/#".to_owned(),
                _ => "bench/#".to_owned(),
            },
            Topology::FanOut => topic(0),
        }
    }

    /// How many copies of a publisher's message are to come.
    pub fn copies(&self) -> u64 {
        match self.topology {
            Topology::Pairs | Topology::FanIn => 1,
            Topology::FanOut => self.subscribers as u64,
            Topology::Idle => 0,
        }
    }
}

/// The topic of a publisher.
pub fn topic(publisher: usize) -> String {
    format!("bench/plant/{publisher:04}/temperature")
}
