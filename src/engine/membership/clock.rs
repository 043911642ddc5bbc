//! The time, for a device whose machine does not know it: how it is learnt, and told to others.
//!
//! ```text
//! clock not set ─▶ TimeRequest with a nonce to each neighbour ⇄ TimeBeacon, signed
//!     ─▶ all have answered, or 3 s ─▶ the median, if most agree with it within S ─▶ learnt
//!          ├─ several agree: sure        └─ one alone: not sure, and the issuer is asked
//!          └─ most do not agree: nothing is learnt, and the issuer is asked
//! nobody tells it, 5 s ─▶ a pull: what the issuer says of the time is sealed to this very request
//! not sure ─▶ again in 10 s to 1 h        sure ─▶ again in 6 h: set anew where it is off by a tenth of S, at most by 2 S
//! ```
//!
//! The floor is what must have passed: the program was built, the operator has signed the bulletin, and, kept on disk, an epoch began whose credential a neighbour has
//! shown while this device knew the time. It never goes by what one clock alone has said, so that one that was ahead keeps nobody out.
//!
//! Invariants
//! 1. A beacon counts once, from whom it was asked of, if it bears the nonce of that request and came within S.
//! 2. Nothing sets the clock below the floor but the issuer's answer to a request of this process, and nothing below what the operator has signed.
//! 3. The credential of whoever tells the time holds at the time that it tells: one neighbour alone sets the clock ahead by a batch at most.
//! 4. A device that is not sure tells nobody the time, closes no link for it, erases no keys and raises no floor.
//! - Tables here have an entry for each neighbour at most.

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::membership::Member;
use crate::engine::neighbours::Neighbours;
use crate::engine::settings::Settings;
use crate::engine::store::{Read, ReadError, Table, Write};
use crate::event_log::Event;
use crate::id::{LinkId, Pseudonym};
use crate::identity::clock::{Change, NodeClock, Standing};
use crate::identity::credential::acceptance;
use crate::identity::membership::Membership;
use crate::identity::sign;
use crate::share::Rates;
use crate::time::{Now, Time, Unix};
use crate::wire;
use crate::wire::credential::Credential;
use crate::wire::frame::{self, Kind};
use crate::wire::time_beacon::{CONTEXT, NONCE, TimeBeacon, TimeRequest, UNKNOWN};
use core::time::Duration;
use rand_chacha::rand_core::Rng;
use std::collections::BTreeMap;

/// Key in [`Table::Meta`] of the floor, in unix seconds, 8 bytes big endian.
const FLOOR: &[u8] = b"clock-floor";
/// How long neighbours that have not answered are waited for once one has.
const PATIENCE: Duration = Duration::from_secs(3);
/// First and longest time between two rounds while the time is not sure.
const RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3_600));
/// The same once it is.
const FOLLOW: Duration = Duration::from_secs(6 * 3_600);
/// Requests that a link may bring at once, and in which time one more. Drop policy: the newest (`time_requests_dropped`).
const ANSWERS: (u32, Duration) = (4, Duration::from_secs(1));

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::engine) struct Beacons {
    asked: BTreeMap<LinkId, ([u8; NONCE], Time)>,
    /// What neighbours have told.
    told: BTreeMap<Pseudonym, Told>,
    /// When what has been told is looked at, whoever has not answered.
    settle: Option<Time>,
    /// When everybody is asked again.
    next: Option<Time>,
    rounds: u32,
    /// The floor as it is on disk.
    pub(in crate::engine) kept: Unix,
    answers: Rates,
}

impl Default for Beacons {
    fn default() -> Self {
        Self {
            asked: BTreeMap::new(),
            told: BTreeMap::new(),
            settle: None,
            next: None,
            rounds: 0,
            kept: Unix(0),
            answers: Rates::new(ANSWERS.0, ANSWERS.1),
        }
    }
}

/// What a neighbour has told.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Now,
    error: Duration,
}

/// What most of those who told the time agree in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Agreed {
    unix: Unix,
    error: Duration,
    members: usize,
}

impl Beacons {
    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        [self.settle, self.next].into_iter().flatten().min()
    }

    pub(in crate::engine) fn forget_link(&mut self, link: LinkId, neighbour: Option<&Pseudonym>) {
        self.asked.remove(&link);
        if let Some(gone) = neighbour {
            self.told.remove(gone);
        }
    }
}

