//! What a decoder must refuse: each is one step away from something valid.

use super::Vector;
use m2mesh::wire::data::{Class, Form, Header, Policy};
use m2mesh::wire::encode;

pub fn vectors() -> Vec<Vector> {
    let v = Vector::raw;
    let header = encode(&Header {
        to: m2mesh::id::Handle([1; 16]),
        class: Class::Bulk,
        form: Form::Session,
        expiry: 1,
        policy: Policy::default(),
        segment: 0,
        mail: None,
    });
    vec![
        v("empty", "Ping", "nothing at all", vec![]),
        v("not-shortest", "Ping", "23 in two bytes", vec![0xa1, 0x00, 0x18, 0x17]),
        v("not-shortest-length", "Ping", "the map's count in two bytes", vec![0xb8, 0x01, 0x00, 0x07]),
        v("not-shortest-key", "Ping", "key 0 in two bytes", vec![0xa1, 0x18, 0x00, 0x07]),
        v("indefinite-map", "Ping", "an indefinite length", vec![0xbf, 0x00, 0x07, 0xff]),
        v("indefinite-bytes", "Witness", "an indefinite byte string", vec![0xa1, 0x00, 0x5f, 0x41, 0x00, 0xff]),
        v("duplicate-key", "Ping", "key 0 twice", vec![0xa2, 0x00, 0x07, 0x00, 0x07]),
        v(
            "keys-out-of-order",
            "LsaKey",
            "key 1 before key 0",
            [&[0xa2, 0x01, 0x01, 0x00, 0x50][..], &[0; 16]].concat(),
        ),
        v("text-key", "Ping", "the field's name as key", vec![0xa1, 0x65, b's', b't', b'a', b'm', b'p', 0x07]),
        v("negative-key", "Ping", "key -1", vec![0xa1, 0x20, 0x07]),
        v("unknown-field", "Ping", "a field that version 1 does not have", vec![0xa2, 0x00, 0x07, 0x01, 0x07]),
        v("missing-field", "Ping", "no field 0", vec![0xa0]),
        v("array-for-struct", "Ping", "fields as an array", vec![0x81, 0x07]),
        v(
            "null-for-absent",
            "EnrolReply",
            "field 1 is null instead of left out",
            vec![0xa2, 0x00, 0x41, 0x07, 0x01, 0xf6],
        ),
        v("variant-by-name", "Custody", "a variant's name instead of its number", {
            [&[0xa2, 0x00, 0x48][..], &[0; 8], &[0x01, 0x64], b"Kept"].concat()
        }),
        v("unknown-variant", "Custody", "verdict 4", [&[0xa2, 0x00, 0x48][..], &[0; 8], &[0x01, 0x04]].concat()),
        v("id-too-short", "CredentialRequest", "seven bytes", [&[0xa1, 0x00, 0x47][..], &[0; 7]].concat()),
        v("id-too-long", "CredentialRequest", "nine bytes", [&[0xa1, 0x00, 0x49][..], &[0; 9]].concat()),
        v(
            "bytes-as-array",
            "PathKeys",
            "a byte string as an array of integers",
            vec![0xa2, 0x00, 0x01, 0x01, 0x81, 0x07],
        ),
        v("bytes-as-text", "PathKeys", "a byte string as text", vec![0xa2, 0x00, 0x01, 0x01, 0x61, b'a']),
        v("float", "Ping", "7.0", vec![0xa1, 0x00, 0xf9, 0x47, 0x00]),
        v("tag", "Ping", "a tagged integer", vec![0xa1, 0x00, 0xc1, 0x07]),
        v("undefined", "Ping", "the simple value undefined", vec![0xa1, 0x00, 0xf7]),
        v("not-utf8", "Segment", "text that is not UTF-8", {
            [&[0xa3, 0x00, 0x01, 0x01, 0x61, 0xff, 0x02, 0x48][..], &[0; 8]].concat()
        }),
        v("trailing", "Ping", "a byte after the item", vec![0xa1, 0x00, 0x07, 0x00]),
        v("truncated", "Header", "a header without its last byte", header[..header.len() - 1].to_vec()),
        v("length-beyond-end", "PathKeys", "a byte string longer than what is there", {
            vec![0xa2, 0x00, 0x01, 0x01, 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]
        }),
        v("count-beyond-end", "HopAck", "an array longer than what is there", vec![0xa1, 0x00, 0x99, 0xff, 0xff]),
        v("too-deep", "Ping", "nine arrays in each other", [&[0x81; 9][..], &[0x07]].concat()),
        v("overflow", "Locate", "a ttl above 255", {
            [&[0xa3, 0x00, 0x48][..], &[0; 8], &[0x01, 0x50], &[0; 16], &[0x02, 0x19, 0x01, 0x00]].concat()
        }),
    ]
}
