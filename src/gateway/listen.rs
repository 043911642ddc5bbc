//! Listening: the only place where the local API opens a socket for clients, and the rule for who may be admitted
//! there.
//!
//! **The rule.** Each client must be known by something. A client of a unix socket of mode 0600 that belongs to the
//! node's user is known by the file system: only that user can connect. Anywhere else, at a socket that others can
//! reach or a port of the network, clients have to show who they are, and a listener that does not ask for it is not
//! opened. [`permit`] is that rule. Each socket must pass it after it is bound and before anybody can find it. A tidy
//! rule keeps listeners out of all other files of the gateway.
//!
//! Steps of binding `DIR/api.sock`
//! 1. If a process answers there, a node runs: refuse.
//! 2. Remove `DIR/.api` if a crash has left it, and make it again with mode 0700.
//! 3. Bind `DIR/.api/s` and set its mode to 0600; meanwhile no other user can reach into the directory.
//! 4. Check the file's metadata against the rule.
//! 5. Rename it to `DIR/api.sock`, which replaces the socket of a dead process atomically.
//! 6. Remove `DIR/.api`.
//!
//! Invariants
//! 1. A client that does not show who it is can be admitted only through a socket that only the node's user can open.
//! - No other user can reach the socket at any time, even between binding it and setting its mode.

use super::SOCKET;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// A place where clients can connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A unix socket, as described by the file system.
    Socket {
        /// Its permission bits, with setuid, setgid and sticky bit.
        mode: u32,
        /// Whether it belongs to the effective user of the node.
        own: bool,
    },
    /// A port of the network.
    Port,
}

/// How a client shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// It shows nothing.
    None,
    /// Each client shows who it is before anything else is accepted from it.
    Shown,
}

/// A listener that would admit anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "clients that do not show who they are come in by a unix socket of mode 0600 only, which belongs to the node's user"
)]
pub struct Open;

/// Checks whether clients may be admitted at a place.
///
/// # Errors
/// Fails if clients show nothing and others than the node's user could connect.
pub fn permit(place: Place, authentication: Authentication) -> Result<(), Open> {
    match (place, authentication) {
        (_, Authentication::Shown) | (Place::Socket { mode: PRIVATE, own: true }, Authentication::None) => Ok(()),
        (Place::Socket { .. } | Place::Port, Authentication::None) => Err(Open),
    }
}

/// A socket that clients can connect to.
#[derive(Debug)]
pub(super) struct Listener {
    listener: UnixListener,
    file: SocketFile,
}

/// Why the socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A process answers at the socket.
    #[error("a node already runs in {}", .0.display())]
    Running(PathBuf),
    /// The path is longer than the kernel allows, 107 bytes.
    #[error("the path {} is too long for a unix socket; use a shorter directory, or name it from within as `--dir .`", .0.display())]
    TooLong(PathBuf),
    /// The file system refused.
    #[error("cannot bind {}: {error}", .path.display())]
    Io {
        /// Path of the socket.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
}

impl Listener {
    /// Binds `directory/api.sock` with mode 0600. Needs a tokio runtime.
    pub(super) fn open(directory: &Path) -> Result<Self, BindError> {
        let path = directory.join(SOCKET);
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(BindError::TooLong(path));
        }
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Err(BindError::Running(directory.to_owned()));
        }
        match bind_privately(directory, &path) {
            Ok(listener) => Ok(Self { listener, file: SocketFile(path) }),
            Err(error) => Err(BindError::Io { path, error }),
        }
    }

    /// Path of the socket.
    pub(super) fn path(&self) -> &Path {
        &self.file.0
    }

    /// Waits for the next connection.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    /// Stops listening. The socket file is removed when the value returned is dropped.
    pub(super) fn close(self) -> SocketFile {
        self.file
    }
}

/// Binds a socket in `directory` with the path `path`, so that no other user can ever reach it. Replaces an existing
/// socket. Needs a tokio runtime.
pub(crate) fn bind_privately(directory: &Path, path: &Path) -> io::Result<UnixListener> {
    let private = directory.join(".api");
    match fs::remove_dir_all(&private) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::DirBuilder::new().mode(0o700).create(&private)?,
    }
    let socket = private.join("s");
    let listener = UnixListener::bind(&socket)?;
    fs::set_permissions(&socket, fs::Permissions::from_mode(PRIVATE))?;
    let found = fs::symlink_metadata(&socket)?;
    let place = Place::Socket { mode: found.mode() & 0o7777, own: found.uid() == rustix::process::geteuid().as_raw() };
    permit(place, Authentication::None).map_err(|open| io::Error::new(io::ErrorKind::PermissionDenied, open))?;
    fs::rename(&socket, path)?;
    fs::remove_dir(&private)?;
    Ok(listener)
}

/// Removes the socket file when it is dropped.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, "the socket of the local API was already gone");
        }
    }
}

/// The mode of a socket that only its owner can connect to.
const PRIVATE: u32 = 0o600;
/// Longest path of a unix socket on Linux, in bytes, without the terminating zero.
const MAX_SOCKET_PATH: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1.
    #[test]
    fn nobody_comes_in_unasked_but_by_a_socket_of_the_nodes_own_user() {
        let socket = |mode, own| Place::Socket { mode, own };
        assert_eq!(permit(socket(0o600, true), Authentication::None), Ok(()));
        for mode in [0o000, 0o602, 0o606, 0o620, 0o640, 0o660, 0o666, 0o700, 0o777, 0o2600] {
            assert_eq!(permit(socket(mode, true), Authentication::None), Err(Open), "{mode:o}");
        }
        for place in [socket(0o600, false), socket(0o666, false), Place::Port] {
            assert_eq!(permit(place, Authentication::None), Err(Open), "{place:?}");
            assert_eq!(permit(place, Authentication::Shown), Ok(()), "{place:?}");
        }
    }
}
