//! Failures: what the errors of libp2p mean here.

use super::super::admission::AdmissionError;
use super::super::handshake::Reason;
use libp2p::core::transport::TransportError;
use libp2p::swarm::{DialError, ListenError};
use std::io;

/// Returns the reason why admission refused an outbound connection, if it did.
pub(super) fn refusal(error: &DialError) -> Option<Reason> {
    match error {
        DialError::LocalPeerId { .. } => Some(Reason::Own),
        DialError::Transport(errors) => errors.iter().find_map(|(_, error)| match error {
            TransportError::Other(error) => of(error),
            TransportError::MultiaddrNotSupported(_) => None,
        }),
        _ => None,
    }
}

/// Returns the reason why admission refused an inbound connection, if it did.
pub(super) fn met_by(error: &ListenError) -> Option<Reason> {
    match error {
        ListenError::Transport(TransportError::Other(error)) => of(error),
        _ => None,
    }
}

fn of(error: &io::Error) -> Option<Reason> {
    match error.get_ref()?.downcast_ref()? {
        AdmissionError::Refused(reason) => Some(*reason),
        _ => None,
    }
}

/// Returns the text of an error and of all its causes, which libp2p's own texts leave out.
pub(super) fn cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = if text.is_empty() { error.to_string() } else { format!("{text}: {error}") };
        source = error.source();
    }
    text
}
