//! Every wire type by name, with what the tests do to it.

use super::entropy::{Entropy, Sample};
use m2mesh::wire::{self, DecodeError, codec};

/// One wire type.
pub struct Type {
    pub name: &'static str,
    /// A sample's encoding, after checking that it decodes to the same value.
    pub round_trip: fn(entropy: &[u8]) -> Vec<u8>,
    /// Decodes and encodes again.
    pub again: fn(bytes: &[u8]) -> Result<Vec<u8>, DecodeError>,
}

macro_rules! types {
    ($($path:ident :: $name:ident)*) => {
        /// All of them.
        pub const TYPES: &[Type] = &[$(Type {
            name: stringify!($name),
            round_trip: |entropy| {
                let value: wire::$path::$name = Sample::sample(&mut Entropy::new(entropy));
                let bytes = codec::encode(&value);
                let decoded: wire::$path::$name = codec::decode(&bytes).expect("what we encode decodes");
                assert!(decoded == value, "{} comes back changed: {value:?}", stringify!($name));
                bytes
            },
            again: |bytes| codec::decode::<wire::$path::$name>(bytes).map(|value| codec::encode(&value)),
        }),*];
    };
}

types! {
    signed::Signed announce::Announce ping::Ping bulletin::BulletinRequest bulletin::Bulletin bulletin::IssuerCertificate
    bulletin::Revocation bulletin::GroupReference bulletin::Manager bulletin::GroupVersion bulletin::Restriction document::DocumentRequest document::DocumentPiece bulletin::Segment credential_exchange::CredentialRequest
    credential::Credential contact::ContactCard contact::MailPrekey enrolment::Request enrolment::DeviceKeys
    enrolment::SignedRequest enrolment::Answer enrolment::Grant enrolment::PathKeys enrolment::GroupKeyGrant enrolment::Publishing enrolment::Permits enrol_relay::EnrolRelay
    enrol_relay::EnrolAnswer ticket::Ticket hello::Hello hello::EnrolHello hello::EnrolReply successor::Successor
    time_beacon::TimeBeacon time_beacon::TimeRequest lsa::Lsa lsa::LsaLink lsa::LsaDigest lsa::LsaKey lsa::LsaRequest fragment::Fragment locate::Locate
    locate::Located witness::Witness data::Header data::MailBox data::Policy data::Path receipt::SessionNack receipt::HopAck
    receipt::Receipts receipt::Receipt group::GroupFrame group::GroupBatch group::GroupMessage group_repair::Flow
    group_repair::GroupHave group_repair::GroupWant batch::Batch
    batch::Message offer::Offer parcel::Head opener::Opener mail::Mail custody::Custody rest::Rest
}

/// Of a name.
pub fn of(name: &str) -> &'static Type {
    TYPES.iter().find(|known| known.name == name).expect("a registered type")
}
