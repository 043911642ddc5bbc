//! How to make every wire type from bytes. Fields are listed one by one, so that a new one does not compile until it
//! is sampled too.

use super::entropy::{Entropy, Sample};
use m2mesh::id::*;
use m2mesh::time::{Day, Epoch, EpochLength};
use m2mesh::wire::announce::Announce;
use m2mesh::wire::batch::{Ack, Batch, Message, Purpose};
use m2mesh::wire::bulletin::{
    Bulletin, BulletinRequest, Cover, GroupReference, GroupVersion, IssuerCertificate, Manager, Restriction,
    Revocation, Segment,
};
use m2mesh::wire::contact::{ContactCard, MailPrekey};
use m2mesh::wire::credential::Credential;
use m2mesh::wire::credential_exchange::CredentialRequest;
use m2mesh::wire::custody::{Custody, CustodyVerdict};
use m2mesh::wire::data::{Class, Form, Header, MailBox, Path, Policy};
use m2mesh::wire::document::{DocumentPiece, DocumentRequest};
use m2mesh::wire::enrol_relay::{EnrolAnswer, EnrolRelay};
use m2mesh::wire::enrolment::{
    Answer, DeviceKeys, Grant, GroupKeyGrant, PathKeys, Permits, Publishing, Refusal, Request, SignedRequest,
};
use m2mesh::wire::fragment::Fragment;
use m2mesh::wire::group::{GroupBatch, GroupFrame, GroupMessage};
use m2mesh::wire::group_repair::{Flow, GroupHave, GroupWant};
use m2mesh::wire::hello::{EnrolHello, EnrolReply, Hello};
use m2mesh::wire::locate::{Locate, Located};
use m2mesh::wire::lsa::{Lsa, LsaAccess, LsaDigest, LsaKey, LsaLink, LsaRequest};
use m2mesh::wire::mail::Mail;
use m2mesh::wire::offer::Offer;
use m2mesh::wire::opener::Opener;
use m2mesh::wire::parcel::Head;
use m2mesh::wire::ping::Ping;
use m2mesh::wire::receipt::{HopAck, Receipt, Receipts, SessionNack, Verdict};
use m2mesh::wire::rest::Rest;
use m2mesh::wire::signed::Signed;
use m2mesh::wire::successor::Successor;
use m2mesh::wire::ticket::Ticket;
use m2mesh::wire::time_beacon::{TimeBeacon, TimeRequest};
use m2mesh::wire::witness::Witness;
use serde_bytes::ByteBuf;

macro_rules! arrays {
    ($($id:ident)*) => {$(
        impl<'e> Sample<'e> for $id {
            fn sample(from: &mut Entropy<'e>) -> Self {
                $id(from.array())
            }
        }
    )*};
}
arrays!(RealmId DeviceId Pseudonym AgreementKey Handle IssuerId CredentialHash CredentialPrefix OuterId SessionId StreamId Tag Signature Permit);

macro_rules! choices {
    ($($choice:ident: $($variant:ident)*;)*) => {$(
        impl<'e> Sample<'e> for $choice {
            fn sample(from: &mut Entropy<'e>) -> Self {
                from.one_of(&[$($choice::$variant),*])
            }
        }
    )*};
}
choices! {
    Class: Alarm Control Telemetry Bulk;
    Form: Session Opener Mail Answer;
    Ack: None Hop End;
    Purpose: Request Reply Failure Enquiry Reservation Offer Interrupted BlobRequest BlobReply;
    Verdict: Delivered Expired InboxFull NoService ServiceBusy Forbidden NotStored PushOnly;
    CustodyVerdict: Kept OverQuota NotStored NoSuchBox;
    Refusal: UnknownTicket TicketUsed TicketExpired ForeignRealm UnknownDevice Revoked Epochs Malformed NoIssuer Busy Unavailable KeyTaken;
}

