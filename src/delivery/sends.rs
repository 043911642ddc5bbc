//! Sends: everything on its way out to devices, with and without confirmation, behind one face.
//!
//! **Mechanism.** Messages that are to be confirmed wait in [`Outgoing`], those that are not in [`Unconfirmed`]; which destination
//! is served next is decided by the [`Schedule`]. The engine names a destination and a lane; whether the batch that leaves is
//! of the one kind or of the other is decided here. Where both wait in a lane they take turns.
//!
//! Invariants
//! 1. A destination to which a message is submitted is ready.
//! 2. Where confirmed and unconfirmed messages wait in one lane, neither kind leaves twice in a row.

use super::departure::{Departure, Taken};
use super::lane::Lane;
use super::message::{End, Submission};
use super::outgoing::{Full, Outgoing, Overdue};
use super::persisted::{Change, KeptMessage, KeptRecord};
use super::schedule::Schedule;
use super::unconfirmed::{Gone, Load, Unconfirmed};
use crate::id::{Handle, InnerId, LinkId, Name, OuterId};
use crate::time::{Now, Time, Unix};
use crate::wire::receipt::Receipt;
use core::time::Duration;
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeSet;

/// All messages to devices on their way out. `C`: what a confirmed message is known by to the caller, `U`: an unconfirmed load,
/// `W`: why there is no route to a destination.
#[derive(Debug)]
pub struct Sends<C, U, W> {
    outgoing: Outgoing<C>,
    unconfirmed: Unconfirmed<U>,
    schedule: Schedule<W>,
}

/// What is next to leave in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Whether it is to be confirmed.
    pub confirmed: bool,
    /// When it is over.
    pub expiry: Unix,
    /// How long it was of use when it was submitted.
    pub lifetime: Duration,
    /// Its payload, in bytes.
    pub bytes: usize,
}

/// What ended by leaving, or by time.
#[derive(Debug)]
pub struct Ended<C, U> {
    /// Messages that were to be confirmed.
    pub ends: Vec<End<C>>,
    /// Loads that were not.
    pub gone: Vec<Gone<U>>,
}

impl<C, U> Default for Ended<C, U> {
    fn default() -> Self {
        Self { ends: Vec::new(), gone: Vec::new() }
    }
}

impl<C: Clone, U, W> Sends<C, U, W> {
    /// Nothing is on its way.
    pub fn new() -> Self {
        Self { outgoing: Outgoing::new(), unconfirmed: Unconfirmed::new(), schedule: Schedule::default() }
    }

