//! What a lab tells a node: whom it may link with, and how its links behave.
//!
//! A lab is a test network on one machine, where every link is as good as memory. To see what becomes of a mesh over
//! worse ones, each of its nodes has a [`Lab`]: names that it keeps apart from, and a [`Shape`] for links to others.
//! The node and the network carry it out; a node that is in no lab has none.
//!
//! Invariants
//! 1. A shape that [`Shape::check`] has passed never holds a link up longer than the mesh's own time-outs stand.
//! 2. Nobody is kept apart from a name that [`Lab::bars`] does not bar.

use crate::id::Name;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One node's part of a lab.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lab {
    /// The only names to link with; `None` for all. This is how a topology is made.
    pub only: Option<BTreeSet<Name>>,
    /// Names not to link with, as if the cable between were pulled.
    pub cut: BTreeSet<Name>,
    /// Names of those whose links carry nothing while they stand, as if all packets on the way vanished. New links with
    /// them do not come about.
    pub silent: BTreeSet<Name>,
    /// How links to others behave in the direction away from this node. At most [`MAX_SHAPES`].
    pub shapes: BTreeMap<Name, Shape>,
}

/// How a link behaves in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// From one end to the other.
    pub delay: Duration,
    /// Most by which the delay differs from that, either way.
    pub jitter: Duration,
    /// Of a million pieces, how many are lost at each attempt to send them.
    pub loss: u32,
    /// Bits a second that the line carries; `None` for as many as there are.
    pub rate: Option<u64>,
    /// What a megabyte (10⁶ bytes) costs, in micro-units.
    pub price: u64,
}

/// Why a shape is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Longer than links stand.
    #[error("delay and jitter together are at most {} s: links end by their own time-outs beyond", MAX_DELAY.as_secs())]
    Delay,
    /// More jitter than delay.
    #[error("the jitter is at most the delay: nothing arrives before it is sent")]
    Jitter,
    /// A line that carries nothing.
    #[error("the loss is at least 0 and at most 0.9; to lose everything, cut the link")]
    Loss,
    /// Too slow to carry the mesh's own traffic.
    #[error("the rate is at least {LEAST_RATE} bit/s: slower links cannot carry the mesh's own traffic")]
    Rate,
    /// No price.
    #[error("the price is 0 or more units of money a MB, and at most a million")]
    Price,
}

impl Lab {
    /// Whether a device is one to keep apart from.
    pub fn bars(&self, name: &Name) -> bool {
        self.cut.contains(name) || self.only.as_ref().is_some_and(|only| !only.contains(name))
    }

    /// Whether no new link with a device comes about.
    pub fn is_out_of_reach(&self, name: &Name) -> bool {
        self.bars(name) || self.silent.contains(name)
    }
}

impl Shape {
    /// Whether it changes nothing.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the mesh can live with it.
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

/// Shapes of one node: as many as a lab has nodes, and more.
pub const MAX_SHAPES: usize = 1_024;
/// Longest delay with its jitter: what the most patient bearer has time for.
pub const MAX_DELAY: Duration = Duration::from_secs(60);
/// Most loss, in a million.
pub const MAX_LOSS: u32 = 900_000;
/// Least rate, in bits a second.
pub const LEAST_RATE: u64 = 1_000;
