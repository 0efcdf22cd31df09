//! The descriptor that a tokio thread writes to so that an event loop comes and fetches.

#[cfg(target_os = "linux")]
use nix::sys::eventfd::{EfdFlags, EventFd};
#[cfg(not(target_os = "linux"))]
use std::io::Read;
use std::io::{self, Write};
#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, AsRawFd};
use system::{Number, Pipe};

#[cfg(unix)]
mod system {
    use std::io;
    #[cfg(not(target_os = "linux"))]
    use std::os::fd::AsRawFd;
    use std::os::fd::{IntoRawFd, RawFd};
    pub(super) use std::os::unix::net::UnixStream as Pipe;

    pub(super) type Number = RawFd;

    pub(super) fn pair() -> io::Result<(Pipe, Pipe)> {
        Pipe::pair()
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn number(pipe: &Pipe) -> Number {
        pipe.as_raw_fd()
    }

    pub(super) fn into_number(pipe: Pipe) -> Number {
        pipe.into_raw_fd()
    }
}

#[cfg(windows)]
mod system {
    use std::io;
    use std::net::TcpListener;
    pub(super) use std::net::TcpStream as Pipe;
    use std::os::windows::io::{AsRawSocket, IntoRawSocket, RawSocket};

    pub(super) type Number = RawSocket;

    pub(super) fn pair() -> io::Result<(Pipe, Pipe)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let write = Pipe::connect(listener.local_addr()?)?;
        let (read, peer) = listener.accept()?;
        if peer != write.local_addr()? {
            return Err(io::Error::other("a stranger came first"));
        }
        Ok((write, read))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn number(pipe: &Pipe) -> Number {
        pipe.as_raw_socket()
    }

    pub(super) fn into_number(pipe: Pipe) -> Number {
        pipe.into_raw_socket()
    }
}

/// The writing end, and what drains it. Closed when dropped, which its owner does when nobody can write any more: a late
/// write to a number that means another file by then would be somebody else's data.
pub(super) enum Wake {
    /// One descriptor for both ends, with a counter in it.
    #[cfg(target_os = "linux")]
    Event(EventFd),
    /// Where there is no such thing.
    #[cfg(not(target_os = "linux"))]
    Pair { write: Pipe, read: Pipe },
    /// For loops that cannot watch a descriptor: the other end is a Python socket.
    Socket { write: Pipe },
}

impl Wake {
    /// For loops that watch descriptors.
    pub(super) fn new() -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
            Ok(Self::Event(EventFd::from_flags(flags)?))
        }
        #[cfg(not(target_os = "linux"))]
        {
            let (write, read) = pair()?;
            Ok(Self::Pair { write, read })
        }
    }

    /// For loops that do not; and the number of the other end, which the caller owns.
    pub(super) fn for_socket() -> io::Result<(Self, Number)> {
        let (write, read) = pair()?;
        Ok((Self::Socket { write }, system::into_number(read)))
    }

    /// What the loop should watch.
    pub(super) fn descriptor(&self) -> Option<Number> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Event(event) => Some(event.as_fd().as_raw_fd()),
            #[cfg(not(target_os = "linux"))]
            Self::Pair { read, .. } => Some(system::number(read)),
            Self::Socket { .. } => None,
        }
    }

    /// Makes the loop come. A pipe that is full has already done so.
    pub(super) fn ring(&self) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Event(event) => drop(event.write(1)),
            #[cfg(not(target_os = "linux"))]
            Self::Pair { write, .. } => {
                let mut write = write;
                let _ = write.write(&[1]);
            }
            Self::Socket { write } => {
                let mut write = write;
                let _ = write.write(&[1]);
            }
        }
    }

    /// Takes back what was rung.
    pub(super) fn silence(&self) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Event(event) => drop(event.read()),
            #[cfg(not(target_os = "linux"))]
            Self::Pair { read, .. } => {
                let mut read = read;
                let _ = read.read(&mut [0; 64]);
            }
            Self::Socket { .. } => {}
        }
    }
}

fn pair() -> io::Result<(Pipe, Pipe)> {
    let (write, read) = system::pair()?;
    write.set_nonblocking(true)?;
    read.set_nonblocking(true)?;
    Ok((write, read))
}
