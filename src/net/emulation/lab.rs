//! Lab: what a lab tells a node, namely which devices it may link with and how its links behave.
//!
//! A lab is a test network on one machine, where every link is as fast as memory. To show how a mesh behaves over worse
//! links, each of its nodes has a [`Lab`]: the names that it keeps apart from, and a [`Shape`] for its links to others.
//! The node and its network carry it out; a node outside a lab has none.
//!
//! Invariants
//! - A shape that passes [`Shape::check`] delays nothing for longer than the mesh's own time-outs allow.
//! - A node keeps apart only from names that [`Lab::is_out_of_reach`] returns true for.

use crate::id::Name;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a lab tells one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lab {
    /// The only names to link with; `None` for all. These define the topology.
    pub only: Option<BTreeSet<Name>>,
    /// Names not to link with, as if the cable to them were pulled.
    pub cut: BTreeSet<Name>,
    /// Names whose links stay up but carry nothing, as if all packets vanished on their path. No new links to them are
    /// established.
    pub silent: BTreeSet<Name>,
    /// How links to these names behave in the direction away from this node. At most [`MAX_SHAPES`] entries.
    pub shapes: BTreeMap<Name, Shape>,
}

/// How a link behaves in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The delay from one end to the other.
    pub delay: Duration,
    /// The largest deviation from the delay, in either direction.
    pub jitter: Duration,
    /// The number of pieces out of a million that are lost at each attempt to send them.
    pub loss: u32,
    /// The bits a second that the line carries; `None` for no limit.
    pub rate: Option<u64>,
    /// The price of a megabyte (10⁶ bytes), in micro-units of money.
    pub price: u64,
}

/// The reason why a shape is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The delay is longer than the mesh's time-outs allow.
    #[error("delay and jitter together are at most {} s: links end by their own time-outs beyond", MAX_DELAY.as_secs())]
    Delay,
    /// The jitter is larger than the delay.
    #[error("the jitter is at most the delay: nothing arrives before it is sent")]
    Jitter,
    /// The line would lose nearly everything.
    #[error("the loss is at least 0 and at most 0.9; to lose everything, cut the link")]
    Loss,
    /// The rate is too low for the mesh's own traffic.
    #[error("the rate is at least {LEAST_RATE} bit/s: slower links cannot carry the mesh's own traffic")]
    Rate,
    /// The price is out of range.
    #[error("the price is 0 or more units of money a MB, and at most a million")]
    Price,
}

impl Lab {
    /// Whether the node keeps apart from this device, as if there were no cable to it.
    pub fn bars(&self, name: &Name) -> bool {
        self.cut.contains(name) || self.only.as_ref().is_some_and(|only| !only.contains(name))
    }

    /// Whether no new link to this device is established.
    pub fn is_out_of_reach(&self, name: &Name) -> bool {
        self.bars(name) || self.silent.contains(name)
    }
}

impl Shape {
    /// Whether the shape changes nothing.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Checks that the mesh works over links of this shape. The price is not checked.
    ///
    /// # Errors
    /// Names the first of delay, jitter, loss and rate that is out of range.
    pub fn check(&self) -> Result<(), ShapeError> {
        if self.delay.saturating_add(self.jitter) > MAX_DELAY {
            return Err(ShapeError::Delay);
        }
        if self.jitter > self.delay {
            return Err(ShapeError::Jitter);
        }
        if self.loss > MAX_LOSS {
            return Err(ShapeError::Loss);
        }
        if self.rate.is_some_and(|rate| rate < LEAST_RATE) {
            return Err(ShapeError::Rate);
        }
        Ok(())
    }
}

/// The maximum number of shapes of one node: more than a lab has nodes.
pub const MAX_SHAPES: usize = 1_024;
/// The longest delay, jitter included: the time that the most patient bearer allows.
pub const MAX_DELAY: Duration = Duration::from_secs(60);
/// The largest loss, in a million.
pub const MAX_LOSS: u32 = 900_000;
/// The lowest rate, in bits a second.
pub const LEAST_RATE: u64 = 1_000;
