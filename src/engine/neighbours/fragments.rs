//! Fragments: data frames cut into pieces that a link can carry, and reassembled.
//!
//! A bearer may state how large its largest frame is, or how slow it is: then a frame that is longer, or takes long, leaves in pieces
//! ([`Profile::piece`](crate::link::bearer::Profile::piece)), each queued by the frame's class, so that more urgent frames go between them. The next hop reassembles the frame before
//! it looks at anything; over the next link the frame may be whole again, or in other pieces.
//!
//! Invariants
//! 1. A frame is reassembled from all of its pieces in their order; a piece out of order drops its frame
//!    (`fragments_dropped`).
//! - What is reassembled is a whole frame of the data stream, or it is dropped.
//! - At most [`MAX_PARTIAL`] frames of a link are incomplete. Drop policy: the one begun first is dropped
//!   (`fragments_dropped`).

use crate::counter::Counter;
use crate::engine::Output;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::id::{LinkId, Lsn};
use crate::link::duty::Use;
use crate::time::Time;
use crate::wire::data::Class;
use crate::wire::fragment::{Fragment, MAX_FRAGMENTS, OVERHEAD};
use crate::wire::frame::{self, Kind, MAX_FRAME};
use crate::wire::{self, OutFrame};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Most incomplete frames of a link: twice as many as there are classes.
pub(in crate::engine) const MAX_PARTIAL: usize = 8;
/// Size of the smallest piece in bytes, whatever a bearer states.
const LEAST: usize = 64;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::engine) struct Fragments {
    last: u32,
    partial: BTreeMap<LinkId, BTreeMap<u32, Partial>>,
}

#[derive(Debug)]
struct Partial {
    next: u16,
    pieces: u16,
    bytes: Vec<u8>,
}

impl Fragments {
    /// How many frames are incomplete.
    pub(in crate::engine) fn len(&self) -> usize {
        self.partial.values().map(BTreeMap::len).sum()
    }

    /// Drops the incomplete frames of a link that is gone.
    pub(in crate::engine) fn forget(&mut self, link: LinkId) {
        self.partial.remove(&link);
    }

    /// Adds a piece, and returns the whole frame if it was the last one. `Err` if pieces were dropped.
    fn take(&mut self, link: LinkId, fragment: &Fragment<'_>) -> Result<Option<Vec<u8>>, ()> {
        let Fragment { frame, piece, pieces, bytes } = *fragment;
        let of_link = self.partial.entry(link).or_default();
        if !(2..=MAX_FRAGMENTS).contains(&pieces) || piece >= pieces {
            return Err(());
        }
        let mut dropped = false;
        if piece == 0 {
            if of_link.len() >= MAX_PARTIAL {
                dropped = of_link.pop_first().is_some();
            }
            of_link.insert(frame, Partial { next: 0, pieces, bytes: Vec::new() });
        }
        let Some(partial) = of_link.get_mut(&frame) else { return Err(()) };
        if (partial.next, partial.pieces) != (piece, pieces) || partial.bytes.len() + bytes.len() > MAX_FRAME + 4 {
            of_link.remove(&frame);
            return Err(());
        }
        partial.bytes.extend_from_slice(bytes);
        partial.next += 1;
        if partial.next < partial.pieces {
            return if dropped { Err(()) } else { Ok(None) };
        }
        Ok(of_link.remove(&frame).map(|partial| partial.bytes))
    }
}

/// A data frame that is to leave over a link.
#[derive(Debug)]
pub(in crate::engine) struct Leaving {
    pub(in crate::engine) link: LinkId,
    pub(in crate::engine) class: Class,
    pub(in crate::engine) frame: OutFrame,
    /// The commit that must be durable before the frame is released.
    pub(in crate::engine) after: Lsn,
    /// When the frame is dropped if it still waits for its link, or `None` if it waits for as long as that takes.
    pub(in crate::engine) until: Option<Time>,
}

impl Leaving {
    /// A frame that depends on no commit, and waits for its link as long as that takes.
    pub(in crate::engine) fn at_once(link: LinkId, class: Class, frame: OutFrame) -> Self {
        Self { link, class, frame, after: Lsn(0), until: None }
    }
}

impl Neighbours {
    /// Queues a data frame and charges it to the bearer's quota; it leaves in pieces if the link requires that. One that
    /// waits for its link until the bearer's access window closes is dropped there.
    pub(in crate::engine) fn send_data(&mut self, core: &mut Core, leaving: Leaving) {
        self.spend(core, leaving.link, leaving.frame.len());
        let class = leaving.class;
        self.leave(core, leaving, Use::Message(class));
    }

    /// Queues a data frame that acknowledges messages, as [`Self::send_data`] does.
    pub(in crate::engine) fn send_acknowledgement(&mut self, core: &mut Core, leaving: Leaving) {
        self.spend(core, leaving.link, leaving.frame.len());
        self.leave(core, leaving, Use::Acknowledgement);
    }

    /// Gives a frame to its link, a data frame in pieces if the link requires that.
    pub(in crate::engine) fn emit(&mut self, core: &mut Core, leaving: Leaving) {
        let Leaving { link, class, frame, after, until } = leaving;
        let is_data = frame.head().get(4).is_some_and(|kind| *kind >= Kind::Data as u8);
        let piece = self.links.get(link).map_or(usize::MAX, |link| self.link_metrics.bearer(link.bearer).piece());
        let mtu = piece.max(LEAST + OVERHEAD);
        let closes = self.links.get(link).filter(|_| is_data);
        let closes = closes.and_then(|link| self.link_metrics.leaves_by(link.bearer, frame.len(), core.now));
        let until = [until, closes].into_iter().flatten().min();
        if frame.len() <= mtu || !is_data {
            return core.outputs.push_back(Output::Send { link, class, frame, after, until });
        }
        // Pieces are as large as the link allows, but there are never more of them than a frame may have.
        let part = (mtu - OVERHEAD).max(frame.len().div_ceil(usize::from(MAX_FRAGMENTS)));
        let pieces = u16::try_from(frame.len().div_ceil(part)).unwrap_or(MAX_FRAGMENTS);
        self.fragments.last = self.fragments.last.wrapping_add(1);
        let number = self.fragments.last;
        for (piece, bytes) in (0..).zip(frame.into_vec().chunks(part)) {
            let frame = frame::of(Kind::Fragment, &Fragment { frame: number, piece, pieces, bytes }).into();
            core.outputs.push_back(Output::Send { link, class, frame, after, until });
        }
    }

    /// Adds a piece that has arrived; returns the frame if it was the last one.
    pub(in crate::engine) fn handle_fragment(&mut self, core: &mut Core, link: LinkId, body: &[u8]) -> Option<Bytes> {
        let Ok(fragment) = wire::decode::<Fragment<'_>>(body) else {
            self.note_malformed(core, link, Counter::DataMalformed);
            return None;
        };
        match self.fragments.take(link, &fragment) {
            Ok(whole) => whole.map(Bytes::from),
            Err(()) => {
                core.count(Counter::FragmentsDropped, 1);
                None
            }
        }
    }
}
