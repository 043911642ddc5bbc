//! Air: frames for bearers whose time on air is limited, by a duty cycle or by the end of an access window.
//!
//! A frame leaves over such a bearer if its time on air, after that of what was given to the link before it, ends
//! while the access window is open and is within the budget ([`Duty`]). Otherwise it is *held* until it may. Held
//! frames leave in the order of their urgency; alarms have a part of the budget that nothing else may use. Everything
//! that the engine sends goes through here: messages of this device and of others, acknowledgements, and what the mesh
//! says by itself. What the transport adds is charged when it becomes known: a set-up with the new link, a ping and its answer with
//! each measurement.
//!
//! Messages of this device are not sealed for a link without air time: they wait at their sender, which says until when. Nor are
//! they sealed for a link of a known rate that has been given more of their class, and of more urgent ones, than it carries in [`ENOUGH_AHEAD`]: where they
//! wait, they can still be overtaken, and batched.
//!
//! Before a lease of air time ([`Duty::lease`]) is used, the commit with it is durable. While the disk fails no frame
//! waits for it: the account in memory is right as long as the process lives.
//!
//! Invariants
//! 1. A frame that depends on a lease leaves after the commit with that lease.
//! 2. No frame is given to a link whose bearer's window closes before the frame has been carried.
//! 3. At most [`MAX_HELD`] frames of each [use](Use) are held for a link. Drop policy: the newest are dropped
//!    (`air_dropped_alarm`, `air_dropped_bulk`, `air_dropped_control`, `air_dropped_mesh`, `air_dropped_telemetry`).
//! - A frame whose bearer's window does not open again while the frame is of use is dropped at once
//!   (`frames_before_closing`).

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::fragments::Leaving;
use crate::engine::store::{Read, ReadError, Table, Write};
use crate::event_log::Event;
use crate::id::{LinkId, Lsn};
use crate::link::bearer::{PACKET, Profile};
use crate::link::duty::{Duty, Kept, Use};
use crate::time::{Now, Time};
use crate::wire;
use crate::wire::data::Class;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::engine) struct Air {
    /// The accounts, by bearer.
    accounts: Vec<Option<Account>>,
    /// When each link of a limited bearer has carried what it was given.
    free: BTreeMap<LinkId, Time>,
    /// When each link whose rate is known has carried what it was given of each class and of more urgent ones.
    lines: BTreeMap<LinkId, [Time; Class::ALL.len()]>,
    /// The frames that are held for each link, by urgency.
    held: BTreeMap<LinkId, [VecDeque<(Leaving, Use)>; USES]>,
    /// When the links that messages wait for are looked at again.
    awaited: BTreeMap<LinkId, Time>,
    /// Links that take messages again, to be told to those that wait.
    pub(in crate::engine) freed: Vec<LinkId>,
    /// When the first held frame may leave.
    next: Option<Time>,
}

#[derive(Debug)]
struct Account {
    duty: Duty,
    /// The commit that holds the lease.
    lease: Lsn,
    /// Nothing is left, not even for alarms, and not enough has come back since.
    exhausted: bool,
}

/// Why a frame does not leave now, and after how long it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct AirWait {
    pub(in crate::engine) bearer: String,
    pub(in crate::engine) class: Class,
    /// After how long, if nothing else uses the air time; `None` if never, since it is too long.
    pub(in crate::engine) again: Option<Duration>,
}

impl Air {
    /// The accounts of the bearers with a duty cycle, with what earlier processes used.
    pub(in crate::engine) fn load(bearers: &[Profile], store: &dyn Read, now: Now) -> Result<Self, ReadError> {
        let mut accounts = Vec::new();
        for bearer in bearers {
            let Some(limit) = bearer.duty else {
                accounts.push(None);
                continue;
            };
            let mut duty = Duty::new(limit, bearer.air_time(ACKNOWLEDGEMENT).unwrap_or_default());
            if let Some(kept) = store.get(Table::Meta, &key(bearer))? {
                match wire::decode::<Kept>(&kept) {
                    Ok(kept) => duty.restore(&kept, now),
                    // What is not readable may have been all of it.
                    Err(_) => duty.charge(limit.budget, now.time),
                }
            }
            accounts.push(Some(Account { duty, lease: Lsn(0), exhausted: false }));
        }
        Ok(Self {
            accounts,
            free: BTreeMap::new(),
            lines: BTreeMap::new(),
            held: BTreeMap::new(),
            awaited: BTreeMap::new(),
            freed: Vec::new(),
            next: None,
        })
    }

