//! Publications from before a subscription, for one that asks for them.
//!
//! **Mechanism.** What was published and is still of use lies on the shelf, here or at neighbours (`shelf`). A subscription that asks
//! for the past takes in what came from some time on. From this device's shelf it is handed what others here have heard
//! already, or nobody yet; what neighbours still keep is fetched, as for every device that begins to listen to a group (`repair`). One
//! that asks for the last few gathers for [`GATHER`]: then it is handed the last of the past, and what has come since.
//!
//! Invariants
//! 1. Of one publisher messages come in their order, the past before what follows it.
//! 2. What may have been heard before this device was restarted is not handed over again, to nobody.
//! 3. At most [`MOST`] of the past are gathered, and [`MAX_LIVE`] of what has come since; with more, gathering ends.

use crate::engine::Output;
use crate::engine::api::{Past, Published, Reply, Token};
use crate::engine::core::Core;
use crate::engine::groups::Groups;
use crate::engine::groups::group_frames::parse;
use crate::engine::groups::streams::Received;
use crate::engine::neighbours::Neighbours;
use crate::id::Lsn;
use crate::identity::credential::{acceptance, epoch_length};
use crate::time::{Time, Unix};
use crate::wire::group::GroupBatch;
use crate::wire::{self, topic};
use core::time::Duration;

/// How long a subscription gathers that asks for the last few.
const GATHER: Duration = Duration::from_secs(1);
/// Most that a subscription may ask for.
pub(in crate::engine) const MOST: u32 = 1_000;
/// Most that come while it gathers.
const MAX_LIVE: usize = 1_024;

/// What a subscription gathers.
#[derive(Debug)]
pub(in crate::engine) struct Gather {
    pub(in crate::engine) until: Time,
    most: usize,
    past: Vec<(Published, Lsn)>,
    live: Vec<(Published, Lsn)>,
}

impl Gather {
    /// For a subscription that begins now, if it asks for the last few.
    pub(in crate::engine) fn of(past: &Past, now: Time) -> Option<Self> {
        let most = past.last?.min(MOST) as usize;
        Some(Self { until: now + GATHER, most, past: Vec::new(), live: Vec::new() })
    }

    /// Takes a message; answers whether there is room for more.
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
    /// From when on what has come is for a subscription that begins now.
    pub(in crate::engine) fn from(&self, now: Time) -> Time {
        match (self.since, self.last) {
            (Some(since), _) => now - since,
            (None, Some(_)) => Time(0),
            (None, None) => now,
        }
    }
}

impl Groups {
    /// Messages that others here have heard already.
    fn hand_past(&mut self, core: &mut Core, token: Token, frame: &Received, batch: &GroupBatch<'_>) {
        for message in &batch.messages {
            let published = frame.published(message);
            let fits = |filter: &str| topic::matches(filter, message.topic);
            if self.multicast.subscription(token).is_some_and(|one| one.from <= frame.came && fits(&one.filter)) {
                self.hand_to(core, token, published, frame.came, Lsn(0));
            }
        }
    }

    /// Hands a message to a subscription, or puts it with what that gathers.
    pub(in crate::engine) fn hand_to(
        &mut self,
        core: &mut Core,
        token: Token,
        published: Published,
        came: Time,
        after: Lsn,
    ) {
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

    /// Hands subscriptions what they have gathered for long enough.
    pub(in crate::engine) fn timeout_gathering(&mut self, core: &mut Core) {
        let now = core.now.time;
        for token in self.multicast.gathered(now) {
            self.end_gathering(core, token);
        }
    }

    fn end_gathering(&mut self, core: &mut Core, token: Token) {
        let Some(subscription) = self.multicast.subscription_mut(token) else { return };
        // What else there is of the past is not among the last.
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
        let own = sender.body.key == core.own;
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

    /// Hands a new subscription what lies on the shelf for it.
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
        // As they were sent, and those of one flow by their numbers.
        found.sort_by_key(|(frame, _)| (frame.sent, frame.flow, frame.number));
        for (frame, plain) in found {
            let Ok(batch) = wire::decode::<GroupBatch<'_>>(&plain) else { continue };
            let (first, count) = (batch.first, batch.messages.len() as u64);
            let own = frame.sender == core.own;
            match self.multicast.streams.has_passed(&(frame.flow.0, batch.stream), first, count) {
                // Nobody here has heard it yet.
                None if !own => self.receive(core, frame, plain),
                Some(true) | None if !batch.ends => self.hand_past(core, token, &frame, &batch),
                // It comes when it is its turn.
                _ => {}
            }
        }
    }
}
