//! A sealed plaintext of messages, and what the store keeps of it: whole records within bounds, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use m2mesh::delivery::persisted::KeptRecord;
use m2mesh::engine::api::InboxRecord;
use m2mesh::wire::batch::{MAX_MESSAGES, MAX_PAYLOAD};
use m2mesh::wire::parcel::{Parcel, RECORD, Records, put_record, shorten};
use m2mesh::wire::{decode, encode};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(parcel) = Parcel::parse(bytes) {
        let mut again = Vec::new();
        for record in Records(parcel.records) {
            assert!(record.payload.len() <= MAX_PAYLOAD && record.earlier <= parcel.earliest);
            put_record(&mut again, record.earlier, record.payload);
        }
        assert_eq!(again, parcel.records, "every byte belongs to a record");
        let count = Records(parcel.records).count();
        assert!((1..=MAX_MESSAGES).contains(&count) && count == parcel.count as usize);
        let mut plain = Vec::new();
        Parcel::put(&parcel.head, parcel.records, &mut plain);
        assert_eq!(&plain[1..], bytes, "one parcel, one encoding");
    }
    // Bytes that are no records are walked without harm.
    let mut damaged = bytes.to_vec();
    shorten(&mut damaged, 1);
    assert!(Records(bytes).count() <= bytes.len() / RECORD);
    if let Ok(record) = decode::<InboxRecord<'_>>(bytes) {
        assert_eq!(encode(&record), bytes);
        assert_eq!(record.messages().count(), record.payloads().count());
    }
    if let Ok(record) = decode::<KeptRecord<'_>>(bytes) {
        assert_eq!(encode(&record), bytes);
    }
});