    /// Drops what is held for a link that is gone. Those who wait for it are told by the end of the link itself.
    pub(in crate::engine) fn forget(&mut self, link: LinkId) {
        self.free.remove(&link);
        self.lines.remove(&link);
        self.held.remove(&link);
        self.awaited.remove(&link);
    }

    /// When something held, or awaited, is due.
    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        self.awaited.values().copied().chain(self.next).min()
    }

    /// Whether nothing is left of the air time of a bearer, not even for alarms.
    pub(in crate::engine) fn is_exhausted(&self, bearer: u8) -> bool {
        self.account(bearer).is_some_and(|account| account.exhausted)
    }

    /// How much air time a bearer has left for alarms; `None` without a duty cycle.
    pub(in crate::engine) fn left(&self, bearer: u8, now: Time) -> Option<Duration> {
        Some(self.account(bearer)?.duty.left(Use::Message(Class::Alarm), now))
    }

    fn account(&self, bearer: u8) -> Option<&Account> {
        self.accounts.get(usize::from(bearer))?.as_ref()
    }

    /// After how long a frame of that many bytes may leave; `Some(ZERO)` for now, `None` for never.
    fn wait(&self, profile: &Profile, number: u8, link: LinkId, bytes: usize, of: Use, now: Now) -> Option<Duration> {
        let Some(air) = profile.air_time(bytes) else { return Some(Duration::ZERO) };
        let begins = self.free.get(&link).map_or(now.time, |free| (*free).max(now.time));
        let (queued, mut wait) = (begins.since(now.time), Duration::ZERO);
        if queued > MOST_AHEAD {
            wait = queued - MOST_AHEAD;
        }
        // The mesh itself speaks at any time: it is what keeps the link up.
        if of != Use::Mesh && !profile.windows.is_empty() {
            let (open, change) = (profile.windows.open_at(now.unix), profile.windows.next_change(now.unix));
            match change {
                Some(closes) if open && now.unix + (queued + air) > closes => {
                    let opens = profile.windows.next_change(closes)?;
                    wait = wait.max(opens.since(now.unix));
                }
                Some(opens) if !open => wait = wait.max(opens.since(now.unix)),
                None if !open => return None,
                _ => {}
            }
        }
        if let Some(account) = self.account(number) {
            let again = account.duty.again(air, of, begins)?;
            // What leaves later leaves after what is queued.
            wait = wait.max(if again.is_zero() { again } else { again + queued });
        }
        Some(wait)
    }

    /// The most urgent class of which a message of a device is held.
    fn held_class(&self, link: LinkId) -> Option<Class> {
        let held = self.held.get(&link)?;
        held.iter().flatten().find_map(|(_, of)| if let Use::Message(class) = of { Some(*class) } else { None })
    }
}

impl Neighbours {
    /// Queues a frame for a link, or holds it until the bearer may carry it.
    pub(in crate::engine) fn leave(&mut self, core: &mut Core, leaving: Leaving, of: Use) {
        let Some(number) = self.links.get(leaving.link).map(|link| link.bearer) else {
            return self.emit(core, leaving);
        };
        if of != Use::Mesh && self.is_too_late(core, number, &leaving) {
            return core.count(Counter::FramesBeforeClosing, 1);
        }
        if !self.link_metrics.bearer(number).is_limited() {
            self.note_given(core, &leaving);
            return self.emit(core, leaving);
        }
        let urgency = urgency(of);
        let before = |held: &[VecDeque<_>; USES]| held[..=urgency].iter().all(VecDeque::is_empty);
        if self.air.held.get(&leaving.link).is_none_or(before) && self.air_wait_of(core, &leaving, of).is_none() {
            return self.take_off(core, number, leaving, of);
        }
        let held = &mut self.air.held.entry(leaving.link).or_default()[urgency];
        if held.len() >= MAX_HELD {
            return core.count(dropped(of), 1);
        }
        let link = leaving.link;
        held.push_back((leaving, of));
        self.look_at_held(core, link);
    }

    /// Whether a bearer's access window closes before a frame has been sent, and does not open again while it is of use.
    fn is_too_late(&self, core: &Core, number: u8, leaving: &Leaving) -> bool {
        let profile = self.link_metrics.bearer(number);
        if self.link_metrics.fits_window(number, leaving.frame.len(), core.now.unix) {
            return false;
        }
        let wait =
            self.air.wait(profile, number, leaving.link, leaving.frame.len(), Use::Message(leaving.class), core.now);
        !profile.is_limited() || leaving.until.is_some_and(|until| wait.is_none_or(|wait| core.now.time + wait > until))
    }