/// The node's clock at its start, at this reading of the machine's, and the floor as it is on disk.
pub(in crate::engine) fn start(
    membership: &Membership,
    settings: &Settings,
    store: &dyn Read,
    raw: Now,
) -> Result<(NodeClock, Unix), ReadError> {
    let kept = store.get(Table::Meta, FLOOR)?.and_then(|value| <[u8; 8]>::try_from(value).ok());
    let kept = Unix::from_seconds(kept.map_or(0, u64::from_be_bytes));
    let skew = membership.bulletin().epoch_length().skew();
    let certain = signed_floor(membership, settings).max(kept);
    // An issuer's clock may have been ahead: it tells what to begin with, and not that another clock is wrong.
    Ok((NodeClock::start(raw, settings.clock, certain, membership.granted() - skew), kept))
}

/// What must have passed by the word of those that sign: whoever has built the program, and the operator, whose clock may be off.
fn signed_floor(membership: &Membership, settings: &Settings) -> Unix {
    let bulletin = membership.bulletin();
    settings.built.max(Unix::from_seconds(bulletin.body().issued) - bulletin.epoch_length().skew())
}

impl Member {
    /// What has become of the machine's clock, which says that.
    pub(in crate::engine) fn heed_machine(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        change: Change,
        machine: Unix,
    ) {
        match change {
            Change::Unset => {
                let (machine, from) = (machine.seconds(), core.now.unix.seconds());
                core.record(Event::ClockUnset { machine, from });
                self.clock.rounds = 0;
                self.ask_everybody(core, neighbours);
            }
            Change::Set => {
                self.clock.asked.clear();
                self.clock.told.clear();
                (self.clock.settle, self.clock.next) = (None, None);
            }
        }
        self.plan_renewal(core);
    }

    pub(in crate::engine) fn timeout_clock(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let due = |at: &mut Option<Time>| at.take_if(|at| *at <= core.now.time).is_some();
        let (settle, next) = (due(&mut self.clock.settle), due(&mut self.clock.next));
        if settle {
            self.settle_time(core);
        }
        if next {
            self.ask_everybody(core, neighbours);
        }
    }

    fn ask_everybody(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        self.clock.asked.clear();
        // One that knows the time keeps off links that cost money.
        let sure = core.clock.is_sure();
        let links = neighbours.links.iter().filter(|(_, link)| !sure || !self.costs(neighbours, link));
        for link in links.map(|(id, _)| id).collect::<Vec<_>>() {
            self.ask_time(core, neighbours, link);
        }
        let wait = RETRY.0.saturating_mul(1 << self.clock.rounds.min(16)).min(RETRY.1);
        self.clock.rounds = self.clock.rounds.saturating_add(1);
        self.clock.next = Some(core.now.time + if sure { FOLLOW } else { wait });
    }

    /// Asks a neighbour for the time, where that is not known.
    pub(in crate::engine) fn ask_time(&mut self, core: &mut Core, neighbours: &mut Neighbours, link: LinkId) {
        if core.clock.standing() == Standing::Machine {
            return;
        }
        let mut nonce = [0; NONCE];
        core.rng.fill_bytes(&mut nonce);
        self.clock.asked.insert(link, (nonce, core.now.time));
        neighbours.send_control(core, link, Kind::TimeRequest, &TimeRequest { nonce });
        self.clock.next.get_or_insert(core.now.time + RETRY.0);
    }

    /// A neighbour asks for the time.
    pub(in crate::engine) fn handle_time_request(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
        body: &[u8],
    ) {
        let Ok(TimeRequest { nonce }) = wire::decode(body) else {
            return neighbours.note_malformed(core, link, Counter::ControlMalformed);
        };
        if neighbours.key_of(link).is_none_or(|by| !self.clock.answers.take(&by, core.now.time)) {
            return core.count(Counter::TimeRequestsDropped, 1);
        }
        let error = match core.clock.standing() {
            // What a machine's clock is set by is not known here, unless the settings say how good it is.
            Standing::Machine => core.settings.clock_error.map_or(0, micros),
            _ => core.clock_error().unwrap_or(UNKNOWN),
        };
        let Some(own) = core.membership.credential(core.now.unix).cloned() else { return };
        let beacon = TimeBeacon { origin: own.hash, time: core.now.unix.0, error, nonce };
        let signed = own.sign_document(CONTEXT, &wire::encode(&beacon));
        neighbours.send_frame(core, link, frame::raw(Kind::TimeBeacon, &signed));
    }

