//! Who waits for the end of a message on its way out.

use crate::engine::api::Token;
use crate::id::Name;

/// Who waits for the end of a message on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// The application, for the message's outcome; nobody yet after a restart.
    Message(Option<Token>, Name),
    /// The application, for a response.
    Request(Token, Name),
    /// Nobody: it is our answer to a call.
    Answer,
}