    /// Whether a link has been given so much of a class, by its bearer's rate, that another message is better left where it
    /// is: sealed ones can neither be overtaken by others of their class nor give way. Those who wait are told when it has room.
    pub(in crate::engine) fn is_busy(&mut self, core: &Core, link: LinkId, class: Class) -> bool {
        let ahead = self.ahead(core, link, class);
        if ahead <= ENOUGH_AHEAD {
            return false;
        }
        self.await_link(link, core.now.time + (ahead - ENOUGH_AHEAD));
        true
    }

    /// How long a link takes to carry what it was given of a class and of more urgent ones, as far as its rate is known.
    pub(in crate::engine) fn ahead(&self, core: &Core, link: LinkId, class: Class) -> Duration {
        let lines = self.air.lines.get(&link);
        lines.map_or(Duration::ZERO, |lines| lines[class as usize].since(core.now.time))
    }

    fn await_link(&mut self, link: LinkId, at: Time) {
        let awaited = self.air.awaited.entry(link).or_insert(at);
        *awaited = (*awaited).min(at);
    }

    /// Notes what a link is given, if the rate of its bearer is known.
    fn note_given(&mut self, core: &Core, leaving: &Leaving) {
        let Some(number) = self.links.get(leaving.link).map(|link| link.bearer) else { return };
        let Some(air) = self.link_metrics.bearer(number).air_time(leaving.frame.len()) else { return };
        let now = core.now.time;
        let lines = self.air.lines.entry(leaving.link).or_insert([now; Class::ALL.len()]);
        for line in &mut lines[leaving.class as usize..] {
            // Not everything that a relay gives to a full link leaves: what is dropped there does not count for ever.
            *line = ((*line).max(now) + air).min(now + MOST_NOTED);
        }
    }

