//! The floor under "publish, wait for PUBACK, publish": no client can do it with less.
//!
//! `alone`: one thread writes, waits in epoll, reads. `pair`: as a client must whose sockets do not belong to the thread of
//! its user: one thread with the socket, another that asks it by an eventfd and is answered by one, each waiting in epoll.

use crate::Outcome;
use crate::handshake::{Hello, put_publish};
use lexopt::prelude::*;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ASKED: u64 = 1;
const ANSWERED: u64 = 2;

/// Prints the median of each kind, in microseconds.
pub fn run(arguments: &mut lexopt::Parser) -> Outcome<()> {
    let (mut port, mut messages) = (0, 5_000);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("port") => port = arguments.value()?.parse()?,
            Long("messages") => messages = arguments.value()?.parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    let (mut publish, mut puback) = (Vec::new(), [0; 4]);
    put_publish(
        &mut publish,
        false,
        "bench/sensor/07/temperature",
        0x32,
        &[0x55; 64],
    );
    let alone = alone(&mut connect(port)?, &publish, &mut puback, messages)?;
    let pair = pair(connect(port)?, publish, messages)?;
    println!(
        "{{\"alone_us\":{:.3},\"pair_us\":{:.3}}}",
        median(alone),
        median(pair)
    );
    Ok(())
}

fn connect(port: u16) -> Outcome<TcpStream> {
    let hello = Hello {
        port,
        v5: false,
        client_id: "roundtrip",
        is_clean: true,
        will: None,
    };
    Ok(hello.say()?.0)
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times
        .get(times.len() / 2)
        .map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

fn wait(epoll: &Epoll) -> Outcome<u64> {
    let mut events = [EpollEvent::empty()];
    loop {
        match epoll.wait(&mut events, EpollTimeout::from(10_000_u16)) {
            Ok(0) => return Err("no answer for ten seconds".into()),
            Ok(_) => return Ok(events[0].data()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn watch(epoll: &Epoll, what: impl AsFd, name: u64) -> Outcome<()> {
    Ok(epoll.add(what, EpollEvent::new(EpollFlags::EPOLLIN, name))?)
}

fn alone(
    stream: &mut TcpStream,
    publish: &[u8],
    puback: &mut [u8],
    messages: usize,
) -> Outcome<Vec<Duration>> {
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    watch(&epoll, &*stream, ANSWERED)?;
    let mut times = Vec::with_capacity(messages);
    for _ in 0..messages {
        let begun = Instant::now();
        stream.write_all(publish)?;
        wait(&epoll)?;
        stream.read_exact(puback)?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

fn pair(mut stream: TcpStream, publish: Vec<u8>, messages: usize) -> Outcome<Vec<Duration>> {
    let asked = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
    let answered = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
    let (theirs, told) = (Arc::clone(&asked), Arc::clone(&answered));
    let driver = std::thread::spawn(move || -> Outcome<()> {
        let epoll = Epoll::new(EpollCreateFlags::empty())?;
        watch(&epoll, &stream, ANSWERED)?;
        watch(&epoll, &*theirs, ASKED)?;
        let (mut puback, mut left) = ([0; 4], messages);
        while left > 0 {
            if wait(&epoll)? == ASKED {
                theirs.read()?;
                stream.write_all(&publish)?;
            } else {
                stream.read_exact(&mut puback)?;
                told.write(1)?;
                left -= 1;
            }
        }
        Ok(())
    });
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    watch(&epoll, &*answered, ANSWERED)?;
    let mut times = Vec::with_capacity(messages);
    for _ in 0..messages {
        let begun = Instant::now();
        asked.write(1)?;
        wait(&epoll)?;
        answered.read()?;
        times.push(begun.elapsed());
    }
    driver.join().map_err(|_| "the driver thread failed")??;
    Ok(times)
}