/// Structs: every field sampled by its type, or as said after `=`.
macro_rules! structs {
    (@field $from:ident) => { Sample::sample($from) };
    (@field $from:ident $how:expr) => { $how($from) };
    ($($name:ident $(<$life:lifetime>)? { $($field:ident $(= $how:expr)?),* $(,)? })*) => {$(
        impl<'e> Sample<'e> for $name $(<$life>)? {
            fn sample(from: &mut Entropy<'e>) -> Self {
                $name { $($field: structs!(@field from $($how)?)),* }
            }
        }
    )*};
}

fn array<'e, const N: usize>(from: &mut Entropy<'e>) -> [u8; N] {
    from.array()
}
fn signed(from: &mut Entropy<'_>) -> i64 {
    from.number().cast_signed()
}
fn bytes<'e>(from: &mut Entropy<'e>) -> &'e [u8] {
    from.bytes(512)
}
fn owned(from: &mut Entropy<'_>) -> Vec<u8> {
    from.bytes(512).to_vec()
}
fn text<'e>(from: &mut Entropy<'e>) -> &'e str {
    from.text(64)
}
fn string(from: &mut Entropy<'_>) -> String {
    from.text(64).to_owned()
}
fn some<'e, T: Sample<'e>>(from: &mut Entropy<'e>) -> Vec<T> {
    from.some()
}
fn maybe<'e, T: Sample<'e>>(from: &mut Entropy<'e>) -> Option<T> {
    from.maybe(T::sample)
}
fn name(from: &mut Entropy<'_>) -> Name {
    let letters: String = from.bytes(40).iter().map(|b| char::from(b'a' + b % 26)).collect();
    Name::new(format!("n{letters}-1")).expect("letters and a digit are a name")
}
fn addresses(from: &mut Entropy<'_>) -> Vec<ByteBuf> {
    from.times(|from| ByteBuf::from(from.bytes(40)))
}

impl<'e> Sample<'e> for Epoch {
    fn sample(from: &mut Entropy<'e>) -> Self {
        Self(from.number())
    }
}
impl<'e> Sample<'e> for (u64, u64) {
    fn sample(from: &mut Entropy<'e>) -> Self {
        (from.number(), from.number())
    }
}
impl<'e> Sample<'e> for Day {
    fn sample(from: &mut Entropy<'e>) -> Self {
        Self(Sample::sample(from))
    }
}
impl<'e> Sample<'e> for EpochLength {
    fn sample(from: &mut Entropy<'e>) -> Self {
        EpochLength::new(from.one_of(&[4, 60, 600, 3_600, 86_400])).expect("each divides a day")
    }
}

