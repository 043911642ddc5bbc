//! What the errors of libp2p mean here.

use super::super::admission::AdmissionError;
use super::super::handshake::Reason;
use libp2p::core::transport::TransportError;
use libp2p::swarm::DialError;

/// Whether a dial has met the node itself.
pub(super) fn is_own(error: &DialError) -> bool {
    match error {
        DialError::LocalPeerId { .. } => true,
        DialError::Transport(errors) => errors.iter().any(|(_, error)| match error {
            TransportError::Other(error) => {
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
                matches!(inner, Some(AdmissionError::Refused(Reason::Own)))
            }
            TransportError::MultiaddrNotSupported(_) => false,
        }),
        _ => false,
    }
}

/// An error with all that caused it; libp2p's own texts leave that out.
pub(super) fn cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = if text.is_empty() { error.to_string() } else { format!("{text}: {error}") };
        source = error.source();
    }
    text
}
