//! Unix sockets: how they are opened here, both ways, and how their files come and go.

use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

/// As with TCP.
const BACKLOG: i32 = 1024;

/// Takes connections at a path; dropping it removes the file.
#[derive(Debug)]
pub struct UnixListener {
    listener: tokio::net::UnixListener,
    path: PathBuf,
    /// Device and inode: by now the path may belong to somebody else.
    identity: (u64, u64),
}

impl UnixListener {
    /// Listens. The file gets this mode before anybody can connect, whatever the process's umask is.
    pub(super) fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        remove_if_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let bound = Bound(path);
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        let identity = identity(path)?;
        socket.listen(BACKLOG)?;
        let listener = tokio::net::UnixListener::from_std(socket.into())?;
        std::mem::forget(bound);
        Ok(Self {
            listener,
            path: path.to_owned(),
            identity,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for UnixListener {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A file that goes again if what follows fails.
struct Bound<'a>(&'a Path);

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

pub(super) async fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

/// A process that was killed leaves its file behind. Whether somebody listens there is known only by asking.
fn remove_if_stale(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of that name that is no socket",
        ));
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // One whose backlog is full would keep us waiting for as long as it likes.
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}
