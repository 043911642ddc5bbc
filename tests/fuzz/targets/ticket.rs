//! A ticket as text: what is read is written so that it reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use m2mesh::identity::ticket::{from_text, to_text};
use m2mesh::time::Unix;
use m2mesh::wire::decode;
use m2mesh::wire::ticket::Ticket;

fuzz_target!(|bytes: &[u8]| {
    let now = Unix(0);
    if let Ok(text) = core::str::from_utf8(bytes)
        && let Ok(ticket) = from_text(text, now)
    {
        assert_eq!(from_text(&to_text(&ticket), now), Ok(ticket));
    }
    // Few texts have the right checksum, so the same again from the encoding.
    if let Ok(ticket) = decode::<Ticket>(bytes) {
        let known = ticket.version == 1 && bytes.len() <= m2mesh::wire::ticket::MAX_TICKET;
        assert_eq!(from_text(&to_text(&ticket), now).is_ok(), known);
    }
});
