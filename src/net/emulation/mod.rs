//! Emulation: connections that behave like those of a worse line. Only in a lab, and in the simulator.
//!
//! A test network on one machine has links as good as memory. Here is what makes them worse:
//!
//! | file | is |
//! |-|-|
//! | `lab` | what a node of a lab is told: whom to link with, and how its links behave |
//! | `shaper` | the model: a pure line, told the time and seeded, that says when what is put into it comes out |
//! | `shaped` | the wrapper that puts that model around an admitted connection |
//! | `shaping` | which peer's connections have which shape, and how that is changed while they stand |
//!
//! The simulator uses the model alone, under its medium, so that a lab and a simulation can be held against each other.
//!
//! Invariants
//! 1. A network that is not made for a lab ([`NetConfig::shaping`](super::NetConfig::shaping)) has none of this around its connections.
//! 2. The model knows no clock: the same pieces at the same times under the same seed arrive at the same times.

mod lab;
mod shaped;
mod shaper;
mod shaping;

pub use lab::{LEAST_RATE, Lab, MAX_DELAY, MAX_LOSS, MAX_SHAPES, Shape, ShapeError};
pub use shaper::{MAX_ATTEMPTS, MTU, Passage, Recovery, Shaper, window};
pub(crate) use shaping::Shaping;
