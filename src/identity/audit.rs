//! Which keys have sealed under which nonces: for a simulation, which sees every device's keys and can so tell what nobody else can.
//!
//! A key and a nonce that come together twice give both plaintexts away, and with them the key of the tag. So every sealing
//! cipher of [`crate::identity`] says here what it does, if somebody on this thread has begun to watch; a device never does,
//! and pays a look at a flag. What is kept of a key is a mark, from which it cannot be told.
//!
//! Ciphers count upwards from zero. So of each key the next counter is kept, and a counter below it is one that comes again:
//! a key that was made a second time begins at zero a second time.
//!
//! Invariants
//! 1. A counter that comes again under one key is found, whichever device seals and whatever life of it.

use crate::identity::kdf;
use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    static BOOK: RefCell<Option<Book>> = const { RefCell::new(None) };
}

/// What a key is known by here; zero while nobody watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// What has been sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// Next counter of each key that has sealed.
    next: BTreeMap<Mark, u64>,
    /// Seals so far.
    pub seals: u64,
    /// Of these, under a key and counter that had been there.
    pub repeated: u64,
}

impl Book {
    /// Keys that have sealed.
    pub fn keys(&self) -> usize {
        self.next.len()
    }
}

/// From now on everything that this thread seals is watched.
pub fn begin() {
    BOOK.set(Some(Book::default()));
}

/// What has been sealed since, and no more from now on.
pub fn end() -> Option<Book> {
    BOOK.take()
}

/// What a new cipher's key is known by.
pub(super) fn mark(key: &[u8; 32]) -> Mark {
    if BOOK.with_borrow(Option::is_none) {
        return Mark::default();
    }
    Mark(u64::from_be_bytes(kdf::tag(key, "audit", &[])) | 1)
}

/// A cipher seals under a counter.
pub(super) fn note(mark: Mark, counter: u64) {
    if mark == Mark::default() {
        return;
    }
    BOOK.with_borrow_mut(|book| {
        let Some(book) = book else { return };
        book.seals += 1;
        let next = book.next.entry(mark).or_insert(0);
        if counter < *next {
            book.repeated += 1;
        }
        *next = (*next).max(counter + 1);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_under_one_key_is_found() {
        begin();
        let (one, other) = (mark(&[1; 32]), mark(&[2; 32]));
        assert_ne!(one, other);
        for (mark, counter) in [(one, 0), (one, 1), (other, 0), (other, 1)] {
            note(mark, counter);
        }
        note(mark(&[1; 32]), 0);
        let book = end().expect("it was watched");
        assert_eq!((book.keys(), book.seals, book.repeated), (2, 5, 1));
        assert_eq!((mark(&[1; 32]), end()), (Mark::default(), None), "nobody watches");
    }
}
