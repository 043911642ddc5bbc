//! Seats: how many clients may be connected to the local API, and which one gives way when all seats are taken.
//!
//! A connection takes a seat when it is accepted and keeps it until it ends. A seat is *waiting* until a complete
//! request has arrived, and again once the request is answered; it is *quick* while a request is answered from what the
//! node knows, and *long* while a request waits for others, such as a message under way or a stream.
//!
//! Nobody who connects is left waiting. When all seats are taken, a waiting one is given up for the newcomer: of the
//! process that has the most seats, the one that has waited the longest. If no seat is waiting, the newcomer is told
//! so. Long requests may have only a part of the seats, and one process only half of that part, so that room is left
//! for quick ones.
//!
//! Invariants
//! 1. At most [`MAX_SEATS`] connections have a seat. At most [`MAX_LONG`] seats are long, at most [`MAX_LONG_SHARE`] of
//!    one process.
//! 2. A seat with a request under way is never given up.

use super::error::ApiError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// The table of all seats.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    seats: BTreeMap<u64, Taken>,
    /// Number of the last seat taken or last change made; of the waiting seats, the one with the lowest has waited the
    /// longest.
    turn: u64,
}

#[derive(Debug)]
struct Taken {
    process: i32,
    state: State,
    /// Dropped when the seat is given up, which wakes the connection.
    _stay: oneshot::Sender<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No request is under way since this turn.
    Waiting(u64),
    Busy(Manner),
}

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// From what the node knows.
    Quick,
    /// Only after waiting for others.
    Long,
}

/// The seat of a connection; it becomes free when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    at: Place,
    given_up: oneshot::Receiver<()>,
}

/// A reference to a seat.
#[derive(Clone, Debug)]
pub(super) struct Place {
    seats: Seats,
    number: u64,
}

/// A request under way; the seat is waiting again when this is dropped.
#[derive(Debug)]
pub(super) struct Duty(Place);

impl Seats {
    /// Takes a seat for a connection of a process; `None` if every seat has a request under way.
    pub(super) fn take(&self, process: i32) -> Option<Seat> {
        let mut table = self.table();
        if table.seats.len() >= MAX_SEATS {
            let oldest = table.least_missed()?;
            table.seats.remove(&oldest);
        }
        table.turn += 1;
        let number = table.turn;
        let (stay, given_up) = oneshot::channel();
        table.seats.insert(number, Taken { process, state: State::Waiting(number), _stay: stay });
        drop(table);
        Some(Seat { at: Place { seats: self.clone(), number }, given_up })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The waiting seat that is to be given up first.
    fn least_missed(&self) -> Option<u64> {
        let mut shares: BTreeMap<i32, usize> = BTreeMap::new();
        for taken in self.seats.values() {
            *shares.entry(taken.process).or_default() += 1;
        }
        let waiting = self.seats.iter().filter_map(|(number, taken)| match taken.state {
            State::Waiting(since) => Some((std::cmp::Reverse(shares.get(&taken.process)), since, *number)),
            State::Busy(_) => None,
        });
        waiting.min().map(|(_, _, number)| number)
    }

    /// The number of long requests under way, and how many of them are of one process.
    fn long(&self, process: i32) -> (usize, usize) {
        let long = || self.seats.values().filter(|taken| taken.state == State::Busy(Manner::Long));
        (long().count(), long().filter(|taken| taken.process == process).count())
    }
}

impl Seat {
    /// A reference to this seat.
    pub(super) fn place(&self) -> Place {
        self.at.clone()
    }

