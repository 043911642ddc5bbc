//! A read buffer: splits into frames that join to the same bytes, or ends with one error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use m2mesh::wire::frame::{Frames, HEADER, MAX_FRAME};

fuzz_target!(|bytes: &[u8]| {
    let mut at = 0;
    let mut frames = Frames(bytes);
    while let Some(frame) = frames.next() {
        let Ok(frame) = frame else {
            assert!(frames.next().is_none(), "nothing comes after an error");
            return;
        };
        assert!(frame.body.len() + 2 <= MAX_FRAME);
        assert_eq!((bytes[at + 4], bytes[at + 5]), (frame.kind, frame.flags));
        assert_eq!(&bytes[at + HEADER..at + HEADER + frame.body.len()], frame.body);
        at += HEADER + frame.body.len();
    }
    assert_eq!(at, bytes.len());
});
