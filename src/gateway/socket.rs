//! The unix socket: bound so that no other user can ever reach it.
//!
//! Steps of binding
//! 1. If something answers at `DIR/api.sock`, a node runs there: refuse.
//! 2. Make `DIR/.api`, mode 0700, after removing what a crash left of it.
//! 3. Bind `DIR/.api/s` and set its mode to 0600: nobody else can reach into the directory meanwhile.
//! 4. Rename it to `DIR/api.sock`, which replaces the socket of a dead process in the same instant.
//! 5. Remove `DIR/.api`.

use super::{Calls, Context, Node, SOCKET, api, serve};
use crate::engine::store::Read;
use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;
use tokio::sync::watch;

/// A bound socket, not yet served.
#[derive(Debug)]
pub struct Gateway {
    listener: UnixListener,
    path: SocketFile,
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

impl Gateway {
    /// Binds `directory/api.sock`, mode 0600. Needs a tokio runtime.
    pub fn bind(directory: &Path) -> Result<Self, BindError> {
        let path = directory.join(SOCKET);
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(BindError::TooLong(path));
        }
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Err(BindError::Running(directory.to_owned()));
        }
        match bind_privately(directory, &path) {
            Ok(listener) => Ok(Self { listener, path: SocketFile(path) }),
            Err(error) => Err(BindError::Io { path, error }),
        }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path.0
    }

    /// Answers requests until `shutdown` is ready; then ends streams, finishes what is under way, for a short time, and
    /// removes the socket.
    pub async fn serve<R>(self, calls: Calls, reader: R, shutdown: impl Future<Output = ()> + Send + 'static)
    where
        R: Read + Clone + Send + Sync + 'static,
    {
        let Self { listener, path } = self;
        let (stopping, stopped) = watch::channel(false);
        let router = api::router(Context { node: Node { calls }, reader, stopping: stopped.clone() });
        serve::until(shutdown, listener, router, stopping, stopped).await;
        drop(path);
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
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600))?;
    fs::rename(&socket, path)?;
    fs::remove_dir(&private)?;
    Ok(listener)
}

/// Removes the socket when serving ends.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, "the socket of the local API was already gone");
        }
    }
}

/// Longest path of a unix socket on Linux, in bytes, without the closing zero.
const MAX_SOCKET_PATH: usize = 107;
