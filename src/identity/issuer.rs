//! Issuer: answers requests for credentials.
//!
//! An answer takes these steps, in this order; the first step that fails gives the answer:
//! 1. The hello names this realm and this issuer.
//! 2. The request opens, decodes, is for this realm and issuer, and is signed by its signer. From here on the answer is
//!    sealed to the request's key.
//! 3. At a first enrolment the ticket is known, unused (or used by these very keys) and not expired; the ledger makes
//!    the device, durably. At a renewal the ledger knows the renewal key, and the device is not revoked. Before
//!    anything is written, every Ed25519 key among those of the epochs must have signed the request, which proves that
//!    the requester holds it.
//! 4. The epochs asked for are within one batch of the present one.
//! 5. The ledger notes how far the credentials reach, and for which keys they are, durably, before any of them leaves:
//!    a revocation must last as long as the last of them. Nothing is granted for an epoch that was granted to other
//!    keys of this device, or for a key of another device; the same keys are granted again.
//! 6. For each epoch the handle is computed and the device's id sealed *here*, so that nobody can have another's handle
//!    certified; then the credential is signed. The answer holds sealed ids and signatures only; the device assembles
//!    the rest itself. So are the permits of the groups that it may publish to ([`permit`](super::permit)).

use crate::id::{AgreementKey, DeviceId, IssuerId, Name, OuterId, Pseudonym, RealmId, Signature};
use crate::identity::bulletin::{CREDENTIAL_VERSION, VerifiedBulletin};
use crate::identity::certified::EPOCH_KEYS;
use crate::identity::group_tree::{GroupTree, Reached};
use crate::identity::handle::DayKey;
use crate::identity::kdf::{self, Secret, label};
use crate::identity::ledger::{DeviceRecord, Enrolled, Enrolment, Ledger, LedgerError, Note, Noted};
use crate::identity::mail::prekey_is_signed;
use crate::identity::realm::IssuerSecrets;
use crate::identity::seal::{self, SealError};
use crate::identity::sign;
use crate::time::{Day, Epoch, EpochLength, Unix};
use crate::wire::bulletin::GroupVersion;
use crate::wire::contact::ContactCard;
use crate::wire::credential::{CONTEXT as CREDENTIAL_CONTEXT, Credential};
use crate::wire::enrol_relay::{CONTEXT as PIECE_CONTEXT, EnrolAnswer, PIECE};
use crate::wire::enrolment::{
    Answer, CONTEXT, Grant, GroupKeyGrant, KEY_CONTEXT, MAX_CARDS, MAX_DOCUMENTS, MAX_REQUEST, Refusal, Request,
    SignedRequest,
};
use crate::wire::hello::{EnrolHello, EnrolReply};
use crate::wire::{codec::decode_within, decode, encode};
use core::fmt;
use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use serde_bytes::ByteBuf;
use std::sync::Arc;
use x25519_dalek::StaticSecret;

mod permits;
mod revoking;
mod versions;

pub use permits::publishing_generation;
pub use revoking::{LEAD, RevokeError, Revoking, Taken};

/// Signs credentials for the devices of a ledger.
pub struct Issuer {
    realm: RealmId,
    id: IssuerId,
    signing: SigningKey,
    seal: StaticSecret,
    resolve: Secret,
    tree: GroupTree,
}

/// An answer, and what the event log says of it.
#[derive(Debug)]
pub struct Answered {
    /// The reply for the device.
    pub reply: EnrolReply,
    /// The device that was served, or the reason of the refusal.
    pub outcome: Result<Served, Refusal>,
}

/// A device that was served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The device's name.
    pub name: Name,
    /// Whether it is new to the realm.
    pub new: bool,
}

impl Issuer {
    /// Makes the issuer of a realm that holds these secrets.
    pub fn new(realm: RealmId, secrets: &IssuerSecrets) -> Self {
        Self {
            realm,
            id: secrets.id(),
            signing: SigningKey::from_bytes(&secrets.signing),
            seal: StaticSecret::from(*secrets.seal),
            resolve: secrets.resolve.clone(),
            tree: GroupTree::new(secrets.tree.clone()),
        }
    }

