//! Seats: how many may be connected to the local API, and who gives way when all seats are taken.
//!
//! A connection takes a seat when it is accepted and keeps it until it ends. The seat is *waiting* until a whole request
//! has come over it, and again once that is answered; *quick* while a request is answered from what the node knows; *long*
//! while a request waits for others: a message under way, a stream.
//!
//! Nobody who connects is left hanging. When all seats are taken, one that is waiting is given up for the newcomer: of the
//! process that has most of them, the one that has waited the longest. When none is waiting, the newcomer is told so. Long
//! requests get a part of the seats only, and one process half of that part, so that room is left for quick ones.
//!
//! Invariants
//! 1. At most [`MAX_SEATS`] connections have a seat, of which at most [`MAX_LONG`] are long, [`MAX_LONG_SHARE`] by process.
//! 2. A seat with a request under way is never given up.

use super::error::ApiError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// All seats.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    seats: BTreeMap<u64, Taken>,
    /// Number of the last seat, and of the last change: what has waited the longest has the lowest.
    turn: u64,
}

#[derive(Debug)]
struct Taken {
    process: i32,
    state: State,
    /// Dropped when the seat is given up.
    _stay: oneshot::Sender<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Since this turn.
    Waiting(u64),
    Busy(Manner),
}

/// What a request is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Answered from what the node knows.
    Quick,
    /// Waits for others.
    Long,
}

/// Whoever has a seat; leaves it when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    at: Place,
    given_up: oneshot::Receiver<()>,
}

/// Which seat it is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    seats: Seats,
    number: u64,
}

/// A request under way; the seat is waiting again when this is dropped.
#[derive(Debug)]
pub(super) struct Duty(Place);

impl Seats {
    /// A seat for a connection of a process; `None` when every seat has a request under way.
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

    /// Long requests under way, and those of one process.
    fn long(&self, process: i32) -> (usize, usize) {
        let long = || self.seats.values().filter(|taken| taken.state == State::Busy(Manner::Long));
        (long().count(), long().filter(|taken| taken.process == process).count())
    }
}

impl Seat {
    /// Which it is.
    pub(super) fn place(&self) -> Place {
        self.at.clone()
    }

    /// Ready when it is given up for a newcomer.
    pub(super) async fn given_up(&mut self) {
        // The other end is never used, only dropped.
        let _ = (&mut self.given_up).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.at.seats.table().seats.remove(&self.at.number);
    }
}

impl Place {
    /// Begins a request, which has come whole or is to be read as it comes.
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
        // It may be gone with its connection.
        if let Some(taken) = table.seats.get_mut(&self.0.number) {
            taken.state = State::Waiting(turn);
        }
    }
}

/// Connections served at a time.
pub(super) const MAX_SEATS: usize = 256;
/// Requests at a time that wait for others: messages under way, streams.
pub(super) const MAX_LONG: usize = 192;
/// Of these, those of one process.
pub(super) const MAX_LONG_SHARE: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

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

    #[test]
    fn a_request_under_way_is_never_given_up() {
        let seats = Seats::default();
        let sitting: Vec<_> = (0..MAX_SEATS).map(|_| seats.take(1).expect("room")).collect();
        let duties: Vec<_> = sitting.iter().map(|seat| seat.place().begin(Manner::Quick).expect("room")).collect();
        assert!(seats.take(2).is_none());
        drop(duties);
        assert!(seats.take(2).is_some());
    }

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