    /// A neighbour tells the time.
    pub(in crate::engine) fn handle_time_beacon(
        &mut self,
        core: &mut Core,
        neighbours: &Neighbours,
        id: LinkId,
        body: &[u8],
    ) {
        let Some((nonce, asked)) = self.clock.asked.get(&id).copied() else {
            return core.count(Counter::BeaconsUnasked, 1);
        };
        let Some(link) = neighbours.links.get(id) else { return };
        let beacon = wire::decode(body)
            .ok()
            .filter(|signed| sign::verify_signed(CONTEXT, &link.peer.body.key, signed))
            .and_then(|signed: wire::Signed<'_>| wire::decode::<TimeBeacon>(signed.body).ok());
        // Invariant 1.
        let Some(beacon) = beacon.filter(|beacon| beacon.nonce == nonce && beacon.origin == link.peer.hash) else {
            return core.count(Counter::BeaconsRefused, 1);
        };
        self.clock.asked.remove(&id);
        self.clock.told.remove(&link.peer.body.key);
        let (now, skew, way) = (core.now.time, core.skew(), core.now.time.since(asked));
        let error = Duration::from_micros(beacon.error).saturating_add(way / 2);
        // Who does not know the time has no say in it.
        if error <= skew {
            let unix = Unix(beacon.time) + way / 2;
            // Invariants 2 and 3.
            let holds = core.membership.bulletin().recheck(&link.peer, unix).is_ok();
            if holds && unix >= core.clock.floor_at(now) {
                self.clock.told.insert(link.peer.body.key, Told { at: Now { time: now, unix }, error });
            } else {
                core.count(Counter::BeaconsRefused, 1);
            }
        }
        if self.clock.asked.is_empty() {
            self.clock.settle = None;
            self.settle_time(core);
        } else {
            self.clock.settle.get_or_insert(now + PATIENCE);
        }
    }

    /// Looks at what has been told.
    fn settle_time(&mut self, core: &mut Core) {
        let (now, skew) = (core.now.time, core.skew());
        self.clock.told.retain(|_, told| now.since(told.at.time) < FOLLOW);
        if self.clock.told.is_empty() {
            return;
        }
        let agreed = agree(self.clock.told.values(), now, skew);
        let off = |unix: Unix| unix.since(core.now.unix).max(core.now.unix.since(unix));
        let agreed = agreed.filter(|agreed| match core.clock.standing() {
            Standing::Machine => false,
            Standing::Unset | Standing::Learnt { sure: false } => true,
            Standing::Learnt { sure: true } => agreed.members > 1 && off(agreed.unix) <= skew * 2,
        });
        let sure = core.clock.is_sure();
        let Some(Agreed { unix, error, members }) = agreed else {
            // One alone does not outweigh those who told it before.
            if !sure || self.clock.told.len() > 1 {
                core.count(Counter::BeaconsDisagreed, 1);
                self.pull_cards(core);
            }
            return;
        };
        if sure && off(unix) <= skew / 10 {
            // It is right as it goes, and known to be so again.
            core.clock.note_error(error + off(unix), now);
        } else {
            let from = if members == 1 { "one member".to_owned() } else { format!("{members} members") };
            self.learn_time(core, unix, (error, members > 1), from);
        }
        if members == 1 {
            self.pull_cards(core);
        }
    }

    fn learn_time(&mut self, core: &mut Core, unix: Unix, (error, sure): (Duration, bool), from: String) {
        let now = core.now.time;
        core.clock.learn(Now { time: now, unix }, sure);
        core.clock.note_error(error, now);
        if sure {
            self.clock.rounds = 0;
            self.clock.next = Some(now + FOLLOW);
        }
        core.record(Event::ClockLearnt { from, at: core.clock.read(core.now).unix.seconds() });
    }

    /// The issuer has said what its clock says, in answer to a request of that time: nobody else can have made that answer, nor
    /// made it before.
    pub(in crate::engine) fn hear_issuer(&mut self, core: &mut Core, said: Unix, asked: Time) {
        let (now, skew, way) = (core.now.time, core.skew(), core.now.time.since(asked));
        let unix = said + way / 2;
        let off = unix.since(core.now.unix).max(core.now.unix.since(unix));
        if core.clock.standing() == Standing::Machine || self.issuer.is_some() || way / 2 > skew {
            return;
        }
        if unix < core.clock.floor_at(now) {
            let lowest = (unix - skew).max(signed_floor(&core.membership, &core.settings));
            core.clock.lower_floor(lowest, now);
            self.keep_floor(core, core.clock.floor_at(now));
        }
        let sure = core.clock.is_sure();
        // It tells whole seconds.
        let error = way / 2 + Duration::from_secs(1);
        if sure && off <= skew / 10 {
            core.clock.note_error(error + off, now);
        } else {
            self.learn_time(core, unix, (error, true), "the issuer".to_owned());
        }
    }

    /// A neighbour has shown a credential that holds by this clock. Invariant 4.
    pub(in crate::engine) fn note_shown(&mut self, core: &mut Core, shown: &Credential) {
        let Some((from, _)) = acceptance(shown) else { return };
        core.clock.raise_floor(from, core.now.time);
        if from > self.clock.kept {
            self.keep_floor(core, from);
        }
    }

    /// The operator has signed a newer bulletin.
    pub(in crate::engine) fn note_signed(&mut self, core: &mut Core) {
        let signed = signed_floor(&core.membership, &core.settings);
        core.clock.raise_floor(signed, core.now.time);
    }

    fn keep_floor(&mut self, core: &mut Core, floor: Unix) {
        self.clock.kept = floor;
        let value = floor.seconds().to_be_bytes().to_vec();
        core.journal.write(Write::Put { table: Table::Meta, key: FLOOR.to_vec(), value });
    }
}

/// What most of them agree in: the median of those that are within `within` of the median of all. Of several there have to be two.
fn agree<'a>(told: impl Iterator<Item = &'a Told>, now: Time, within: Duration) -> Option<Agreed> {
    let mut told: Vec<(Unix, Duration)> =
        told.map(|told| (told.at.unix + now.since(told.at.time), told.error)).collect();
    told.sort_unstable();
    let (count, middle) = (told.len(), median(&told)?);
    let off = |unix: Unix| unix.since(middle).max(middle.since(unix));
    told.retain(|(unix, _)| off(*unix) <= within);
    let members = told.len();
    if members * 2 <= count || (count > 1 && members < 2) {
        return None;
    }
    let unix = median(&told)?;
    let far = |(one, error): &(Unix, Duration)| *error + one.since(unix).max(unix.since(*one));
    Some(Agreed { unix, error: told.iter().map(far).max().unwrap_or_default(), members })
}

