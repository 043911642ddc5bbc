//! The local API: HTTP and JSON on a unix socket, for applications on this machine and for the command line.
//!
//! A [`Gateway`] listens on `DIR/api.sock`, and whoever comes in there is the local user at the [clients'
//! door](crate::client). Each request becomes a [command](crate::client::Command) there, if the user may ask it; streams
//! end when either side lets go. Pages of the inbox and of the event log are not asked of the node: they are read from the
//! store directly, off the node's thread, by the reader that the door hands out.
//!
//! | file | is |
//! |-|-|
//! | [`api`] | routes that answer once |
//! | [`stream`] | routes that go on: server-sent events, and lines in, lines out |
//! | `lines` | splits a streamed body |
//! | [`pages`] | inbox and event log, read from the store |
//! | [`dto`] | the JSON of it all; the only types that cross the socket |
//! | [`error`] | what a request is told when it fails: `{"error", "hint"}` |
//! | [`openapi`] | the description at `GET /openapi.json` |
//! | [`listen`] | the one place that opens sockets for clients, and the rule of who may come in there |
//! | `serve` | connections: accepted, timed, ended in good order |
//! | `seats` | how many there may be, and who gives way |
//! | [`client`] | the other end, for the command line |
//!
//! Invariants
//! 1. The socket is never reachable by another user, not even between `bind` and `chmod`.
//! 2. A request that was cut off cancels what it asked for.
//! 3. Everything that waits is bounded: connections, requests on their way, lines in flight, replies not yet taken.
//! 4. Whoever connects is answered: served, or told at once that too much is under way. A client that says nothing keeps
//!    nobody else out.
//!
//! Absent on purpose: authentication (the file mode is it), and any listener that is not a unix socket of that mode: one
//! would have to ask clients who they are.

pub mod api;
mod asked;
pub mod client;
pub mod dto;
pub mod error;
mod lines;
pub mod listen;
pub mod openapi;
pub mod pages;
mod seats;
mod serve;
pub mod stream;
#[cfg(test)]
mod tests;

pub use listen::BindError;
pub use serve::Gateway;

use crate::client::Caller;
use tokio::sync::watch;

/// What every route works with.
#[derive(Clone, Debug)]
struct Context<R> {
    /// Who asks, at the clients' door.
    caller: Caller<R>,
    /// Says when the node stops: streams end then by themselves.
    stopping: watch::Receiver<bool>,
}

/// Name of the socket in the node's directory.
pub const SOCKET: &str = "api.sock";
