//! Every wire type, chosen by the first byte and made from the rest: decodes to the same value; and with one byte
//! changed it is refused or another value.
#![no_main]

#[allow(dead_code)]
#[path = "../../wire/entropy.rs"]
mod entropy;
#[allow(dead_code)]
#[path = "../../wire/registry.rs"]
mod registry;
#[allow(dead_code)]
#[path = "../../wire/samples.rs"]
mod samples;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(([choice, place_high, place_low, to], entropy)) = bytes.split_first_chunk::<4>() else { return };
    let kind = &registry::TYPES[usize::from(*choice) % registry::TYPES.len()];
    let mut changed = (kind.round_trip)(entropy);
    let place = usize::from(u16::from_be_bytes([*place_high, *place_low])) % changed.len();
    changed[place] = *to;
    if let Ok(again) = (kind.again)(&changed) {
        assert_eq!(again, changed, "{} has two encodings", kind.name);
    }
});
