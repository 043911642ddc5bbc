//! Sends: everything on its way out to devices, with and without confirmation, behind one face.
//!
//! **Mechanism.** Messages that are to be confirmed wait in [`Outgoing`], those that are not in [`Unconfirmed`]; which destination
//! is served next is decided by the [`Schedule`]. The engine names a destination and a lane; whether the batch that leaves is
//! of the one kind or of the other is decided here. Where both wait in a lane they take turns.
//!
//! Invariants
//! 1. A destination to which a message is submitted, restored or queued again is ready.
//! 2. Where confirmed and unconfirmed messages wait in one lane, neither kind leaves twice in a row.

use super::departure::{Departure, Taken};
use super::lane::Lane;
use super::outgoing::{End, Full, Outgoing, Overdue, Submission};
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
