//! The unix socket: bound so that no other user can ever reach it, served until told to stop.
//!
//! Steps of binding
//! 1. If something answers at `DIR/api.sock`, a node runs there: refuse.
//! 2. Make `DIR/.api`, mode 0700, after removing what a crash left of it.
//! 3. Bind `DIR/.api/s` and set its mode to 0600: nobody else can reach into the directory meanwhile.
//! 4. Rename it to `DIR/api.sock`, which replaces the socket of a dead process in the same instant.
//! 5. Remove `DIR/.api`.

use super::{Calls, Context, Node, SOCKET, api};
use crate::engine::store::Read;
use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

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

    /// Answers requests until `shutdown` is ready; then ends streams, finishes what is under way, [`GRACE`] long, and
    /// removes the socket.
    pub async fn serve<R>(
        self,
        calls: Calls,
        reader: R,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()>
    where
        R: Read + Clone + Send + Sync + 'static,
    {
        let Self { listener, path } = self;
        let (stopping, stopped) = watch::channel(false);
        let router = api::router(Context { node: Node { calls }, reader, stopping: stopped.clone() });
        let listener = Bounded { listener, permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)) };
        let mut stopped = stopped;
        let serve = axum::serve(listener, router).with_graceful_shutdown(async move {
            shutdown.await;
            stopping.send_replace(true);
        });
        let deadline = async move {
            match stopped.wait_for(|stopping| *stopping).await.map(drop) {
                Ok(()) => tokio::time::sleep(GRACE).await,
                // Serving has ended by itself.
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            result = serve => result?,
            () = deadline => tracing::debug!("requests were still under way when the local API stopped"),
        }
        drop(path);
        Ok(())
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

/// Accepts while there are permits; the next connection waits in the kernel's backlog.
#[derive(Debug)]
struct Bounded {
    listener: UnixListener,
    permits: Arc<Semaphore>,
}

impl axum::serve::Listener for Bounded {
    type Io = Permitted;
    type Addr = tokio::net::unix::SocketAddr;

    async fn accept(&mut self) -> (Permitted, Self::Addr) {
        let permit = match self.permits.clone().acquire_owned().await {
            Ok(permit) => permit,
            Err(_) => std::future::pending().await, // the semaphore is never closed
        };
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        (Permitted { stream, _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that gives its permit back when it closes.
#[derive(Debug)]
struct Permitted {
    stream: UnixStream,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for Permitted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Permitted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>, buf: &[u8]) -> task::Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> task::Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Longest path of a unix socket on Linux, in bytes, without the closing zero.
const MAX_SOCKET_PATH: usize = 107;
/// Connections served at a time.
const MAX_CONNECTIONS: usize = 256;
/// How long requests under way may take once the node stops.
const GRACE: Duration = Duration::from_secs(2);