    /// Why a message of that many bytes would not leave over a link now; those who wait are told when it may.
    pub(in crate::engine) fn await_air(
        &mut self,
        core: &Core,
        link: LinkId,
        class: Class,
        bytes: usize,
    ) -> Option<AirWait> {
        let bearer = self.links.get(link)?.bearer;
        let profile = self.link_metrics.bearer(bearer);
        if !profile.is_limited() {
            return None;
        }
        let again = self.air.wait(profile, bearer, link, bytes, Use::Message(class), core.now);
        if again.is_some_and(|again| again.is_zero()) {
            return None;
        }
        let wait = AirWait { bearer: profile.name.clone(), class, again };
        self.await_link(link, core.now.time + again.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST));
        Some(wait)
    }

    /// The most bytes of a frame of a class for which a link has air time now.
    pub(in crate::engine) fn air_room(&self, core: &Core, link: LinkId, class: Class) -> usize {
        let Some(number) = self.links.get(link).map(|link| link.bearer) else { return usize::MAX };
        let Some(account) = self.air.account(number) else { return usize::MAX };
        let profile = self.link_metrics.bearer(number);
        let left = account.duty.left(Use::Message(class), core.now.time);
        // By what a piece costs, of which the last may be short.
        let piece = profile.piece().min(PACKET);
        let each = profile.air_time(piece).unwrap_or_default().as_micros().max(1);
        usize::try_from(left.as_micros() / each).unwrap_or(usize::MAX).saturating_mul(piece)
    }

    /// The bytes of a frame that can be sent over a link, after what it was given, before the bearer's access window closes.
    pub(in crate::engine) fn room_in_window(&self, core: &Core, link: LinkId) -> usize {
        let Some(known) = self.links.get(link) else { return 0 };
        let profile = self.link_metrics.bearer(known.bearer);
        let (Some(closes), Some(least)) = (profile.windows.next_change(core.now.unix), profile.air_time(0)) else {
            return usize::MAX;
        };
        let queued = self.air.free.get(&link).map_or(Duration::ZERO, |free| free.since(core.now.time));
        let left = closes.since(core.now.unix).saturating_sub(queued);
        let piece = profile.piece().min(PACKET);
        let each = profile.air_time(piece).unwrap_or_default().as_micros().max(1);
        let (whole, rest) = (left.as_micros() / each, left.as_micros() % each);
        let more = rest.saturating_sub(least.as_micros()) * u128::from(profile.rate) / 8_000;
        let bytes = whole.saturating_mul(piece as u128).saturating_add(more);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Whether a link takes a message of a class and of that many bytes now.
    pub(in crate::engine) fn has_room(&mut self, core: &Core, link: LinkId, class: Class, bytes: usize) -> bool {
        let takes = self.links.get(link).is_some_and(|link| link.usable && link.takes(class));
        takes && self.await_air(core, link, class, bytes).is_none()
    }

    /// Charges what the transport has sent by itself over a link: so many packets with so many bytes in all.
    pub(in crate::engine) fn charge_air(&mut self, core: &mut Core, link: LinkId, bytes: usize) {
        let Some(number) = self.links.get(link).map(|link| link.bearer) else { return };
        let Some(air) = self.link_metrics.bearer(number).air_time(bytes) else { return };
        if let Some(Some(account)) = self.air.accounts.get_mut(usize::from(number)) {
            account.duty.charge(air, core.now.time);
            self.look_at_account(core, number);
        }
    }

    /// Lets held frames leave whose time has come, and tells those who wait for links.
    pub(in crate::engine) fn timeout_air(&mut self, core: &mut Core) {
        let now = core.now.time;
        let links: Vec<LinkId> = self.air.held.keys().copied().collect();
        for link in links {
            let Some(number) = self.links.get(link).map(|link| link.bearer) else {
                self.air.forget(link);
                continue;
            };
            for urgency in 0..USES {
                while let Some((leaving, of)) = self.next_held(core, link, urgency) {
                    if self.air_wait_of(core, &leaving, of).is_some() {
                        if let Some(held) = self.air.held.get_mut(&link) {
                            held[urgency].push_front((leaving, of));
                        }
                        break;
                    }
                    self.take_off(core, number, leaving, of);
                }
            }
            self.look_at_held(core, link);
        }
        let due: Vec<LinkId> = self.air.awaited.iter().filter(|(_, at)| **at <= now).map(|(link, _)| *link).collect();
        for link in due {
            self.air.awaited.remove(&link);
            self.air.freed.push(link);
        }
        let numbers: Vec<u8> = (0..).take(self.air.accounts.len()).collect();
        numbers.into_iter().for_each(|number| self.look_at_account(core, number));
    }

    /// The next held frame of that urgency that is still of use.
    fn next_held(&mut self, core: &mut Core, link: LinkId, urgency: usize) -> Option<(Leaving, Use)> {
        let held = &mut self.air.held.get_mut(&link)?[urgency];
        while held.pop_front_if(|(leaving, _)| leaving.until.is_some_and(|until| until < core.now.time)).is_some() {
            core.count(Counter::DataExpired, 1);
        }
        held.pop_front()
    }

    /// Notes when the first held frame of a link may leave, and what the link takes meanwhile.
    fn look_at_held(&mut self, core: &Core, link: LinkId) {
        let Some(number) = self.links.get(link).map(|link| link.bearer) else { return };
        let fronts = self.air.held.get(&link).into_iter().flatten().filter_map(VecDeque::front);
        let profile = self.link_metrics.bearer(number);
        let waits = fronts.map(|(leaving, of)| {
            let wait = self.air.wait(profile, number, link, leaving.frame.len(), *of, core.now);
            core.now.time + wait.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST)
        });
        let first = waits.min();
        let class = self.air.held_class(link);
        if first.is_none() {
            self.air.held.remove(&link);
        }
        self.air.next = match self.air.held.is_empty() {
            true => None,
            false => first.into_iter().chain(self.air.next.filter(|next| *next > core.now.time)).min(),
        };
        let Some(known) = self.links.get_mut(link) else { return };
        let before = core::mem::replace(&mut known.blocked.held, class);
        // `None` comes before all classes, and means that all may leave.
        if before.is_some_and(|before| class.is_none_or(|class| before < class)) {
            self.air.freed.push(link);
        }
    }

    /// Notes whether an account is used up, or usable again.
    fn look_at_account(&mut self, core: &mut Core, number: u8) {
        let profile = self.link_metrics.bearer(number);
        let (least, name) = (profile.air_time(ACKNOWLEDGEMENT).unwrap_or_default(), profile.name.clone());
        let Some(Some(account)) = self.air.accounts.get_mut(usize::from(number)) else { return };
        let (alarm, now) = (Use::Message(Class::Alarm), core.now.time);
        let budget = account.duty.limit().budget;
        let enough = if account.exhausted { least.max(budget / ENOUGH) } else { least };
        let exhausted = !account.duty.fits(enough, alarm, now);
        if account.exhausted == exhausted {
            return;
        }
        account.exhausted = exhausted;
        if exhausted {
            let again = account.duty.again(least.max(budget / ENOUGH), alarm, now).unwrap_or(LONGEST);
            core.record(Event::AirSpent { bearer: name, again_s: again.as_secs() + 1 });
        }
        self.assess_all(core);
    }

    /// When an exhausted account is usable again.
    pub(in crate::engine) fn next_air_change(&self, core: &Core) -> Option<Time> {
        let number = |at: usize| u8::try_from(at).unwrap_or(u8::MAX);
        let accounts = self.air.accounts.iter().enumerate();
        let spent = accounts.filter_map(|(at, account)| {
            let account = account.as_ref().filter(|account| account.exhausted)?;
            let least = self.link_metrics.bearer(number(at)).air_time(ACKNOWLEDGEMENT).unwrap_or_default();
            let enough = least.max(account.duty.limit().budget / ENOUGH);
            account.duty.again(enough, Use::Message(Class::Alarm), core.now.time)
        });
        spent.min().map(|wait| core.now.time + wait.max(SHORTEST))
    }

    /// Why a frame does not leave now.
    fn air_wait_of(&self, core: &Core, leaving: &Leaving, of: Use) -> Option<Duration> {
        let number = self.links.get(leaving.link)?.bearer;
        let profile = self.link_metrics.bearer(number);
        let wait = self.air.wait(profile, number, leaving.link, leaving.frame.len(), of, core.now);
        Some(wait.unwrap_or(LONGEST)).filter(|wait| !wait.is_zero())
    }

    /// Gives a frame to its link, and charges its time on air.
    fn take_off(&mut self, core: &mut Core, number: u8, mut leaving: Leaving, of: Use) {
        let profile = self.link_metrics.bearer(number);
        if let Some(air) = profile.air_time(leaving.frame.len()) {
            let free = self.air.free.entry(leaving.link).or_insert(core.now.time);
            let begins = (*free).max(core.now.time);
            *free = begins + air;
            if let Some(Some(account)) = self.air.accounts.get_mut(usize::from(number)) {
                if account.duty.spend(air, of, begins) {
                    let kept = account.duty.lease(air, core.now);
                    account.lease = core.journal.turn();
                    let (key, value) = (key(profile), wire::encode(&kept));
                    core.journal.write(Write::Put { table: Table::Meta, key, value });
                }
                if !core.journal.disk_fails {
                    leaving.after = leaving.after.max(account.lease);
                }
            }
        }
        self.note_given(core, &leaving);
        self.emit(core, leaving);
        self.look_at_account(core, number);
    }
}

