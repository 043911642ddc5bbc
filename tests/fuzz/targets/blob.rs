//! What is said about blobs in a sealed plaintext: within its bounds, or refused; and a chunk that is of no blob is of none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use m2mesh::blob::tree::{Shape, hash_of};
use m2mesh::wire::blob::{CHUNK, MAX_NAME, MAX_WANTED, Said};

fuzz_target!(|bytes: &[u8]| {
    let Ok(said) = Said::parse(bytes) else { return };
    let mut plain = Vec::new();
    said.put(&mut plain);
    assert_eq!(&plain[1..], bytes, "one thing said, one encoding");
    match said {
        Said::Want(want) => assert!((1..=MAX_WANTED).contains(&want.chunks.len())),
        Said::Offer(offer) => assert!(offer.name.len() <= MAX_NAME),
        Said::Chunk(head, bytes) => {
            assert!(bytes.len() <= CHUNK);
            if let Some(shape) = Shape::new(head.length)
                && shape.verify(&head.hash, head.chunk, bytes, &head.proof).is_some()
            {
                assert!(shape.chunks() > 1 || head.hash == hash_of(bytes));
            }
        }
        Said::Ask(_) | Said::Holds(_) | Said::Told(_) => {}
    }
});
