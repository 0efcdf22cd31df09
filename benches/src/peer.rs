//! One connection of a load generator or of the relay: whole packets in, bytes out in as few writes as the socket allows.

use crate::Outcome;
use crate::pipe::Pipe;
use mio::net::TcpStream;
use std::io::{ErrorKind, Read, Write};

const READ_CHUNK: usize = 64 << 10;

/// A connection and its two buffers.
pub struct Peer {
    pub stream: Pipe<TcpStream>,
    input: Vec<u8>,
    /// What of `input` is filled.
    filled: usize,
    /// What of it has been taken out as packets.
    taken: usize,
    pub output: Vec<u8>,
    written: usize,
    pub is_open: bool,
}

impl Peer {
    pub fn new(stream: impl Into<Pipe<TcpStream>>) -> Self {
        Self {
            stream: stream.into(),
            input: Vec::new(),
            filled: 0,
            taken: 0,
            output: Vec::new(),
            written: 0,
            is_open: true,
        }
    }

    /// Bytes that wait for the socket.
    pub fn unwritten(&self) -> usize {
        self.output.len() - self.written
    }

    /// Writes as much as the socket takes.
    pub fn flush(&mut self) -> Outcome<()> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => {
                    self.is_open = false;
                    break;
                }
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        match self.stream.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
            _ => {}
        }
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        } else if self.written > 1 << 20 {
            self.output.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }

    /// Reads once; says whether there may be more. `spare` is lent to those that hold no part of a packet: among ten
    /// thousand clients, few need a buffer of their own.
    pub fn fill(&mut self, spare: &mut Vec<u8>) -> Outcome<bool> {
        if self.taken == self.filled {
            self.taken = 0;
            self.filled = 0;
            if self.input.is_empty() {
                std::mem::swap(&mut self.input, spare);
            }
        } else if self.taken > 0 && self.input.len() - self.filled < READ_CHUNK {
            self.input.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
        }
        if self.input.len() - self.filled < READ_CHUNK {
            self.input.resize(self.filled + READ_CHUNK, 0);
        }
        loop {
            match self.stream.read(&mut self.input[self.filled..]) {
                Ok(0) => {
                    self.is_open = false;
                    return Ok(false);
                }
                Ok(count) => {
                    self.filled += count;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next whole packet: where it lies in [`Peer::bytes`], and where its body begins.
    pub fn next_packet(&mut self) -> Option<(std::ops::Range<usize>, usize)> {
        let bytes = &self.input[self.taken..self.filled];
        let (body, length) = fixed_header(bytes)?;
        if bytes.len() < body + length {
            return None;
        }
        let start = self.taken;
        self.taken += body + length;
        Some((start..self.taken, start + body))
    }

    /// Gives the buffer back when nothing in it is needed any more.
    pub fn give_back(&mut self, spare: &mut Vec<u8>) {
        if self.taken == self.filled {
            self.taken = 0;
            self.filled = 0;
            if spare.is_empty() {
                std::mem::swap(&mut self.input, spare);
            } else {
                self.input = Vec::new();
            }
        }
    }

    /// What has been read, to be taken out and put back.
    pub fn input_mut(&mut self) -> &mut Vec<u8> {
        &mut self.input
    }

    /// What has been read.
    pub fn bytes(&self) -> &[u8] {
        &self.input
    }
}

/// Where the body of a packet begins and how long it is.
fn fixed_header(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((index + 2, length));
        }
    }
    None
}

/// Appends a remaining length.
pub fn put_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let byte = u8::try_from(length & 0x7F).expect("seven bits");
        length >>= 7;
        if length == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

/// Appends an acknowledgement; all four kinds look alike.
pub fn put_ack(out: &mut Vec<u8>, first_byte: u8, packet_id: [u8; 2]) {
    out.extend([first_byte, 2, packet_id[0], packet_id[1]]);
}