    /// Takes up what an earlier process left; see [`Outgoing::restore`].
    pub fn restore(&mut self, record: KeptRecord<'_>, now: Now, token: &mut dyn FnMut(&KeptMessage<'_>) -> Option<C>) {
        let to = record.to.clone();
        self.outgoing.restore(record, now, token);
        self.schedule.wake(to);
    }

    /// Takes a message that is to be confirmed.
    ///
    /// # Errors
    /// There is no room for it: of the destination, of destinations, or of bytes.
    pub fn submit(
        &mut self,
        to: &Name,
        message: Submission<C>,
        now: Now,
        rng: &mut ChaCha20Rng,
    ) -> Result<InnerId, Full> {
        let id = self.outgoing.submit(to, message, now, rng)?;
        self.schedule.wake(to.clone());
        Ok(id)
    }

    /// Takes a load of messages that are not to be confirmed.
    ///
    /// # Errors
    /// There is no room for it; it is handed back.
    pub fn submit_load(&mut self, to: Name, load: Load<U>, now: Now, rng: &mut ChaCha20Rng) -> Result<(), Load<U>> {
        self.unconfirmed.submit(&to, load, now, rng)?;
        self.schedule.wake(to);
        Ok(())
    }

    /// Whether another load of unconfirmed messages would find room.
    pub fn has_room(&self) -> bool {
        self.unconfirmed.has_room()
    }

    /// Messages to be confirmed that have not ended.
    pub fn open(&self) -> usize {
        self.outgoing.open()
    }

    /// Messages of both kinds that have not ended.
    pub fn pending(&self) -> usize {
        self.outgoing.open() + self.unconfirmed.waiting()
    }

    /// A newer message of a key is about to come: the one that waits gives way to it.
    pub fn supersede(&mut self, to: &Name, key: &str, now: Time, ended: &mut Ended<C, U>) {
        self.outgoing.supersede(to, key, now, &mut ended.ends);
    }

    /// How long a message may go without a receipt before its receiver is taken for silent; see [`Outgoing::silent_after`].
    pub fn silent_after(&self, to: &Name, round_trip: Duration) -> Duration {
        self.outgoing.silent_after(to, round_trip)
    }

    /// Takes a message that is to be confirmed back: it is sent no more, and has no end.
    pub fn withdraw(&mut self, to: &Name, id: InnerId, now: Time) {
        self.outgoing.withdraw(to, id, now);
    }

    /// Since when each destination has had no room, and how many messages wait for it.
    pub fn full(&self) -> impl Iterator<Item = (&Name, Time, usize)> {
        self.outgoing.full()
    }

    /// Since when one destination has had no room; `None` if it has, as far as is known.
    pub fn full_since(&self, to: &Name) -> Option<Time> {
        self.outgoing.full_since(to)
    }

    /// The destinations for which others keep messages, and how many.
    pub fn kept(&self) -> impl Iterator<Item = (&Name, usize)> {
        self.outgoing.kept()
    }

    /// How many messages to a destination are to be confirmed and have not ended.
    pub fn open_to(&self, to: &Name) -> usize {
        self.outgoing.open_to(to)
    }

    /// The destinations for which something waits that has found no route, and why.
    pub fn without_route(&self) -> impl Iterator<Item = (&Name, &W)> {
        let waiting = self.outgoing.destinations_waiting().chain(self.unconfirmed.destinations());
        let waiting: BTreeSet<&Name> = waiting.collect();
        waiting.into_iter().filter_map(|to| Some((to, self.schedule.no_route(to)?)))
    }

    /// Payload that the next writes will hold, in bytes.
    pub fn pending_bytes(&self) -> usize {
        self.outgoing.pending_bytes()
    }

    /// What is to be written, so that what is kept outlives a restart.
    pub fn poll_writes(&mut self) -> Vec<Change> {
        self.outgoing.poll_writes()
    }

    /// Whether something waits to be sent to a destination.
    pub fn waits_for(&self, name: &Name) -> bool {
        self.outgoing.lanes(name).next().is_some() || self.unconfirmed.lanes(name).next().is_some()
    }

    /// Whether something waits to be sent to any destination.
    pub fn wait(&self) -> bool {
        self.outgoing.destinations_waiting().next().is_some() || self.unconfirmed.destinations().next().is_some()
    }

    /// The destination that is served next, if one is ready.
    pub fn next_destination(&self) -> Option<&Name> {
        self.schedule.next()
    }

    /// A destination has its turn.
    pub fn serve(&mut self, name: &Name) {
        self.schedule.serve(name);
    }

    /// Nothing more can be sent to a destination for now.
    pub fn rest(&mut self, name: &Name) {
        self.schedule.rest(name);
    }

    /// A destination rests until then, and is ready again.
    pub fn reopen(&mut self, name: Name, at: Time) {
        self.schedule.reopen(name, at);
    }

    /// Something may be sent to a destination.
    pub fn wake(&mut self, name: Name) {
        self.schedule.wake(name);
    }

    /// Every destination for which something waits is ready.
    pub fn wake_waiting(&mut self) {
        let waiting = self.outgoing.destinations_waiting().chain(self.unconfirmed.destinations());
        self.schedule.wake_all(waiting.cloned());
    }

    /// A destination waits until a link takes data.
    pub fn block_on(&mut self, link: LinkId, name: &Name) {
        self.schedule.block_on(link, name);
    }

    /// A link takes data again, or is gone.
    pub fn unblock(&mut self, link: LinkId) {
        self.schedule.unblock(link);
    }

    /// There is no route to a destination.
    pub fn note_no_route(&mut self, name: &Name, why: W) {
        self.schedule.note_no_route(name, why);
    }

    /// Why there was no route to a destination when it was last looked for.
    pub fn no_route(&self, name: &Name) -> Option<&W> {
        self.schedule.no_route(name)
    }

    /// All that waits is to be looked at anew by then.
    pub fn look_again_by(&mut self, at: Time) {
        self.schedule.look_again_by(at);
    }

    /// Lanes in which something waits for a destination, the most urgent first.
    pub fn lanes(&self, to: &Name) -> BTreeSet<Lane> {
        self.outgoing.lanes(to).chain(self.unconfirmed.lanes(to)).cloned().collect()
    }

    /// What is next to leave in a lane: a message that is to be confirmed, if one waits.
    pub fn next_in(&self, to: &Name, lane: &Lane) -> Option<Next> {
        let confirmed = self.outgoing.next_in(to, lane);
        let next = confirmed.or_else(|| self.unconfirmed.next_in(to, lane));
        next.map(|(expiry, lifetime, bytes)| Next { confirmed: confirmed.is_some(), expiry, lifetime, bytes })
    }

    /// Messages that have less time left than such messages have taken of late go behind the others.
    pub fn pass_over_hurried(&mut self, to: &Name, lane: &Lane, now: Unix) {
        self.outgoing.pass_over_hurried(to, lane, now);
    }

    /// Of the kind that is next in a lane, those that are over by `ends_by` go behind the others. Returns whether another is next.
    pub fn pass_over(&mut self, to: &Name, lane: &Lane, next: &Next, ends_by: Unix) -> bool {
        if next.confirmed {
            self.outgoing.pass_over(to, lane, ends_by)
        } else {
            self.unconfirmed.pass_over(to, lane, ends_by)
        }
    }

    /// The bytes of the records that wait in a lane for a destination; it counts no further than about `most`.
    pub fn queued_in(&self, to: &Name, lane: &Lane, most: usize) -> usize {
        self.outgoing.queued_in(to, lane, most) + self.unconfirmed.queued_in(to, lane, most)
    }

    /// Of the kind that is next in a lane, the one that expires first goes before the others. Returns whether another is next.
    pub fn advance_soonest(&mut self, to: &Name, lane: &Lane, next: &Next) -> bool {
        if next.confirmed {
            self.outgoing.advance_soonest(to, lane)
        } else {
            self.unconfirmed.advance_soonest(to, lane)
        }
    }

    /// Takes the next batch of a lane, of the kind whose turn it is, and appends its plaintext to `out`. `reply` makes the handles under which
    /// receipts find the sender, if the batch is to be confirmed. What ends by leaving is appended to `ended`.
    pub fn take(
        &mut self,
        to: &Name,
        lane: &Lane,
        departure: &Departure<'_>,
        reply: impl FnOnce() -> Vec<Handle>,
        out: &mut Vec<u8>,
        ended: &mut Ended<C, U>,
    ) -> Option<Taken> {
        let first = self.schedule.take_turns() && self.outgoing.waits(to, lane);
        if first || !self.unconfirmed.waits(to, lane) {
            let reply = reply();
            self.outgoing.take_batch(to, lane, &Departure { reply: &reply, ..*departure }, out, &mut ended.ends)
        } else {
            self.unconfirmed.take(to, lane, departure, out, &mut ended.gone)
        }
    }

    /// A receipt of a destination. Returns the flights that it tells to have arrived at a device with no room; what has ended is appended to `ends`.
    pub fn handle_receipt(&mut self, from: &Name, receipt: &Receipt, now: Time, ends: &mut Vec<End<C>>) -> Vec<u64> {
        self.outgoing.handle_receipt(from, receipt, now, ends)
    }

    /// The next hop has a frame of messages that ask for no more than that.
    pub fn handle_hop_ack(&mut self, to: &Name, frame: OuterId, now: Time, ends: &mut Vec<End<C>>) {
        self.outgoing.handle_hop_ack(to, &[frame], now, ends);
    }

    /// Another keeps a frame for the receiver, which is away; its messages are sent again then, if they have not ended.
    pub fn handle_kept(&mut self, to: &Name, frame: &OuterId, again: Time, now: Time, ends: &mut Vec<End<C>>) {
        self.outgoing.handle_kept(to, frame, again, now, ends);
    }

    /// Nobody keeps a frame for the receiver, or not any more: its messages are queued again.
    pub fn handle_let_go(&mut self, to: &Name, frame: &OuterId) {
        if self.outgoing.handle_let_go(to, frame) {
            self.schedule.wake(to.clone());
        }
    }

    /// The destination is a device of the realm no more: all that is to go there, or has left, ends.
    pub fn cut_off(&mut self, to: &Name, now: Time, ended: &mut Ended<C, U>) {
        self.outgoing.cut_off(to, now, &mut ended.ends);
        self.unconfirmed.cut_off(to, now, &mut ended.gone);
        self.schedule.rest(to);
    }

    /// What is under way to a destination may be lost: it is queued again.
    pub fn handle_path_broken(&mut self, to: &Name) {
        self.outgoing.handle_path_broken(to);
    }

    /// Ends what is past its deadline, queues again what was not confirmed in time, and wakes destinations whose rest is over. Returns
    /// the flights of which nothing has been heard. Whoever calls wakes what waits once it has dealt with those.
    pub fn handle_timeout(&mut self, now: Time, ended: &mut Ended<C, U>) -> Overdue {
        let mut overdue = Overdue::default();
        self.outgoing.handle_timeout(now, &mut ended.ends, &mut overdue);
        self.unconfirmed.handle_timeout(now, &mut ended.gone);
        self.schedule.begin_anew();
        self.schedule.handle_timeout(now);
        overdue
    }

    /// When something is due.
    pub fn next_wake(&self) -> Option<Time> {
        [self.outgoing.next_wake(), self.unconfirmed.next_wake(), self.schedule.next_wake()].into_iter().flatten().min()
    }
}

