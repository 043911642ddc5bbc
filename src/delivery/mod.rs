//! Delivery: the life of a message, from submission through sending, receiving once and confirmation to its end.
//!
//! **Sending.** A [`message`] is handed over with what it asks for, and handed back with its end. Every destination has a *stream*: a random id and consecutive sequence numbers from 1. A message waits
//! in the stream's queue of its [`lane`] until a batch takes it, and then stays *in flight* until a receipt comes, its
//! deadline passes, or the path breaks; in the last case it is queued again under its old number. A message that the
//! receiver has no room for is put off for a moment (`put_off`). A message that has less time left than deliveries have
//! taken lately does not delay those behind it (`headroom`). [`outgoing`] holds all of this, and gives every message
//! exactly one end; [`retry`] computes when a message is sent again, `under_way` keeps what has left; [`persisted`]
//! says what the store must hold for a message to outlive a restart. Messages that ask for no confirmation have a
//! simpler life, in a stream of their own: [`unconfirmed`]. What is not to leave yet waits before all of this: [`held`].
//!
//! **Custody.** What devices keep for receivers that are away lies in the boxes of a [`mailbox`].
//!
//! **Receiving.** [`dedupe`] keeps, for each sender's stream, a watermark, the runs settled above it, and the numbers
//! that were settled otherwise than by being accepted. They are committed together with what was delivered, so that a
//! message that arrives again, even after a restart, gets the same verdict as the first time and is not delivered
//! again. With every batch the sender states the number below which all its messages have ended; the watermark moves
//! there.
//!
//! **Groups.** A sender's messages to a group are a stream too. Its frames may arrive out of order, or be missing until
//! a neighbour is asked for them: [`reorder`] holds early frames back, at most until their deadline, and then goes on
//! without the missing ones. [`ranges`] is the set of numbers that are present. Topics, filters and how they match are
//! defined in [`topic`](crate::wire::topic).
//!
//! Invariants
//! 1. A submitted message ends exactly once (property-tested in [`outgoing`]).
//! 2. A sequence number has one verdict, and is accepted at most once in a stream's life (property-tested in
//!    [`dedupe`]).
//! 3. Within a stream and a lane, messages go out in the order in which they were submitted, except those that have too
//!    little time left (`headroom`), which go behind the others, and while a lane waits for a better way, the message
//!    that expires first, which goes before them.

pub mod cursors;
pub mod dedupe;
pub mod departure;
mod headroom;
pub mod held;
pub mod holdings;
pub mod lane;
pub mod mailbox;
pub mod message;
pub mod outgoing;
pub mod persisted;
mod put_off;
pub mod ranges;
pub mod reorder;
pub mod retry;
pub mod schedule;
pub mod sends;
mod slot;
mod stream;
pub mod unconfirmed;
mod under_way;
