//! Sender: who waits for the end of an outgoing message.

use crate::engine::api::Token;
use crate::id::Name;

/// Who waits for the end of an outgoing message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// The application, for the message's outcome; without a token after a restart, until it asks again.
    Message(Option<Token>, Name),
    /// The application, for a response to its request.
    Request(Token, Name),
    /// An anycast, by its number: the message asks a device whether it offers the service, or to keep a place free.
    Asking(u64, Name),
    /// Nobody: the message is this node's answer to a call.
    Answer,
}
