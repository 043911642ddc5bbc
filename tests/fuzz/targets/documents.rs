//! Every wire type, chosen by the first byte: what decodes encodes to the same bytes.
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
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let kind = &registry::TYPES[usize::from(*choice) % registry::TYPES.len()];
    if let Ok(again) = (kind.again)(bytes) {
        assert_eq!(again, bytes, "{} has two encodings", kind.name);
    }
});
