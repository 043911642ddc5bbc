//! Every wire type, chosen by the first byte. The rest is either its encoding, or what a value is made of that is
//! encoded and changed at one place: what decodes encodes to the same bytes.
#![no_main]

#[allow(dead_code)]
#[path = "../../it/wire/entropy.rs"]
mod entropy;
#[allow(dead_code)]
#[path = "../../it/wire/registry.rs"]
mod registry;
#[allow(dead_code)]
#[path = "../../it/wire/samples.rs"]
mod samples;

use libfuzzer_sys::fuzz_target;
use registry::{TYPES, Type};

fuzz_target!(|bytes: &[u8]| {
    let Some(([choice, mode], bytes)) = bytes.split_first_chunk::<2>() else { return };
    let kind = &TYPES[usize::from(*choice) % TYPES.len()];
    if mode % 2 == 0 {
        return one_encoding(kind, bytes);
    }
    let Some(([place_high, place_low, to], entropy)) = bytes.split_first_chunk::<3>() else { return };
    let mut changed = (kind.round_trip)(entropy);
    let place = usize::from(u16::from_be_bytes([*place_high, *place_low])) % changed.len();
    changed[place] = *to;
    one_encoding(kind, &changed);
});

fn one_encoding(kind: &Type, bytes: &[u8]) {
    if let Ok(again) = (kind.again)(bytes) {
        assert_eq!(again, bytes, "{} has two encodings", kind.name);
    }
}