/// Of what is in order; between the two in the middle of an even number.
fn median(sorted: &[(Unix, Duration)]) -> Option<Unix> {
    let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?.0, sorted.get(sorted.len() / 2)?.0);
    Some(low + high.since(low) / 2)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SKEW: Duration = Duration::from_secs(300);
    const T: u64 = 1_800_000_000;

    fn agreed(told: &[u64]) -> Option<(u64, usize)> {
        let told: Vec<Told> = told
            .iter()
            .map(|seconds| Told {
                at: Now { time: Time(0), unix: Unix::from_seconds(*seconds) },
                error: Duration::from_millis(5),
            })
            .collect();
        agree(told.iter(), Time(2_000_000), SKEW).map(|agreed| (agreed.unix.seconds(), agreed.members))
    }

    #[test]
    fn the_median_of_those_that_agree_is_the_time() {
        assert_eq!(agreed(&[]), None);
        assert_eq!(agreed(&[T]), Some((T + 2, 1)), "as it has gone on since");
        assert_eq!(agreed(&[T + 100, T]), Some((T + 52, 2)));
        assert_eq!(agreed(&[T + 7, T, T + 1]), Some((T + 3, 3)));
    }

    #[test]
    fn fewer_than_half_have_no_say() {
        assert_eq!(agreed(&[T, T + 90_000, T + 4]), Some((T + 4, 2)));
        assert_eq!(agreed(&[T, T + 90_000, T + 4, T + 2, 0]), Some((T + 4, 3)));
    }

    #[test]
    fn where_most_do_not_agree_nobody_is_believed() {
        assert_eq!(agreed(&[T, T + 90_000]), None);
        assert_eq!(agreed(&[T, T + 90_000, T - 90_000]), None);
        assert_eq!(agreed(&[T, T + 1, T + 90_000, T + 90_001]), None);
    }
}
