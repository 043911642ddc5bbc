//! Listening: the one place where the local API opens a socket for clients, and the rule of who may be let in there.
//!
//! **The rule.** A client is known by something. At a unix socket of mode 0600 that belongs to the node's user the file system
//! sees to it: who can connect is that user. Anywhere else, a socket that others can reach or a port of the network, clients
//! have to show who they are, and a listener that does not ask them is not opened. [`permit`] is that rule, and each socket
//! passes it after it is bound and before anybody can find it. A tidy rule keeps listeners out of all other files of the gateway.
//!
//! Steps of binding `DIR/api.sock`
//! 1. If something answers there, a node runs: refuse.
//! 2. Make `DIR/.api`, mode 0700, after removing what a crash left of it.
//! 3. Bind `DIR/.api/s` and set its mode to 0600: nobody else can reach into the directory meanwhile.
//! 4. Hold what the file system says of it against the rule.
//! 5. Rename it to `DIR/api.sock`, which replaces the socket of a dead process in the same instant.
//! 6. Remove `DIR/.api`.
//!
//! Invariants
//! 1. The socket is never reachable by another user, not even between binding it and setting its mode.
//! 2. Whoever is let in without showing who it is has come by a socket that only the node's user can open.

use super::SOCKET;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// Where clients come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A unix socket, as the file system has it.
    Socket {
        /// Its permissions.
        mode: u32,
        /// Whether it belongs to the user that the node runs as.
        own: bool,
    },
    /// A port of the network.
    Port,
}

/// How it is known who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// By nothing that the client shows.
    None,
    /// Each client shows who it is before anything else is taken from it.
    Shown,
}

/// A listener that would let in anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "clients that do not show who they are come in by a unix socket of mode 0600 only, which belongs to the node's user"
)]
pub struct Open;

/// Whether clients may be let in there.
pub fn permit(place: Place, authentication: Authentication) -> Result<(), Open> {
    match (place, authentication) {
        (_, Authentication::Shown) | (Place::Socket { mode: PRIVATE, own: true }, Authentication::None) => Ok(()),
        (Place::Socket { .. } | Place::Port, Authentication::None) => Err(Open),
    }
}

/// A socket that clients connect to.
#[derive(Debug)]
pub(super) struct Listener {
    listener: UnixListener,
    file: SocketFile,
}

/// Why the socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there.
    #[error("a node already runs in {}", .0.display())]
    Running(PathBuf),
    /// The kernel takes 107 bytes.
    #[error("the path {} is too long for a unix socket; use a shorter directory, or name it from within as `--dir .`", .0.display())]
    TooLong(PathBuf),
    /// The file system refused.
    #[error("cannot bind {}: {error}", .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl Listener {
    /// Binds `directory/api.sock`, mode 0600. Needs a tokio runtime.
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

    /// Where it listens.
    pub(super) fn path(&self) -> &Path {
        &self.file.0
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    /// Lets nobody in any more. The file goes with what is answered.
    pub(super) fn close(self) -> SocketFile {
        self.file
    }
}

/// Binds a socket in `directory` under the name `path`, so that no other user can ever reach it; replaces what is there.
/// Needs a tokio runtime.
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

/// Removes the socket when serving ends.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, "the socket of the local API was already gone");
        }
    }
}

/// The mode of a socket by which nobody but its owner comes in.
const PRIVATE: u32 = 0o600;
/// Longest path of a unix socket on Linux, in bytes, without the closing zero.
const MAX_SOCKET_PATH: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

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
