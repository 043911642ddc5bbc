//! The tests of the node from outside, in one program: its public parts, its wire formats, its processes, its documents, and the
//! rules of the house. One program, since each links the whole node.
//!
//! `cargo test --test it` runs all, `cargo test --test it engine::` those of one module, `cargo test --test it NAME` one. Documents
//! name a test by its module here and a part of its name. Tests run beside each other: what the others would disturb takes a
//! process of its own ([`support::alone`]), and processes of the command are started and ended by [`support::processes`].

mod blobs;
mod cli;
mod engine;
mod gateway;
mod hardship;
mod lab;
mod machines;
mod net_bearers;
mod net_hostile;
mod net_loopback;
mod openapi_client;
mod push_only;
mod readme;
mod serial;
mod support;
mod tidy;
mod twins;
mod two_machines;
mod wire;
