//! The life of a message: how it is sent, received once, confirmed, and how it ends.
//!
//! **Sending.** Every destination has a *stream*: a random id and consecutive sequence numbers from 1. A message
//! waits in the stream's queue of its [`lane`] until a batch takes it, and then stays *in flight* until a receipt comes,
//! its deadline passes, or the path breaks, upon which it is queued again under its old number. One that the receiver has
//! no room for stands aside for a moment (`put_off`). What has less time left than such messages take of late does not keep those behind it
//! from leaving (`headroom`). [`outgoing`] keeps all that, and gives every message exactly one end; [`retry`] says when one is sent again, `under_way` what that bears on; [`persisted`] says what the store must hold for it to outlive a restart.
//! What asks for no confirmation takes a shorter way, in a stream of its own: [`unconfirmed`].
//!
//! **Receiving.** [`dedupe`] keeps, for each sender's stream, a watermark, the runs settled above it, and what was settled
//! otherwise than by being accepted; they are committed together with what was delivered, so that a message that comes
//! again, even after a restart, is told what it was told the first time and not delivered again. The sender says with
//! every batch below which number everything has ended; the watermark moves there.
//!
//! **Groups.** A sender's messages to a group are a stream too. Its frames may come out of order, or be missing until
//! a neighbour is asked for them: [`reorder`] holds early ones back, at most until their deadline, then goes on without the missing.
//! [`ranges`] are the numbers of those that are there.
//! What a topic and a filter are, and which match, says [`topic`](crate::wire::topic).
//!
//! Invariants
//! 1. A message submitted ends exactly once (property-tested in [`outgoing`]).
//! 2. A sequence number has one verdict, and is accepted at most once in a stream's life (property-tested in
//!    [`dedupe`]).
//! 3. Within a stream and a lane, messages go out in the order in which they were submitted, but for those that have too
//!    little time left (`headroom`): they go behind the others.

pub mod cursors;
pub mod dedupe;
pub mod departure;
mod headroom;
pub mod holdings;
pub mod lane;
pub mod outgoing;
pub mod persisted;
mod put_off;
pub mod ranges;
pub mod reorder;
pub mod retry;
pub mod schedule;
pub mod sends;
mod stream;
pub mod unconfirmed;
mod under_way;
