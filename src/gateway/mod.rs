//! The local API: HTTP and JSON on a unix socket, for applications on this machine and for the command line.
//!
//! A [`Gateway`] listens on `DIR/api.sock`. Whoever connects there is admitted as the local user at the [clients'
//! door](crate::client). Each request becomes a [command](crate::client::Command) there, if the user has the right to
//! it; streams end when either side drops them. Pages of the inbox and of the event log are not asked of the node: they
//! are read from the store directly, off the node's thread, with the reader that the door hands out.
//!
//! | file | is |
//! |-|-|
//! | [`api`] | routes that answer once |
//! | `identity` | routes about the pseudonym |
//! | `mailbox` | the route about mail that is kept for others |
//! | [`stream`] | routes that stream: server-sent events, and lines in both directions |
//! | `lines` | splits a streamed body into lines |
//! | [`blobs`] | routes about large payloads: handed in and out as streams |
//! | `asked` | checks the sender or kind that a query names |
//! | [`pages`] | inbox and event log, read from the store |
//! | [`dto`] | the JSON types, the only ones that cross the socket |
//! | [`error`] | the answer to a request that fails: `{"error", "hint"}` |
//! | [`openapi`] | the description at `GET /openapi.json` |
//! | [`listen`] | the only place that opens sockets for clients, and the rule for who may connect |
//! | `serve` | connections: accepted, timed, ended in good order |
//! | `seats` | how many connections there may be, and which one gives way |
//! | [`client`] | a client, for the command line |
//!
//! Invariants
//! 1. Only the node's user can open the socket.
//! 2. A request that is cut off cancels what it asked for.
//! 3. Everything that waits is bounded: connections, requests under way, lines in flight, replies not yet taken.
//! 4. Whoever connects is either served or turned away at once. A client that sends no complete request keeps nobody
//!    else out.
//! - No other user can reach the socket at any time, even between `bind` and `chmod`.
//!
//! Two things are absent on purpose: authentication, since the file's mode takes its place, and any listener other than
//! a unix socket of that mode, since such a listener would have to ask clients who they are.

pub mod api;
mod asked;
pub mod blobs;
mod calls;
pub mod client;
pub mod dto;
pub mod error;
mod groups;
mod identity;
mod lines;
pub mod listen;
mod mailbox;
mod offers;
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

/// What every route needs.
#[derive(Clone, Debug)]
struct Context<R> {
    /// The client, admitted at the door.
    caller: Caller<R>,
    /// True once the node stops: streams then end by themselves.
    stopping: watch::Receiver<bool>,
}

/// Name of the socket in the node's directory.
pub const SOCKET: &str = "api.sock";