/// Key of a bearer's account in [`Table::Meta`].
fn key(bearer: &Profile) -> Vec<u8> {
    [b"air-", bearer.name.as_bytes()].concat()
}

/// The order in which held frames leave.
fn urgency(of: Use) -> usize {
    match of {
        Use::Message(Class::Alarm) => 0,
        Use::Acknowledgement => 1,
        Use::Message(Class::Control) => 2,
        Use::Mesh => 3,
        Use::Message(Class::Telemetry) => 4,
        Use::Message(Class::Bulk) => 5,
    }
}

fn dropped(of: Use) -> Counter {
    match of {
        Use::Message(Class::Alarm) => Counter::AirDroppedAlarm,
        Use::Acknowledgement | Use::Message(Class::Control) => Counter::AirDroppedControl,
        Use::Mesh => Counter::AirDroppedMesh,
        Use::Message(Class::Telemetry) => Counter::AirDroppedTelemetry,
        Use::Message(Class::Bulk) => Counter::AirDroppedBulk,
    }
}

/// The number of uses.
const USES: usize = 6;
/// Most frames of a use that are held for a link.
const MAX_HELD: usize = 64;
/// How far ahead of the air a link is given frames.
const MOST_AHEAD: Duration = Duration::from_secs(30);
/// How far ahead of a link's rate messages of this device are sealed for it: enough that it never stands idle.
const ENOUGH_AHEAD: Duration = Duration::from_millis(500);
/// The most that is noted of what a link was given.
const MOST_NOTED: Duration = Duration::from_secs(5);
/// What is held is looked at again after this time at the earliest and at the latest.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(3_600);
/// Bytes of an acknowledgement.
const ACKNOWLEDGEMENT: usize = 256;
/// A bearer whose air time was used up is usable again with this part of its budget.
const ENOUGH: u32 = 32;
/// Bytes of both halves of a connection's set-up that one end sends.
pub(in crate::engine) const SETUP_BYTES: usize = 3_000;
/// Bytes of a ping and of the answer to another.
pub(in crate::engine) const PING_BYTES: usize = 48;