    /// Ready when the seat is given up for a newcomer.
    pub(super) async fn given_up(&mut self) {
        // The other end is only ever dropped.
        let _ = (&mut self.given_up).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.at.seats.table().seats.remove(&self.at.number);
    }
}

impl Place {
    /// Begins a request. Its body has arrived completely, or is a stream.
    ///
    /// # Errors
    /// Fails if the seat was given up, or if too many long requests are under way.
    pub(super) fn begin(&self, manner: Manner) -> Result<Duty, ApiError> {
        let mut table = self.seats.table();
        let Some(process) = table.seats.get(&self.number).map(|taken| taken.process) else {
            return Err(ApiError::Crowded { limit: MAX_SEATS });
        };
        if manner == Manner::Long {
            let (all, own) = table.long(process);
            if all >= MAX_LONG || own >= MAX_LONG_SHARE {
                let limit = if own >= MAX_LONG_SHARE { MAX_LONG_SHARE } else { MAX_LONG };
                return Err(ApiError::Crowded { limit });
            }
        }
        if let Some(taken) = table.seats.get_mut(&self.number) {
            taken.state = State::Busy(manner);
        }
        Ok(Duty(self.clone()))
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        let mut table = self.0.seats.table();
        table.turn += 1;
        let turn = table.turn;
        // The seat may be gone, together with its connection.
        if let Some(taken) = table.seats.get_mut(&self.0.number) {
            taken.state = State::Waiting(turn);
        }
    }
}

/// Connections served at a time. Drop policy: a waiting connection is closed, else the newcomer is refused.
pub(super) const MAX_SEATS: usize = 256;
/// Long requests at a time: messages under way, and streams. Drop policy: further ones are refused.
pub(super) const MAX_LONG: usize = 192;
/// Long requests of one process at a time. Drop policy: further ones are refused.
pub(super) const MAX_LONG_SHARE: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    /// Invariant 2.
    #[test]
    fn a_newcomer_gets_the_seat_that_the_greediest_process_misses_least() {
        let seats = Seats::default();
        let mut polite = seats.take(1).expect("room");
        let mut greedy: Vec<_> = (1..MAX_SEATS).map(|_| seats.take(2).expect("room")).collect();
        let _busy = greedy[0].place().begin(Manner::Quick).expect("room");
        drop(greedy[1].place().begin(Manner::Quick).expect("room"));
        let newcomer = seats.take(3).expect("a seat is given up");
        let gone = |seat: &mut Seat| seat.given_up().now_or_never().is_some();
        let given_up: Vec<usize> = (0..greedy.len()).filter(|at| gone(&mut greedy[*at])).collect();
        assert_eq!(given_up, [2], "neither the one with a request nor the one that had one last");
        assert!(!gone(&mut polite));
        assert!(matches!(greedy[2].place().begin(Manner::Quick), Err(ApiError::Crowded { .. })));
        drop(newcomer);
    }

    /// Invariants 1 and 2.
    #[test]
    fn a_request_under_way_is_never_given_up() {
        let seats = Seats::default();
        let sitting: Vec<_> = (0..MAX_SEATS).map(|_| seats.take(1).expect("room")).collect();
        let duties: Vec<_> = sitting.iter().map(|seat| seat.place().begin(Manner::Quick).expect("room")).collect();
        assert!(seats.take(2).is_none());
        drop(duties);
        assert!(seats.take(2).is_some());
    }

    /// Invariant 1.
    #[test]
    fn long_requests_leave_room_for_quick_ones_and_one_process_for_others() {
        let seats = Seats::default();
        let mut sitting = Vec::new();
        let mut long = |process, count| {
            let begun = (0..count).filter_map(|_| {
                let seat = seats.take(process).expect("room");
                let duty = seat.place().begin(Manner::Long).ok()?;
                Some((seat, duty))
            });
            let begun: Vec<_> = begun.collect();
            let count = begun.len();
            sitting.extend(begun);
            count
        };
        assert_eq!(long(1, 100), MAX_LONG_SHARE);
        assert_eq!(long(2, 50), 50);
        assert_eq!(long(3, 100), MAX_LONG - MAX_LONG_SHARE - 50);
        let quick = seats.take(1).expect("room");
        assert!(quick.place().begin(Manner::Quick).is_ok());
    }
}
