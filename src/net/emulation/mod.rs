//! Emulation: connections that behave like those of a worse line. Only a lab and the simulator use it.
//!
//! On one machine, the links of a test network are as fast as memory. These files make them worse:
//!
//! | file | is |
//! |-|-|
//! | `lab` | what a node of a lab is told: which devices to link with, and how its links behave |
//! | `shaper` | the model of a line: a seeded state machine that is told the time and says when what is sent arrives |
//! | `shaped` | the wrapper that puts this model around an admitted connection |
//! | `shaping` | the shape of each peer's connections, which can change while they are open |
//!
//! The simulator uses the model alone, under its medium, so that a lab and a simulation can be compared.
//!
//! Invariants
//! - A network that cannot be shaped ([`NetConfig::shaping`](super::NetConfig::shaping)) has none of this around its
//!   connections.

mod lab;
mod shaped;
mod shaper;
mod shaping;

pub use lab::{LEAST_RATE, Lab, MAX_DELAY, MAX_LOSS, MAX_SHAPES, Shape, ShapeError};
pub use shaper::{MAX_ATTEMPTS, MTU, Passage, Recovery, Shaper, window};
pub(crate) use shaping::Shaping;