impl<C: Clone, U, W> Default for Sends<C, U, W> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::lane::SendPolicy;
    use crate::delivery::message::Content;
    use crate::wire::batch::Ack;
    use crate::wire::data::Class;
    use crate::wire::parcel::put_record;
    use rand_chacha::rand_core::SeedableRng;

    const NOW: Now = Now { time: Time(1_000_000), unix: Unix(1_800_000_000_000_000) };

    struct Bench {
        sends: Sends<u8, u8, &'static str>,
        rng: ChaCha20Rng,
        to: Name,
        lane: Lane,
    }

    impl Bench {
        fn new() -> Self {
            let lane = Lane { class: Class::Telemetry, send_policy: SendPolicy::default().into() };
            let to = Name::new("b").expect("a name");
            Self { sends: Sends::new(), rng: ChaCha20Rng::from_seed([1; 32]), to, lane }
        }

        fn submit(&mut self, token: u8) {
            let lifetime = Duration::from_secs(30);
            let (payload, lane) = (vec![token], self.lane.clone());
            let content = Content::Inbox;
            let message = Submission {
                token,
                payload,
                content,
                ack: Ack::End,
                lane,
                lifetime,
                keep: false,
                id: None,
                latest: None,
            };
            self.sends.submit(&self.to, message, NOW, &mut self.rng).expect("room");
        }

        fn submit_load(&mut self, token: u8) {
            let mut records = Vec::new();
            put_record(&mut records, 0, &[token]);
            let (lane, lifetime) = (self.lane.clone(), Duration::from_secs(30));
            let load = Load { token, records, count: 1, lane, lifetime };
            assert!(self.sends.submit_load(self.to.clone(), load, NOW, &mut self.rng).is_ok());
        }

        /// What the next batch asks for.
        fn take(&mut self) -> Option<Ack> {
            let departure = Departure {
                attempt: OuterId([1; 8]),
                reply: &[],
                flight: 1,
                expected: None,
                most: 1,
                arrives: Unix(0),
                spares: None,
                mail: false,
                now: NOW,
                error: None,
                push_only: false,
            };
            let (mut plain, mut ended) = (Vec::new(), Ended::default());
            let taken = self.sends.take(&self.to, &self.lane, &departure, Vec::new, &mut plain, &mut ended);
            taken.map(|taken| taken.ack)
        }
    }

    /// Invariant 1.
    #[test]
    fn who_is_sent_something_is_ready_and_who_loses_its_path_waits_to_be_looked_at() {
        let mut bench = Bench::new();
        assert!(bench.sends.next_destination().is_none() && !bench.sends.wait());
        bench.submit(1);
        assert_eq!(bench.sends.next_destination(), Some(&bench.to));
        assert!(bench.sends.waits_for(&bench.to) && bench.sends.wait());
        assert_eq!(bench.take(), Some(Ack::End));
        let to = bench.to.clone();
        bench.sends.rest(&to);
        assert!(!bench.sends.wait() && bench.sends.pending() == 1, "it is under way");
        bench.sends.handle_path_broken(&to);
        bench.sends.wake_waiting();
        assert_eq!(bench.sends.next_destination(), Some(&to));
        bench.sends.rest(&to);
        bench.submit_load(2);
        assert_eq!(bench.sends.next_destination(), Some(&to));
    }

    /// Invariant 2.
    #[test]
    fn both_kinds_take_turns_where_both_wait() {
        let mut bench = Bench::new();
        for token in 0..3 {
            bench.submit(token);
            bench.submit_load(token);
        }
        let next = bench.sends.next_in(&bench.to, &bench.lane).expect("one waits");
        assert!(next.confirmed && next.bytes == 1 && next.expiry == NOW.unix + next.lifetime);
        let taken: Vec<_> = std::iter::from_fn(|| bench.take()).collect();
        assert_eq!(taken.len(), 6);
        assert!(taken.windows(2).all(|pair| pair[0] != pair[1]), "{taken:?}");
    }

    #[test]
    fn what_is_past_its_deadline_ends_and_its_kind_is_told() {
        let mut bench = Bench::new();
        bench.submit(1);
        bench.submit_load(2);
        let due = bench.sends.next_wake().expect("something is due");
        assert_eq!(due, NOW.time + Duration::from_secs(30));
        let mut ended = Ended::default();
        bench.sends.handle_timeout(due, &mut ended);
        let (ends, gone) = (&ended.ends, &ended.gone);
        assert_eq!((ends.len(), ends[0].token, gone.len(), gone[0].token), (1, 1, 1, 2));
        assert!(bench.sends.pending() == 0 && bench.sends.next_wake().is_none());
    }
}
