//! Data frames: how they have come, the path with which they leave, their parts, and how long they may wait for their link.

use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::engine::routing::routes::Route;
use crate::id::{InnerId, LinkId, OuterId};
use crate::time::{Now, Time, Unix};
use crate::wire;
use crate::wire::data::{DataFrame, Path, put_prefixed};
use crate::wire::frame::{self, Kind};
use crate::wire::out_frame::{OutFrame, SHARED};
use crate::wire::receipt::HopAck;
use bytes::Bytes;
use core::time::Duration;
use rand_chacha::rand_core::Rng;

/// A data frame that has come over a link.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Arrival<'a> {
    /// The link.
    pub(in crate::engine) link: LinkId,
    /// The flags of the frame.
    pub(in crate::engine) flags: u8,
    /// The frame.
    pub(in crate::engine) data: &'a DataFrame<'a>,
    /// The buffer into which it was read.
    pub(in crate::engine) buffer: &'a Bytes,
}

impl Arrival<'_> {
    /// Tells the neighbour that brought it that it is here, if it asks for that.
    pub(in crate::engine) fn acknowledge(&self, core: &mut Core, neighbours: &mut Neighbours) {
        if self.flags & frame::HOP_ACK != 0 {
            let ack = HopAck { frames: vec![self.data.path.outer] };
            neighbours.send_frame(core, self.link, frame::of(Kind::HopAck, &ack));
        }
    }
}

impl Routing {
    /// Draws the identity of a transmission attempt, and remembers it, so that the frame is recognized if it comes
    /// back.
    pub(in crate::engine) fn outer_id(&mut self, core: &mut Core) -> OuterId {
        let mut id = [0; OuterId::LEN];
        core.rng.fill_bytes(&mut id);
        self.flows.begin(OuterId(id));
        OuterId(id)
    }
}

/// The path of a frame as it leaves its sender over a link with this price in micro-units per MB. `bytes` counts the
/// header and the sealed part.
pub(in crate::engine) fn path_of(route: &Route, price: u64, bytes: usize, outer: OuterId) -> Path {
    let spent = price.saturating_mul(bytes as u64) / 1_000_000;
    Path { outer, hops: route.hops.clone(), spent, ..Path::default() }
}

/// Until when a frame with that expiry may wait for its link.
pub(in crate::engine) fn of_use_until(expiry: Unix, now: Now) -> Time {
    now.time + expiry.since(now.unix) + LEEWAY
}

/// How much longer than until its expiry by this clock a frame may wait for its next link, since its sender's clock may
/// be behind.
const LEEWAY: Duration = Duration::from_secs(10);

/// Builds a data frame from its parts. A sealed part that is long enough to be shared is not copied, but refers to
/// `buffer`, in which it lies.
pub(in crate::engine) fn put_data(header: &[u8], path: &Path, sealed: &[u8], buffer: &Bytes) -> OutFrame {
    let path = wire::encode(path);
    let copied = if sealed.len() < SHARED { sealed.len() } else { 0 };
    let mut head = Vec::with_capacity(frame::HEADER + header.len() + path.len() + 4 + copied);
    frame::begin(&mut head, Kind::Data);
    put_prefixed(&mut head, header);
    put_prefixed(&mut head, &path);
    OutFrame::around(head, buffer, sealed)
}

/// The identity of a message, for logs.
pub(in crate::engine) fn inner(stream: crate::id::StreamId, sequence: u64) -> InnerId {
    InnerId { stream, sequence }
}
