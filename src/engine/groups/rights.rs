//! Rights: who publishes to a restricted group, and what becomes of this device's publications when its right is another.
//!
//! ```text
//! frame of a neighbour ─▶ its tag says restricted? ─▶ its permit holds? ── no ─▶ dropped
//! publication ─▶ permit at hand? ── yes ─▶ it leaves
//!                └── no ─▶ asked since the bulletin came? ── yes ─▶ refused
//!                             └── no ─▶ waits until its deadline, the issuer is asked
//! another generation, and a permit of it ─▶ what is kept of this device's own frames is sealed again, its streams go on
//! ```
//!
//! **Sealed again.** Frames that this device has published under the generation before may not have reached everybody: who has heard of the new one first does
//! not listen to them any more. So the same batches are sealed under the new one, with the times of before. They belong to the same stream, so that
//! a subscriber who has them already takes them for what they are.
//!
//! Invariants
//! 1. A publication to a restricted group leaves under a permit of the present generation, or not at all.
//! - At most [`MAX_AGAIN`] frames of a group are sealed again. Drop policy: the oldest are not (`group_frames_unkept`).

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::groups::Groups;
use crate::engine::groups::group_frames::parse;
use crate::engine::groups::shelf::{Flow, Kept};
use crate::engine::groups::tree::Handed;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::id::Pseudonym;
use crate::identity::group::GroupSender;
use crate::identity::membership::MayPublish;
use crate::identity::permit::{self, Allowed, Found};
use crate::time::{Epoch, Unix};
use crate::wire;
use crate::wire::group::{GroupBatch, GroupFrame};
use bytes::Bytes;
use core::time::Duration;

/// Most frames of a group that are sealed again.
const MAX_AGAIN: usize = 1_024;
/// How often a publication that waits for a permit is looked at.
pub(in crate::engine) const PERMIT_RETRY: Duration = Duration::from_secs(1);

impl Groups {
    /// Judges whether the sender of a frame, by the key of its credential, may publish to the frame's group.
    pub(in crate::engine) fn judge_permit(
        &self,
        core: &Core,
        frame: &GroupFrame<'_>,
        flow: &Flow,
        key: &Pseudonym,
    ) -> Found {
        let Some(permit) = frame.permit.filter(|_| permit::is_restricted(&frame.group)) else {
            let free = frame.permit.is_none() && !permit::is_restricted(&frame.group);
            return if free { Found::Holds } else { Found::Forged };
        };
        if self.shelf.permit(flow, &frame.group) == Some((frame.epoch, permit)) {
            return Found::Holds;
        }
        let allowed = Allowed { epoch: frame.epoch, publisher: key, group: frame.group };
        permit::judge(core.membership.bulletin(), &permit, &allowed, core.now.unix)
    }

    /// Handles that the bulletin, its documents or this device's permits are others: what waited for a permit is looked at, and what was
    /// published under another generation is sealed again.
    pub(in crate::engine) fn take_up_rights(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
    ) {
        self.publishing.unblock();
        let (length, unix) = (core.membership.bulletin().epoch_length(), core.now.unix);
        // Frames of the epoch before are accepted for a while.
        let epochs = length.epoch_at(unix - core.skew()).0..=length.epoch_at(unix).0;
        let groups: Vec<String> = self.tree.published().map(str::to_owned).collect();
        for group in groups {
            if core.membership.may_publish(&group, unix) == MayPublish::Now {
                for epoch in epochs.clone().map(Epoch) {
                    self.seal_again(core, neighbours, routing, &group, epoch);
                }
            }
        }
    }

    /// Seals again what was published to a group in an epoch.
    fn seal_again(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        group: &str,
        epoch: Epoch,
    ) {
        let former = core.membership.groups().former_tags(group, epoch);
        let Some(segment) = neighbours.segment_of_publications(core).filter(|_| !former.is_empty()) else { return };
        for own in core.membership.latest_credentials(core.now.unix) {
            let goes_on = self.publishing.streams.is_under(group, &former, own.hash);
            if !goes_on && !former.iter().any(|tag| self.shelf.has_own(tag, own.hash)) {
                continue;
            }
            let (hash, key) = (own.hash, own.pseudonym());
            let Ok(mut sender) = core.membership.groups().sender(&mut core.rng, (group, segment), epoch, own) else {
                continue;
            };
            let mut frames: Vec<Kept> = former.iter().flat_map(|tag| self.shelf.take_own(tag, hash)).collect();
            let old = frames.len().saturating_sub(MAX_AGAIN);
            core.count(Counter::GroupFramesUnkept, old as u64);
            for frame in frames.drain(old..) {
                self.push_again(core, neighbours, routing, (group, &key), &mut sender, frame);
            }
            if goes_on {
                self.publishing.streams.go_on(group, sender);
            }
        }
    }

    fn push_again(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        (group, key): (&str, &Pseudonym),
        sender: &mut GroupSender,
        kept: Kept,
    ) {
        let Some((_, frame)) = parse(&kept.data) else { return };
        let Some(plain) = core.membership.groups().open_former(&frame, group, key) else { return };
        let Ok(batch) = wire::decode::<GroupBatch<'_>>(&plain) else { return };
        let number = sender.counter();
        let data = Bytes::from(sender.seal(&batch, Unix(frame.sent), Unix(frame.expiry)));
        let (tag, flow) = (sender.tag(), (sender.credential(), sender.salt()));
        let again = Kept { data, segment: sender.segment(), ..kept };
        self.keep_own(core, tag, flow, number, again.clone());
        let policy = again.send_policy.clone().unwrap_or_default();
        let to = (&tag, sender.segment());
        let next_hops = self.next_hops(core, neighbours, routing, to, None, &policy.policy);
        let handed = Handed { fetched: Some(core.now.time.since(again.came)), behind: again.behind(core.now) };
        self.push(core, neighbours, &tag, &next_hops, &again, handed);
    }
}