    /// Answers an enrolment or renewal request, in the steps of the module's documentation.
    pub fn answer(
        &self,
        hello: &EnrolHello,
        ledger: &mut dyn Ledger,
        bulletin: &VerifiedBulletin,
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Answered {
        let asked = match self.open(hello) {
            Ok(asked) => asked,
            Err(refusal) => {
                return Answered { reply: EnrolReply { sealed: None, refused: Some(refusal) }, outcome: Err(refusal) };
            }
        };
        let (answer, outcome) = match self.grant(&asked, ledger, bulletin, now, rng) {
            Ok((grant, served)) => (Answer { granted: Some(grant), refused: None }, Ok(served)),
            Err(refusal) => (Answer { granted: None, refused: Some(refusal) }, Err(refusal)),
        };
        match seal::seal(rng, &asked.request.answer_key, label::ENROL_ANSWER, &encode(&answer)) {
            Ok(sealed) => Answered { reply: EnrolReply { sealed: Some(sealed), refused: None }, outcome },
            // The request names a weak key, to which nothing can be sealed.
            Err(_) => Answered {
                reply: EnrolReply { sealed: None, refused: Some(Refusal::Malformed) },
                outcome: Err(Refusal::Malformed),
            },
        }
    }

    /// Cuts the answer to a relayed request into signed pieces; each piece is valid for that request alone.
    pub fn pieces(&self, id: OuterId, hello: &EnrolHello, reply: &EnrolReply) -> Vec<Vec<u8>> {
        let (reply, request) = (encode(reply), kdf::sha256(&[&hello.sealed]));
        let pieces = u16::try_from(reply.len().div_ceil(PIECE)).unwrap_or(u16::MAX);
        let piece = |(piece, bytes)| {
            let answer = EnrolAnswer { id, request, piece, pieces, bytes };
            sign::sign_document(&self.signing, PIECE_CONTEXT, &encode(&answer))
        };
        (0..pieces).zip(reply.chunks(PIECE)).map(piece).collect()
    }

    /// Steps 1 and 2.
    fn open(&self, hello: &EnrolHello) -> Result<Asked, Refusal> {
        if hello.realm != self.realm || hello.issuer != self.id {
            return Err(Refusal::ForeignRealm);
        }
        if hello.sealed.len() > MAX_REQUEST {
            return Err(Refusal::Malformed);
        }
        let plain = seal::open(&self.seal, label::ENROL_REQUEST, &hello.sealed).map_err(|_| Refusal::Malformed)?;
        let signed: SignedRequest = decode_within(&plain, MAX_REQUEST).map_err(|_| Refusal::Malformed)?;
        let request: Request = decode(&signed.body).map_err(|_| Refusal::Malformed)?;
        let verified = sign::verify(&request.signer, CONTEXT, &signed.body, &signed.signature);
        if request.version != REQUEST_VERSION || !verified || !request.epochs.len().is_multiple_of(EPOCH_KEYS) {
            return Err(Refusal::Malformed);
        }
        if request.realm != self.realm || request.issuer != self.id {
            return Err(Refusal::ForeignRealm);
        }
        Ok(Asked { request, body: signed.body, proofs: signed.proofs })
    }

    /// Steps 3 to 6.
    fn grant(
        &self,
        asked: &Asked,
        ledger: &mut dyn Ledger,
        bulletin: &VerifiedBulletin,
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<(Grant, Served), Refusal> {
        let request = &asked.request;
        let (device, new) = self.device(asked, ledger, now, rng)?;
        if device.revoked {
            return Err(Refusal::Revoked);
        }
        if !request.prekey.as_ref().is_none_or(|prekey| prekey_is_signed(prekey, &device.renewal)) {
            return Err(Refusal::Malformed);
        }
        let epochs = granted_epochs(request, &device, now)?;
        let until = device.epoch_length.start(epochs.end).seconds();
        let until = if epochs.is_empty() { device.until } else { until };
        let note = Note {
            device: &device.device,
            generation: device.generation,
            until,
            prekey: request.prekey.as_ref(),
            first: epochs.start,
            keys: &request.epochs[..EPOCH_KEYS * (epochs.end.0 - epochs.start.0) as usize],
            now: now.seconds(),
        };
        match ledger.note(&note).map_err(unavailable)? {
            Noted::Done => {}
            Noted::KeyTaken => return Err(Refusal::KeyTaken),
            Noted::Revoked => return Err(Refusal::Revoked),
            // Somebody was cut off in this moment; it is answered by what holds now.
            Noted::Moved => return self.grant(asked, ledger, bulletin, now, rng),
        }
        let cards = ledger.contacts(&device.device, MAX_CARDS).map_err(unavailable)?;
        let cards = cards.iter().flat_map(|contact| self.cards(contact, bulletin, now)).take(MAX_CARDS).collect();
        let path = self.tree.path(device.leaf).ok_or(Refusal::Unavailable)?;
        let first_day = device.epoch_length.start(epochs.start).day_since(bulletin.body().founded);
        let key = self.day_key(&device, first_day).ok_or(Refusal::Epochs)?;
        let served = Served { name: device.name.clone(), new };
        let grant = Grant {
            name: device.name.clone(),
            device: device.device,
            generation: device.generation,
            day: key.day(),
            resolution_key: **key.key(),
            epoch_length: device.epoch_length,
            first_epoch: epochs.start,
            segments: device.segments.to_be_bytes(),
            roles: device.roles.to_be_bytes(),
            epochs: self.sign_epochs(request, &device, key, epochs, bulletin, rng)?,
            bulletin: bulletin.signed().to_vec(),
            group_keys: self.group_keys(&device, bulletin),
            documents: if request.keys.is_some() { documents(bulletin) } else { Vec::new() },
            path,
            cards,
            time: now.seconds(),
            permits: self.permits(&device, ledger, bulletin, now)?,
        };
        Ok((grant, served))
    }

    /// Step 3: returns the device that asks, and whether it is new.
    fn device(
        &self,
        asked: &Asked,
        ledger: &mut dyn Ledger,
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<(DeviceRecord, bool), Refusal> {
        let request = &asked.request;
        let Some(keys) = &request.keys else {
            let device = ledger.device(&request.signer).map_err(unavailable)?.ok_or(Refusal::UnknownDevice)?;
            return if asked.proves_keys() { Ok((device, false)) } else { Err(Refusal::Malformed) };
        };
        let ticket = ledger.ticket(&request.signer).map_err(unavailable)?.ok_or(Refusal::UnknownTicket)?;
        if !asked.proves_keys() {
            return Err(Refusal::Malformed);
        }
        // A retry by the device that has used the ticket is answered even after the ticket's time: it is enrolled
        // already.
        let known = ledger.device(&keys.renewal).map_err(unavailable)?;
        let is_retry = known.is_some_and(|device| device.ticket == ticket.key);
        if ticket.expires == 0 && !is_retry {
            // Withdrawn.
            return Err(Refusal::UnknownTicket);
        }
        if now.seconds() > ticket.expires && !is_retry {
            return Err(Refusal::TicketExpired);
        }
        let mut id = DeviceId([0; DeviceId::LEN]);
        rng.fill_bytes(&mut id.0);
        let enrolment = Enrolment { ticket: &ticket, keys, id, now: now.seconds() };
        match ledger.enrol(&enrolment).map_err(unavailable)? {
            Enrolled::New(device) => Ok((device, true)),
            Enrolled::Again(device) => Ok((device, false)),
            Enrolled::TicketUsed => Err(Refusal::TicketUsed),
            Enrolled::KeyTaken => Err(Refusal::Malformed),
            Enrolled::Withdrawn => Err(Refusal::UnknownTicket),
        }
    }

    /// Step 6.
    fn sign_epochs(
        &self,
        request: &Request,
        device: &DeviceRecord,
        mut key: DayKey,
        epochs: core::ops::Range<Epoch>,
        bulletin: &VerifiedBulletin,
        rng: &mut ChaCha20Rng,
    ) -> Result<Vec<u8>, Refusal> {
        let (length, body) = (device.epoch_length, bulletin.body());
        let mut out = Vec::new();
        for (epoch, keys) in (epochs.start.0..epochs.end.0).map(Epoch).zip(request.epochs.chunks_exact(EPOCH_KEYS)) {
            key = key.at(length.start(epoch).day_since(body.founded)).ok_or(Refusal::Epochs)?;
            let (public, agreement) = keys.split_at(32);
            let sealed_id = self.seal_id(device.device, epoch, &body.auditor, rng).map_err(|_| Refusal::Unavailable)?;
            let credential = Credential {
                version: CREDENTIAL_VERSION,
                realm: self.realm,
                issuer: self.id,
                epoch,
                epoch_length: seconds(length),
                segments: device.segments.to_be_bytes(),
                roles: device.roles.to_be_bytes(),
                key: Pseudonym::from_slice(public).ok_or(Refusal::Malformed)?,
                agreement: AgreementKey::from_slice(agreement).ok_or(Refusal::Malformed)?,
                handle: key.handle(epoch, length, body.founded).ok_or(Refusal::Epochs)?,
                sealed_id,
            };
            out.extend_from_slice(&credential.sealed_id);
            out.extend_from_slice(&sign::sign(&self.signing, CREDENTIAL_CONTEXT, &encode(&credential)).0);
        }
        Ok(out)
    }

    fn seal_id(
        &self,
        device: DeviceId,
        epoch: Epoch,
        auditor: &AgreementKey,
        rng: &mut ChaCha20Rng,
    ) -> Result<Vec<u8>, SealError> {
        let mut plain = [0; 24];
        plain[..16].copy_from_slice(&device.0);
        plain[16..].copy_from_slice(&epoch.0.to_be_bytes());
        seal::seal(rng, auditor, label::SEALED_ID, &plain)
    }

    /// A device's cards as of today: of the generations before under which it may have credentials, and of the present one.
    fn cards(&self, device: &DeviceRecord, bulletin: &VerifiedBulletin, now: Unix) -> Vec<ContactCard> {
        let drained = revoking::drained(device.epoch_length).as_secs();
        let former = device.reaches().into_iter().filter(|reach| {
            reach.generation < device.generation && reach.until.saturating_add(drained) > now.seconds()
        });
        let mut generations: Vec<u32> = former.map(|reach| reach.generation).chain([device.generation]).collect();
        generations.sort_unstable();
        let card = |generation| self.card(&DeviceRecord { generation, ..device.clone() }, bulletin, now);
        generations.into_iter().filter_map(card).collect()
    }

    /// A device's card of its generation.
    fn card(&self, device: &DeviceRecord, bulletin: &VerifiedBulletin, now: Unix) -> Option<ContactCard> {
        let key = self.day_key(device, now.day_since(bulletin.body().founded))?;
        Some(ContactCard {
            name: device.name.clone(),
            device: device.device,
            generation: device.generation,
            day: key.day(),
            resolution_key: **key.key(),
            contact_key: device.contact,
            epoch_length: device.epoch_length,
            signer: device.renewal,
            prekey: device.prekey.clone(),
        })
    }

    fn day_key(&self, device: &DeviceRecord, day: Day) -> Option<DayKey> {
        DayKey::first(&self.resolve, device.device, device.generation).at(day)
    }

    /// Returns the keys of all versions that a device is entitled to, so that it has them at once, whatever
    /// documents it has yet to fetch. A device whose leaf had been assigned when a version was made, and that the version does
    /// not reach, was excluded.
    fn group_keys(&self, device: &DeviceRecord, bulletin: &VerifiedBulletin) -> Vec<GroupKeyGrant> {
        let grant = |document: &GroupVersion| {
            let entitled = device.may_have(&Reached::of(document));
            let key = self.tree.open(document).filter(|_| entitled)?;
            let restriction = document.group.zip(document.restriction.as_ref());
            let publishing = restriction
                .map(|(group, restriction)| self.tree.publishing_key(group, restriction.generation).to_granted());
            Some(GroupKeyGrant { group: document.group, version: document.version, key: *key, publishing })
        };
        bulletin.group_versions().filter_map(|(_, document)| grant(document?)).collect()
    }

    /// The issuer's id in credentials.
    pub fn id(&self) -> IssuerId {
        self.id
    }

    /// The key to which requests are sealed.
    pub fn seal_key(&self) -> AgreementKey {
        seal::agreement_public(&self.seal)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The version of requests that this node reads and writes.
pub const REQUEST_VERSION: u8 = 1;
/// Most epochs in a request.
pub const MAX_EPOCHS: usize = 168;

/// Encodes an epoch's length as credentials hold it, in seconds.
pub(super) fn seconds(length: EpochLength) -> [u8; 4] {
    u32::try_from(length.seconds()).unwrap_or(u32::MAX).to_be_bytes()
}

/// Returns the documents that the bulletin names, as far as there is room: a realm's first devices have nobody else to
/// get them from.
fn documents(bulletin: &VerifiedBulletin) -> Vec<ByteBuf> {
    let mut room = MAX_DOCUMENTS;
    let fits = |document: &&Arc<[u8]>| {
        let fits = document.len() <= room;
        room -= if fits { document.len() } else { 0 };
        fits
    };
    bulletin.documents().filter(fits).map(|document| ByteBuf::from(&document[..])).collect()
}

/// A request that has been opened.
struct Asked {
    request: Request,
    /// The encoded body that was signed.
    body: Vec<u8>,
    proofs: Vec<u8>,
}

impl Asked {
    /// Whether every Ed25519 key among those of the epochs has signed the request. Its body names realm, issuer,
    /// signer, epochs and all keys, so that no proof is valid for another request.
    fn proves_keys(&self) -> bool {
        let mut keys: Vec<Pseudonym> = Vec::new();
        for key in self.request.epochs.chunks_exact(EPOCH_KEYS).filter_map(|keys| Pseudonym::from_slice(&keys[..32])) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let proofs = self.proofs.chunks_exact(Signature::LEN);
        let proves = |(key, proof): (&Pseudonym, &[u8])| {
            Signature::from_slice(proof).is_some_and(|proof| sign::verify(key, KEY_CONTEXT, &self.body, &proof))
        };
        self.proofs.len() == keys.len() * Signature::LEN && keys.iter().zip(proofs).all(proves)
    }
}

/// Step 4: returns the epochs that are granted: those asked for, at most a batch, and none further than a batch from
/// now. A request without a first epoch means the present one, for devices that do not know the time; if its answer was
/// lost and it is repeated later, it means the epoch that it meant then.
fn granted_epochs(request: &Request, device: &DeviceRecord, now: Unix) -> Result<core::ops::Range<Epoch>, Refusal> {
    let length = device.epoch_length;
    let asked = request.epochs.len() / EPOCH_KEYS;
    if asked > MAX_EPOCHS {
        return Err(Refusal::Epochs);
    }
    let present = length.epoch_at(now).0;
    let before = || {
        let from = Epoch(present.saturating_sub(1));
        let mut places = request.epochs.as_chunks::<EPOCH_KEYS>().0.iter().zip(0u64..);
        places.find_map(|(keys, place)| device.certified.epoch_of(keys, from)?.0.checked_sub(place))
    };
    let first = match request.first_epoch.0 {
        0 => before().unwrap_or(present),
        first if first.saturating_add(1) < present || first > present + length.batch() => return Err(Refusal::Epochs),
        first => first,
    };
    let end = (first + length.batch().min(asked as u64)).min(present + length.batch() + 1);
    Ok(Epoch(first)..Epoch(end.max(first)))
}

fn unavailable(error: LedgerError) -> Refusal {
    tracing::error!(%error, "the issuer's ledger does not answer");
    Refusal::Unavailable
}

#[cfg(test)]
mod tests;
