//! Timers: when each room of the engine has something to do next.
//!
//! **Mechanism.** At the end of a turn every room says when it is next to be called ([`Timers::set`]); the node is told the earliest of
//! these times. When that has come, the rooms that are due are called, in the order in which [`Timer`] names them, and no other.
//!
//! Two rooms are called besides, but wake nobody: links are assessed again after a second at the earliest, since the chances of a link that has
//! failed recover with time, and messages that wait for a route or a link are looked at whenever something else is due.
//!
//! Invariants
//! 1. A room is called no earlier than it asked for, and once for what it asked for.
//! 2. Rooms that are due at the same time are called in the order of [`Timer::ALL`].

use crate::time::Time;

/// A room that is called when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Messages to devices: deadlines, retransmissions, destinations that rest, what waits for a route.
    Sends,
    /// Messages that are not to leave yet.
    Held,
    /// Calls and requests: deadlines.
    Services,
    /// Messages to any device that offers a service: deadlines, silence, tags of the next epoch.
    Anycast,
    /// Blobs: chunks and offers that are asked for or made again, deadlines.
    Blobs,
    /// Mail that is kept for others.
    Mail,
    /// Publications that are to be confirmed: deadlines.
    Confirmations,
    /// Subscriptions and publications: gaps, deadlines, tags of the next epoch.
    Multicast,
    /// Link state: digests, news, requests, what waits for a credential.
    LinkState,
    /// Questions for devices: to be asked again.
    Locating,
    /// Access windows and quotas of bearers.
    LinkMetrics,
    /// Neighbours in quarantine.
    Quarantine,
    /// When this device sleeps.
    Sleep,
    /// Trees of groups.
    Tree,
    /// Group frames that are missing, or kept for others.
    Repair,
    /// The time, where the machine does not know it.
    Clock,
    /// Requests of others for an issuer.
    Relaying,
    /// Documents that are fetched.
    Documents,
    /// The turn of the epoch, and the erasure of keys after it.
    Epochs,
    /// The operator's bulletin.
    Bulletins,
    /// Credentials and cards of this device.
    Renewal,
    /// The change of the pseudonym.
    Rotation,
    /// The event log: what is said once an interval.
    Log,
}

impl Timer {
    /// All of them, in the order in which they are called.
    pub(super) const ALL: [Self; 23] = [
        Self::Sends,
        Self::Held,
        Self::Services,
        Self::Anycast,
        Self::Blobs,
        Self::Mail,
        Self::Confirmations,
        Self::Multicast,
        Self::LinkState,
        Self::Locating,
        Self::LinkMetrics,
        Self::Quarantine,
        Self::Sleep,
        Self::Tree,
        Self::Repair,
        Self::Clock,
        Self::Relaying,
        Self::Documents,
        Self::Epochs,
        Self::Bulletins,
        Self::Renewal,
        Self::Rotation,
        Self::Log,
    ];
}

/// When each room is due. See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: [Option<Time>; Timer::ALL.len()],
}

impl Timers {
    /// A room is to be called then, or not at all.
    pub(super) fn set(&mut self, timer: Timer, due: Option<Time>) {
        self.due[timer as usize] = due;
    }

    /// When the first of them is due.
    pub(super) fn next(&self) -> Option<Time> {
        self.due.iter().flatten().min().copied()
    }

    /// Takes those that are due.
    pub(super) fn take_due(&mut self, now: Time) -> impl Iterator<Item = Timer> + use<> {
        let due = self.due.each_mut().map(|due| due.take_if(|at| *at <= now).is_some());
        Timer::ALL.into_iter().filter(move |timer| due[*timer as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(timers: &mut Timers, at: u64) -> Vec<Timer> {
        timers.take_due(Time(at)).collect()
    }

    /// Invariants 1 and 2.
    #[test]
    fn what_is_due_is_called_once_in_order_and_nothing_else_is() {
        let mut timers = Timers::default();
        assert_eq!((timers.next(), taken(&mut timers, u64::MAX)), (None, vec![]));
        for (timer, at) in [(Timer::Log, 5), (Timer::Sends, 7), (Timer::Tree, 5), (Timer::Epochs, 9)] {
            timers.set(timer, Some(Time(at)));
        }
        assert_eq!((timers.next(), taken(&mut timers, 4)), (Some(Time(5)), vec![]));
        assert_eq!(taken(&mut timers, 7), [Timer::Sends, Timer::Tree, Timer::Log]);
        assert_eq!((timers.next(), taken(&mut timers, 8)), (Some(Time(9)), vec![]));
        timers.set(Timer::Epochs, None);
        assert_eq!((timers.next(), taken(&mut timers, 10)), (None, vec![]));
    }

    #[test]
    fn each_has_a_place_of_its_own() {
        assert_eq!(Timer::ALL.map(|timer| timer as usize), core::array::from_fn(|at| at));
    }
}
