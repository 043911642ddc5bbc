//! Properties of every wire type: what is encoded decodes, what decodes has one encoding, what is cut or random is
//! refused without a panic.

use super::entropy::Entropy;
use super::registry::{TYPES, Type};
use m2mesh::wire::codec::{self, gate};
use m2mesh::wire::data::{DataFrame, put_prefixed};
use m2mesh::wire::frame::{Frames, Kind, raw};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

/// Each case goes through every type, so this is some fifty times as many documents.
fn cases() -> ProptestConfig {
    ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() }
}

/// Prefixes tried of one document: all of a short one, some of a long one.
const MAX_PREFIXES: usize = 600;

fn one_encoding(kind: &Type, bytes: &[u8]) -> TestCaseResult {
    if let Ok(again) = (kind.again)(bytes) {
        prop_assert_eq!(again, bytes, "{} has two encodings", kind.name);
    }
    Ok(())
}

/// An item that passes the gate, of any shape: what a hostile sender would send.
fn item(from: &mut Entropy<'_>, depth: usize, out: &mut Vec<u8>) {
    let head = |major: u8, argument: u64, out: &mut Vec<u8>| {
        let (low, width) = match argument {
            0..=23 => (argument as u8, 0),
            24..=0xff => (24, 1),
            0x100..=0xffff => (25, 2),
            0x1_0000..=0xffff_ffff => (26, 4),
            _ => (27, 8),
        };
        out.push(major << 5 | low);
        out.extend_from_slice(&argument.to_be_bytes()[8 - width..]);
    };
    match from.byte() % if depth < 5 { 7 } else { 5 } {
        0 => head(0, from.number(), out),
        1 => head(1, from.number(), out),
        2 => {
            let length = from.one_of(&[0usize, 1, 2, 4, 8, 16, 32, 64]);
            head(2, length as u64, out);
            out.extend((0..length).map(|_| from.byte()));
        }
        3 => {
            let text = from.text(40);
            head(3, text.len() as u64, out);
            out.extend_from_slice(text.as_bytes());
        }
        4 => out.push(from.one_of(&[0xf4, 0xf5, 0xf6])),
        5 => {
            let count = usize::from(from.byte() % 6);
            head(4, count as u64, out);
            (0..count).for_each(|_| item(from, depth + 1, out));
        }
        _ => {
            let count = usize::from(from.byte() % 14);
            head(5, count as u64, out);
            let skip = u64::from(from.byte().is_multiple_of(8));
            for key in 0..count as u64 {
                head(0, key + skip, out);
                item(from, depth + 1, out);
            }
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_is_encoded_decodes_to_the_same(entropy in vec(any::<u8>(), 0..2_000)) {
        for kind in TYPES {
            let bytes = (kind.round_trip)(&entropy);
            prop_assert_eq!((kind.again)(&bytes), Ok(bytes), "{}", kind.name);
        }
    }

    #[test]
    fn every_cut_is_refused(entropy in vec(any::<u8>(), 0..400)) {
        for kind in TYPES {
            let bytes = (kind.round_trip)(&entropy);
            let step = bytes.len().div_ceil(MAX_PREFIXES).max(1);
            for end in (0..bytes.len()).step_by(step) {
                prop_assert!(gate(&bytes[..end]).is_err(), "{} cut at {end}", kind.name);
            }
            prop_assert!(gate(&[&bytes[..], &[0]].concat()).is_err(), "{} with a byte more", kind.name);
        }
    }

    #[test]
    fn a_mutation_is_refused_or_another_value(
        entropy in vec(any::<u8>(), 0..400), places in vec((any::<prop::sample::Index>(), any::<u8>()), 12)
    ) {
        for kind in TYPES {
            let bytes = (kind.round_trip)(&entropy);
            for (place, to) in &places {
                let mut mutated = bytes.clone();
                mutated[place.index(bytes.len())] = *to;
                one_encoding(kind, &mutated)?;
            }
        }
    }

    /// Invariant 1 of wire.
    /// Invariant 2 of wire::codec.
    #[test]
    fn whatever_passes_the_gate_has_one_encoding(entropy in vec(any::<u8>(), 0..2_000)) {
        let mut bytes = Vec::new();
        item(&mut Entropy::new(&entropy), 0, &mut bytes);
        prop_assert_eq!(gate(&bytes), Ok(()));
        TYPES.iter().try_for_each(|kind| one_encoding(kind, &bytes))?;
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = gate(&bytes);
        TYPES.iter().try_for_each(|kind| one_encoding(kind, &bytes))?;
        let _ = DataFrame::parse(&bytes);
        let _ = Frames(&bytes).count();
    }

    #[test]
    fn frames_split_as_they_were_joined(bodies in vec((any::<prop::sample::Index>(), vec(any::<u8>(), 0..200)), 0..20)) {
        let sent: Vec<_> = bodies.iter().map(|(kind, body)| (Kind::ALL[kind.index(Kind::ALL.len())], body)).collect();
        let buffer: Vec<u8> = sent.iter().flat_map(|(kind, body)| raw(*kind, body)).collect();
        let got: Vec<_> = Frames(&buffer).map(|frame| frame.expect("whole frames")).collect();
        prop_assert_eq!(got.len(), sent.len());
        for (got, (kind, body)) in got.iter().zip(&sent) {
            prop_assert_eq!((Kind::from_u8(got.kind), got.flags, got.body), (Some(*kind), 0, &body[..]));
        }
        if let Some(cut) = buffer.len().checked_sub(1) {
            prop_assert!(Frames(&buffer[..cut]).last().is_some_and(|last| last.is_err()));
        }
    }

    #[test]
    fn a_data_frame_keeps_its_parts(entropy in vec(any::<u8>(), 0..400), sealed in vec(any::<u8>(), 0..200)) {
        let header = (super::registry::of("Header").round_trip)(&entropy);
        let path = codec::encode(&m2mesh::wire::data::Path::default());
        let mut body = Vec::new();
        put_prefixed(&mut body, &header);
        put_prefixed(&mut body, &path);
        let prefix = body.len();
        body.extend_from_slice(&sealed);
        let frame = DataFrame::parse(&body).expect("it was built whole");
        prop_assert_eq!(frame.header_bytes, &header[..]);
        prop_assert_eq!(frame.sealed, &sealed[..]);
        for end in 0..prefix {
            prop_assert!(DataFrame::parse(&body[..end]).is_err());
        }
    }
}