structs! {
    Signed<'e> { body = bytes, signature }
    InnerId { stream, sequence }
    Announce { forwarding, addresses = addresses, others = addresses, services = some, groups = some, area, process, set_forward = signed, push_only }
    Ping { stamp }
    BulletinRequest { have }
    Bulletin {
        format, version, realm, operator, founded, issued, next_update, epoch_length, auditor, issuers = some,
        revocations = some,
        groups = some, managers = some, segments = some,
    }
    IssuerCertificate { id, key, seal, not_before, not_after }
    Revocation { day, resolution_key = array, epoch_length, until }
    GroupReference { group = maybe, version, from, hash = array }
    Manager { key, rights = array, segments = array }
    GroupVersion { format, group = maybe, version, leaves, salt = array, cover = some, restriction = maybe }
    Restriction { generation, sealed = array }
    DocumentRequest { hash = array, piece }
    DocumentPiece<'e> { hash = array, piece, pieces, bytes = bytes }
    Cover { node, sealed = array }
    Segment { bit, name = string, reaches = array }
    CredentialRequest { hash }
    Credential {
        version, realm, issuer, epoch, epoch_length = array, segments = array, roles = array, key, agreement, handle,
        sealed_id = owned,
    }
    ContactCard {
        name = name, device, generation, day, resolution_key = array, contact_key, epoch_length, signer,
        prekey = maybe,
    }
    MailPrekey { day, key, signature }
    Request { version, realm, issuer, signer, keys = maybe, answer_key, first_epoch, epochs = owned, prekey = maybe }
    DeviceKeys { contact, renewal }
    SignedRequest { body = owned, signature, proofs = owned }
    Answer { granted = maybe, refused = maybe }
    Grant {
        name = name, device, generation, day, resolution_key = array, epoch_length, first_epoch, segments = array,
        roles = array, epochs = owned, bulletin = owned, path, group_keys = some,
        documents = addresses, cards = some, time, permits = some,
    }
    PathKeys { leaf, keys = owned }
    GroupKeyGrant { group = maybe, version, key = array, publishing = maybe }
    Publishing { generation, key = array }
    Permits { group, generation, permits = owned }
    EnrolRelay<'e> { id, hops, issuer, sealed = bytes }
    EnrolAnswer<'e> { id, request = array, piece, pieces, bytes = bytes }
    Ticket { version, realm, issuer, seal, secret = array, expires, addresses = |from: &mut Entropy<'_>| from.times(string) }
    Hello { lowest, highest, credential = owned, bulletin, seconds, process }
    EnrolHello { realm, issuer, sealed = owned }
    EnrolReply { sealed = |from: &mut Entropy<'_>| from.maybe(owned), refused = maybe }
    Successor { new = owned, proof = array }
    TimeBeacon { origin, time, error, nonce = array }
    TimeRequest { nonce = array }
    Lsa {
        origin, sequence, area, leaving, links = some, leaves = some, groups = some, services = some, borders = some,
        accesses = some,
    }
    LsaAccess { bearer, price, delay, deviation, success, energy, rate, mtu, leaves = owned }
    LsaLink { to, bearer, price, delay, deviation, success, energy, rate, mtu }
    LsaDigest { summary, entries = |from: &mut Entropy<'_>| from.maybe(some) }
    LsaKey { origin, sequence }
    LsaRequest { origins = some }
    Locate { id, handle, ttl, segments = array }
    Located {
        id, area, via = some, cost, delay,
        credential = |from: &mut Entropy<'_>| serde_bytes::ByteBuf::from(owned(from)),
    }
    Witness { commitment = array }
    Fragment<'e> { frame, piece, pieces, bytes = bytes }
    Header { to, class, form, expiry, policy, segment, mail = maybe }
    MailBox { day, tag }
    Policy { weights = array, budget = maybe, success = maybe, avoid = maybe, copies = maybe }
    Path { outer, hops = some, next, visited = some, spent, age }
    SessionNack { session, by, at }
    HopAck { frames = some }
    Receipts { receipts = some }
    Receipt { stream, verdict, ranges = some, visited = some, at }
    GroupFrame<'e> { epoch, sender, group, segment, version, sent, expiry, salt = array, counter, sealed = bytes, permit = maybe }
    GroupBatch<'e> { stream, first, began, ends, messages = some, pause, asks, rests, error = maybe }
    GroupMessage<'e> { topic = text, number, payload = bytes, request }
    Flow { group, sender, salt = array, ranges = some }
    GroupHave { flows = some, tell = some }
    GroupWant { flows = some }
    Batch<'e> { stream, floor, base, sent, ack, reply = some, messages = some }
    Head { stream, floor, base, sent, ack, reply = some, lifetime, error = maybe, push_only }
    Message<'e> {
        offset, purpose, payload = bytes, service = |from: &mut Entropy<'e>| from.maybe(text), replies_to = maybe,
        lifetime = maybe,
    }
    Offer { capacity, load, awake = |from: &mut Entropy<'_>| from.maybe(|from| [Sample::sample(from), Sample::sample(from)]) }
    Opener { session, suites, credential = owned, message = array }
    Mail<'e> { ephemeral, credential = bytes, sealed = bytes }
    Custody { frame, sealed = array, by, verdict, mailbox = maybe }
    Rest { parent, away }
}
