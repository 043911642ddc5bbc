//! Data frames as they leave: their path, their parts, and the queue of their link.

use crate::engine::core::Core;
use crate::engine::routing::Routing;
use crate::engine::routing::routes::Route;
use crate::id::{InnerId, OuterId};
use crate::time::{Now, Time, Unix};
use crate::wire;
use crate::wire::data::{Path, put_prefixed};
use crate::wire::frame::{self, Kind};
use crate::wire::out_frame::{OutFrame, SHARED};
use bytes::Bytes;
use core::time::Duration;
use rand_chacha::rand_core::Rng;

impl Routing {
    /// Names an attempt, by which it is known if it should come back.
    pub(in crate::engine) fn outer_id(&mut self, core: &mut Core) -> OuterId {
        let mut id = [0; OuterId::LEN];
        core.rng.fill_bytes(&mut id);
        self.flows.begin(OuterId(id));
        OuterId(id)
    }
}

/// A path as it leaves its sender, over a link of that price in micro-units per MB. `bytes` are those of header and sealed part.
pub(in crate::engine) fn path_of(route: &Route, price: u64, bytes: usize, outer: OuterId) -> Path {
    let spent = price.saturating_mul(bytes as u64) / 1_000_000;
    Path { outer, hops: route.hops.clone(), spent, ..Path::default() }
}

/// Until when a frame of that expiry may wait for its link.
pub(in crate::engine) fn of_use_until(expiry: Unix, now: Now) -> Time {
    now.time + expiry.since(now.unix) + LEEWAY
}

/// How much longer than until its expiry by this clock a frame may wait for its next link: its sender's clock may be behind.
const LEEWAY: Duration = Duration::from_secs(10);

/// A data frame of its parts; the sealed one lies in `buffer`, if that is to be shared.
pub(in crate::engine) fn put_data(header: &[u8], path: &Path, sealed: &[u8], buffer: &Bytes) -> OutFrame {
    let path = wire::encode(path);
    let copied = if sealed.len() < SHARED { sealed.len() } else { 0 };
    let mut head = Vec::with_capacity(frame::HEADER + header.len() + path.len() + 4 + copied);
    frame::begin(&mut head, Kind::Data);
    put_prefixed(&mut head, header);
    put_prefixed(&mut head, &path);
    OutFrame::around(head, buffer, sealed)
}

/// A message's identity, for logs.
pub(in crate::engine) fn inner(stream: crate::id::StreamId, sequence: u64) -> InnerId {
    InnerId { stream, sequence }
}
