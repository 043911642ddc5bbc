//! Audit of nonces: which keys have sealed under which nonces. It is for a simulation, which sees the keys of every
//! device and so can find what nobody else can.
//!
//! A key that is used twice with the same nonce gives both plaintexts away, and with them the key of the authentication
//! tag. So every sealing cipher of [`crate::identity`] reports here, if auditing has been started on its thread. A
//! device never starts it, and pays one look at a flag. Of a key only a mark is kept, from which the key cannot be
//! recovered.
//!
//! Ciphers count upwards from zero. So the next counter of each key is kept, and a lower counter is a repeated one: a
//! key that is made a second time begins at zero a second time.
//!
//! Invariants
//! 1. A counter that is used twice under one key is found, whichever device seals and however often that device has
//!    been restarted.

use crate::identity::kdf;
use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    static BOOK: RefCell<Option<Book>> = const { RefCell::new(None) };
}

/// The mark of a key in the audit; zero while auditing is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// What has been sealed since auditing began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// The next counter of each key that has sealed.
    next: BTreeMap<Mark, u64>,
    /// How many seals have been made.
    pub seals: u64,
    /// How many of the seals used a key and a counter that had been used before.
    pub repeated: u64,
}

impl Book {
    /// How many keys have sealed.
    pub fn keys(&self) -> usize {
        self.next.len()
    }
}

/// Starts auditing on this thread, with an empty book.
pub fn begin() {
    BOOK.set(Some(Book::default()));
}

/// Ends auditing on this thread and returns the book; `None` if auditing is off.
pub fn end() -> Option<Book> {
    BOOK.take()
}

/// Returns the mark of a new cipher's key.
pub(super) fn mark(key: &[u8; 32]) -> Mark {
    if BOOK.with_borrow(Option::is_none) {
        return Mark::default();
    }
    Mark(u64::from_be_bytes(kdf::tag(key, "audit", &[])) | 1)
}

/// Records that the cipher of a marked key seals under a counter.
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

    /// Invariant 1.
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
