//! m2mesh: a peer-to-peer mesh node for machines.
//!
//! Devices of one operator find each other, form an encrypted mesh without a central server, and exchange messages.
//! This page is the map of the code; each module's documentation starts with its mechanism and its invariants.
//!
//! # Where to start
//!
//! [`wire`] defines what travels, [`identity`] who may take part and how data is sealed. [`engine`] makes all
//! decisions, from inputs to outputs, and [`node`] is the loop that gives it a clock, a disk and a network. Whoever
//! uses a node does so through [`client`]. These five openings give an overview of the code; `docs/protocol.md`
//! specifies the protocol.
//!
//! # Floors
//!
//! ```text
//! 10 main, cli                  the command
//! 9  node                       composition root and event loop
//! 8  config                     one TOML document
//! 7  gateway                    the local API: HTTP and JSON on a unix socket
//! 6  client                     the only interface to a node for its users: calls, replies, rights
//! 5  net   store   keystore     libp2p · disk · secrets              (no sideways imports)
//! ═══════════ sans-IO below: no clock, socket, disk, thread, randomness of the system ═══════════
//! 4  engine                     composes the cores: Input in, Output out
//! 3  link   routing   delivery   blob   event_log   cores; they never import one another
//! 2  identity                   realm, credentials, contacts, seals
//! 1  wire   metrics   share     frames and documents with their bounded codec · metrics · fair parts of bounded tables
//! 0  id, time, counter, advice  base types; the table of counters; advice on errors of the file system
//! ```
//!
//! # Invariants of the architecture (kept by `tests/it/tidy.rs`)
//!
//! 1. Imports go down only; siblings on floor 3 and on floor 5 never import one another.
//! 2. Below floor 5, code neither reads a clock nor opens sockets or files, starts threads or draws randomness: all of
//!    these are passed in.
//! 3. There is no unordered map below floor 5, and no unbounded channel anywhere.
//! 4. The modules that a simulator runs (`node`, `client`, and `net` except its real transport) use neither tokio's
//!    timers nor its `select!`, and spawn tasks through the executor that they are given.
//!
//! It follows from 2 and 3 that the same inputs give the same outputs.
//!
//! # Features
//!
//! `node` (default) enables floors 5 to 10. Without it the crate is the sans-IO part, without libp2p, tokio or sled,
//! which is what fuzz targets build.

pub mod blob;
pub mod counter;
pub mod delivery;
pub mod engine;
pub mod event_log;
pub mod id;
pub mod identity;
pub mod link;
pub mod metrics;
pub mod routing;
pub mod share;
pub mod time;
pub mod wire;

#[cfg(feature = "node")]
pub(crate) mod advice;
#[cfg(feature = "node")]
pub mod cli;
#[cfg(feature = "node")]
pub mod client;
#[cfg(feature = "node")]
pub mod config;
#[cfg(feature = "node")]
pub mod gateway;
#[cfg(feature = "node")]
pub mod keystore;
#[cfg(feature = "node")]
pub mod net;
#[cfg(feature = "node")]
pub mod node;
#[cfg(feature = "node")]
pub mod store;

// What a program needs to run a node, at the root of the crate, whatever module defines it.
pub use engine::api::{BlobView, Call, Contact, InboxRecord, Missed, Outcome, Past, Published, Refused, Start};
pub use engine::view::{IdentityView, LinkView, MailboxView, RoutesView};
pub use id::{BlobHash, Name, SendId};
pub use metrics::Gauges;
pub use time::EpochLength;
pub use wire::batch::Ack;
pub use wire::data::Class;

#[cfg(feature = "node")]
pub use client::{Denied, Peer, Right, Status};
#[cfg(feature = "node")]
pub use gateway::dto::{LogPage, LogQuery};
#[cfg(feature = "node")]
pub use keystore::Keyring;
#[cfg(feature = "node")]
pub use node::blobs::Blobs;
#[cfg(feature = "node")]
pub use node::handle::{Builder, CallError, News, Node, Publications, ServiceCalls};
#[cfg(feature = "node")]
pub use node::inbox::Inbox;
#[cfg(feature = "node")]
pub use node::outlet::Outlet;
#[cfg(feature = "node")]
pub use node::sending::{Message, Publication};
#[cfg(feature = "node")]
pub use node::{NodeError, realm};
