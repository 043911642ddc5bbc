//! Past: publications from before a subscription, for one that asks for them.
//!
//! **Mechanism.** Publications that have not expired lie on the shelf, here or at neighbours (`shelf`). A subscription
//! that asks for the past takes those that came from a given time on. From this device's shelf it is handed those that
//! other subscribers here have heard already, and those that none has heard yet; those that neighbours still keep are
//! fetched, as for every device that begins to listen to a group (`repair`). A subscription that asks for the last few
//! gathers for [`GATHER`]; then it is handed the last of the past, and what has come since.
//!
//! Invariants
//! 1. The messages of one publisher come in their order, the past before what follows it.
//! - Messages of other devices that may have been heard before this device was restarted are handed to no subscription
//!   again.
//! - At most [`MOST`] messages of the past are gathered, and [`MAX_LIVE`] of those that have come since; with more,
//!   gathering ends.

use crate::engine::Output;
use crate::engine::api::{Past, Published, Reply, Token};
use crate::engine::core::Core;
use crate::engine::groups::Groups;
use crate::engine::groups::broadcast;
use crate::engine::groups::group_frames::parse;
use crate::engine::groups::streams::Received;
use crate::engine::neighbours::Neighbours;
use crate::id::Lsn;
use crate::identity::credential::{acceptance, epoch_length};
use crate::time::{Time, Unix};
use crate::wire::group::GroupBatch;
use crate::wire::{self, topic};
use core::time::Duration;

/// How long a subscription that asks for the last few messages gathers.
const GATHER: Duration = Duration::from_secs(1);
/// Most messages of the past that a subscription may ask for.
pub(in crate::engine) const MOST: u32 = 1_000;
/// Most messages that a subscription gathers of those that come meanwhile.
const MAX_LIVE: usize = 1_024;

/// The messages that a subscription gathers.
#[derive(Debug)]
pub(in crate::engine) struct Gather {
    pub(in crate::engine) until: Time,
    most: usize,
    past: Vec<(Published, Lsn)>,
    live: Vec<(Published, Lsn)>,
}

impl Gather {
    /// What a subscription that begins now is to gather; `None` unless it asks for the last few messages.
    pub(in crate::engine) fn of(past: &Past, now: Time) -> Option<Self> {
        let most = past.last?.min(MOST) as usize;
        Some(Self { until: now + GATHER, most, past: Vec::new(), live: Vec::new() })
    }

    /// Takes a message. Returns whether there is room for more.
    pub(in crate::engine) fn take(&mut self, published: Published, after: Lsn, is_past: bool) -> bool {
        if !is_past {
            self.live.push((published, after));
            return self.live.len() < MAX_LIVE;
        }
        self.past.push((published, after));
        if self.past.len() > self.most {
            let oldest = self.past.iter().enumerate().min_by_key(|(_, (published, _))| published.sent);
            if let Some(at) = oldest.map(|(at, _)| at) {
                self.past.remove(at);
            }
        }
        true
    }

    fn into_messages(self) -> impl Iterator<Item = (Published, Lsn)> {
        self.past.into_iter().chain(self.live)
    }
}

impl Past {
    /// Returns the time from which on frames that came are for a subscription that begins now.
    pub(in crate::engine) fn from(&self, now: Time) -> Time {
        match (self.since, self.last) {
            (Some(since), _) => now - since,
            (None, Some(_)) => Time(0),
            (None, None) => now,
        }
    }
}

impl Groups {
    /// Hands a subscription the messages of a frame that other subscribers here have heard already.
    fn hand_past(&mut self, core: &mut Core, token: Token, frame: &Received, batch: &GroupBatch<'_>) {
        for message in &batch.messages {
            let published = frame.published(message, batch.error);
            let fits = |filter: &str| topic::matches(filter, message.topic);
            if self.multicast.subscription(token).is_some_and(|one| one.from <= frame.came && fits(&one.filter)) {
                self.hand_to(core, token, published, frame.came, Lsn(0));
            }
        }
    }

