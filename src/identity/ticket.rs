//! Ticket: tickets as text, which an operator copies from one screen to another.
//!
//! The text is `m2m1`, then lower-case base32 (RFC 4648, unpadded) of the encoded ticket and the first four bytes of
//! its SHA-256. White space and capitals do no harm. Errors distinguish a text that is no ticket from one that was
//! mistyped, is of another version, or has expired.

use crate::identity::kdf;
use crate::time::Unix;
use crate::wire::codec::decode_within;
use crate::wire::encode;
use crate::wire::ticket::{MAX_TICKET, PREFIX, Ticket};
use data_encoding::BASE32_NOPAD;

/// Why a text is no ticket that this device can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The text does not begin like a ticket, or is too long for one.
    #[error("this is not a ticket; a ticket begins with {PREFIX} and is printed by `m2mesh realm invite`")]
    NotATicket,
    /// The checksum does not fit: the ticket was mistyped or cut off.
    #[error("the ticket was mistyped or cut off; copy it again, whole")]
    Mistyped,
    /// The ticket was made by another version.
    #[error("the ticket was made by another version of m2mesh ({0}); use the same version on both sides")]
    Version(String),
    /// The ticket has expired.
    #[error(
        "the ticket expired at {expired}, and this machine's clock says {now}; ask for a new one with `m2mesh realm invite`, or set the clock if it is wrong"
    )]
    Expired {
        /// The time at which the ticket expired.
        expired: Unix,
        /// The time by this machine's clock.
        now: Unix,
    },
}

/// Writes a ticket as text.
pub fn to_text(ticket: &Ticket) -> String {
    let mut bytes = encode(ticket);
    let checksum = checksum(&bytes);
    bytes.extend_from_slice(&checksum);
    format!("{PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}

/// Reads a ticket from text; `now` decides whether it has expired.
///
/// # Errors
/// The text is no ticket, was mistyped, is of another version, or has expired.
pub fn from_text(text: &str, now: Unix) -> Result<Ticket, TicketError> {
    if text.len() > MAX_TEXT {
        return Err(TicketError::NotATicket);
    }
    let text: String = text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_uppercase()).collect();
    let prefix = PREFIX.to_ascii_uppercase();
    let Some(rest) = text.strip_prefix(&prefix) else {
        let name = &prefix[..prefix.len() - 1];
        return Err(match text.strip_prefix(name).and_then(|rest| rest.chars().next()) {
            Some(version) if version.is_ascii_digit() => TicketError::Version(version.to_string()),
            _ => TicketError::NotATicket,
        });
    };
    let bytes = BASE32_NOPAD.decode(rest.as_bytes()).map_err(|_| TicketError::Mistyped)?;
    let (encoded, found) = bytes.split_last_chunk::<CHECKSUM>().ok_or(TicketError::Mistyped)?;
    if *found != checksum(encoded) {
        return Err(TicketError::Mistyped);
    }
    let ticket: Ticket = decode_within(encoded, MAX_TICKET).map_err(|_| TicketError::Version("1, changed".into()))?;
    if ticket.version != VERSION {
        return Err(TicketError::Version(ticket.version.to_string()));
    }
    if now.seconds() > ticket.expires {
        return Err(TicketError::Expired { expired: Unix::from_seconds(ticket.expires), now });
    }
    Ok(ticket)
}

/// The version of tickets that this node reads and writes.
pub const VERSION: u8 = 1;
/// Longest text that is read, in bytes: base32 of the longest ticket, with room for line breaks.
const MAX_TEXT: usize = 2 * MAX_TICKET;
/// Bytes of the checksum: one mistyped ticket in four thousand million passes.
const CHECKSUM: usize = 4;

fn checksum(encoded: &[u8]) -> [u8; CHECKSUM] {
    let full = kdf::sha256(&[encoded]);
    [full[0], full[1], full[2], full[3]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{AgreementKey, IssuerId, RealmId};

    const NOW: Unix = Unix(1_800_000_000_000_000);

    fn ticket() -> Ticket {
        Ticket {
            version: VERSION,
            realm: RealmId([1; 32]),
            issuer: IssuerId([2; 8]),
            seal: AgreementKey([3; 32]),
            secret: [4; 32],
            expires: NOW.seconds() + 60,
            addresses: vec!["/ip4/192.0.2.1/tcp/7411".into()],
        }
    }

    #[test]
    fn a_ticket_survives_capitals_and_line_breaks() {
        let text = to_text(&ticket());
        assert!(text.starts_with("m2m1") && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()));
        assert_eq!(from_text(&text, NOW), Ok(ticket()));
        assert_eq!(from_text(&format!(" {}\n{}\n", &text[..40], text[40..].to_uppercase()), NOW), Ok(ticket()));
    }

    #[test]
    fn every_error_says_which() {
        let text = to_text(&ticket());
        assert_eq!(from_text("hello", NOW), Err(TicketError::NotATicket));
        assert_eq!(from_text("", NOW), Err(TicketError::NotATicket));
        assert_eq!(from_text(&"m2m1".repeat(MAX_TEXT), NOW), Err(TicketError::NotATicket));
        assert_eq!(from_text(&text[..text.len() - 3], NOW), Err(TicketError::Mistyped));
        assert_eq!(from_text("m2m1", NOW), Err(TicketError::Mistyped));
        assert_eq!(from_text(&text.replacen("m2m1", "m2m7", 1), NOW), Err(TicketError::Version("7".into())));
        let late = Unix::from_seconds(ticket().expires + 1);
        assert!(matches!(from_text(&text, late), Err(TicketError::Expired { .. })));
        let other = to_text(&Ticket { version: 2, ..ticket() });
        assert_eq!(from_text(&other, NOW), Err(TicketError::Version("2".into())));
    }

    #[test]
    fn one_wrong_letter_anywhere_is_noticed() {
        let text = to_text(&ticket());
        for at in PREFIX.len()..text.len() - 1 {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'a' { b'b' } else { b'a' };
            let changed = String::from_utf8(changed).expect("still ASCII");
            assert_eq!(from_text(&changed, NOW), Err(TicketError::Mistyped), "letter {at}");
        }
    }
}
