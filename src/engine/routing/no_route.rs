//! No route: why a message finds no way to its destination now.

use crate::engine::neighbours::air::AirWait;
use crate::engine::routing::forecast::Forecast;
use crate::routing::totals::Limit;

/// Why there is no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) enum NoRoute {
    /// The location of the destination is unknown, and nobody can be asked for it.
    Unknown,
    /// Routers are being asked where the destination is.
    Asking,
    /// All paths break a limit: which limit, and by how much the nearest path breaks it.
    Limits(Limit, u64),
    /// Every path leads through a router that forwards no frames of this segment.
    Segment(u8),
    /// The location of the destination is known, but no path leads there.
    Apart,
    /// A way will be there, for which the message waits.
    Later(Box<Forecast>),
    /// The first link of the path may not be on air now.
    Air(AirWait),
}