    /// Hands a message to a subscription, or adds it to what the subscription gathers.
    pub(in crate::engine) fn hand_to(
        &mut self,
        core: &mut Core,
        token: Token,
        published: Published,
        came: Time,
        after: Lsn,
    ) {
        if token == broadcast::OWN {
            return self.broadcast.take(core, published);
        }
        let Some(subscription) = self.multicast.subscription_mut(token) else { return };
        let is_past = came < subscription.since;
        let Some(gather) = &mut subscription.gather else {
            let reply = Reply::Published(published);
            return core.outputs.push_back(Output::Reply { token, reply, after, last: false });
        };
        if !gather.take(published, after, is_past) {
            self.end_gathering(core, token);
        }
    }

    /// Hands those subscriptions that have gathered for long enough what they have gathered.
    pub(in crate::engine) fn timeout_gathering(&mut self, core: &mut Core) {
        let now = core.now.time;
        for token in self.multicast.gathered(now) {
            self.end_gathering(core, token);
        }
    }

    fn end_gathering(&mut self, core: &mut Core, token: Token) {
        let Some(subscription) = self.multicast.subscription_mut(token) else { return };
        // Further messages of the past are not among the last ones.
        subscription.from = subscription.since;
        for (published, after) in subscription.gather.take().into_iter().flat_map(Gather::into_messages) {
            let reply = Reply::Published(published);
            core.outputs.push_back(Output::Reply { token, reply, after, last: false });
        }
    }

    fn open_from_shelf(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        group: &str,
        flow: crate::engine::groups::shelf::Flow,
        number: u64,
    ) -> Option<(Received, Vec<u8>)> {
        let kept = self.shelf.get(&flow, number).filter(|kept| kept.until > core.now.time)?.clone();
        let (_, frame) = parse(&kept.data)?;
        let sender = neighbours.peers.get(&flow.0)?.clone();
        let plain = core.membership.groups().open(&frame, group, &sender.body.key).ok()?;
        let ((_, accepted), length) = (acceptance(&sender.body)?, epoch_length(&sender.body)?);
        let own = core.is_own(&sender.body.key);
        let from =
            if own { Some(core.membership.name().clone()) } else { neighbours.name_of(core, &sender.body.handle) };
        let received = Received {
            group: group.to_owned(),
            from,
            sender: sender.body.key,
            flow,
            number,
            sent: Unix(frame.sent),
            came: kept.came,
            until: kept.until,
            term: crate::engine::groups::heard::Term { end: length.end(sender.body.epoch), until: accepted },
            start: length.start(sender.body.epoch),
        };
        Some((received, plain))
    }

    /// Hands a new subscription the messages on the shelf that are for it.
    pub(in crate::engine) fn replay(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        token: Token,
        filter: &str,
        from: Time,
    ) {
        let group = topic::group(filter).to_owned();
        let mut found = Vec::new();
        for tag in self.multicast.tags_of(&group) {
            let kept = self.shelf.kept(&tag, |kept| kept.came >= from).collect::<Vec<_>>();
            let numbers = kept.into_iter().flat_map(|(flow, ranges)| {
                ranges.into_iter().flat_map(move |(first, last)| (first..=last).map(move |number| (flow, number)))
            });
            for (flow, number) in numbers {
                found.extend(self.open_from_shelf(core, neighbours, &group, flow, number));
            }
        }
        // In the order in which they were sent, and those of one flow by their numbers.
        found.sort_by_key(|(frame, _)| (frame.sent, frame.flow, frame.number));
        for (frame, plain) in found {
            let Ok(batch) = wire::decode::<GroupBatch<'_>>(&plain) else { continue };
            let (first, count) = (batch.first, batch.messages.len() as u64);
            let own = core.is_own(&frame.sender);
            match self.multicast.streams.has_passed(&(frame.flow.0, batch.stream), first, count) {
                // No subscriber here has heard it yet.
                None if !own => self.receive(core, frame, plain),
                Some(true) | None if !batch.ends => self.hand_past(core, token, &frame, &batch),
                // It is handed over when its turn comes.
                _ => {}
            }
        }
    }
}
