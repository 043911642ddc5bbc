//! A data frame: what parses is, put together again, the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use m2mesh::wire::data::{DataFrame, MAX_HOPS, put_prefixed};
use m2mesh::wire::encode;

fuzz_target!(|bytes: &[u8]| {
    let Ok(frame) = DataFrame::parse(bytes) else { return };
    assert!(frame.path.hops.len() <= MAX_HOPS && frame.path.visited.len() <= MAX_HOPS);
    assert_eq!(encode(&frame.header), frame.header_bytes);
    let mut again = Vec::new();
    put_prefixed(&mut again, frame.header_bytes);
    put_prefixed(&mut again, &encode(&frame.path));
    again.extend_from_slice(frame.sealed);
    assert_eq!(again, bytes);
});
