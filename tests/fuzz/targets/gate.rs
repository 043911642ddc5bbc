//! The gate: never panics, and what it lets through is one item that cannot be cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use m2mesh::wire::codec::gate;

fuzz_target!(|bytes: &[u8]| {
    if gate(bytes).is_ok() {
        assert!(gate(&bytes[..bytes.len() - 1]).is_err(), "an item without its last byte");
        assert!(gate(&[bytes, &[0]].concat()).is_err(), "an item with a byte more");
    }
});
