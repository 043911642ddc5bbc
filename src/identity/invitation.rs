//! Invitation: inviting devices, and enrolling them on the spot.
//!
//! [`invite`] makes a ticket for a device that is elsewhere. [`enrol_all`] plays both sides for devices that are made
//! where the issuer is: the operator's own first device, a local test network, a simulation. It takes the same steps as
//! any other enrolment (ticket, request, answer), only without a connection.

use crate::id::{DeviceId, Name, Pseudonym};
use crate::identity::anonymity::Anonymity;
use crate::identity::bulletin::{BulletinError, VerifiedBulletin};
use crate::identity::enrolment::{self, EnrolmentError, PendingEnrolment};
use crate::identity::issuer::{Issuer, RevokeError, Revoking};
use crate::identity::ledger::{Book, Contacts, Ledger, LedgerError, RevocationRecord, TicketRecord};
use crate::identity::membership::Membership;
use crate::identity::realm::{Founding, found};
use crate::identity::{seal, sign, ticket};
use crate::time::{EpochLength, Unix};
use crate::wire::enrolment::Refusal;
use crate::wire::ticket::{MAX_ADDRESSES, Ticket};
use core::time::Duration;
use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha20Rng;

mod steps;

/// What a device is invited to be, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The device's name.
    pub name: Name,
    /// The device's segments, a bit map as in credentials; [`DEFAULT_SEGMENT`] unless set.
    pub segments: u64,
    /// The device's roles, a bit map as in credentials.
    pub roles: u16,
    /// The devices that it is to be a contact of.
    pub contacts: Contacts,
    /// Length of the device's epochs; the realm's default if `None`.
    pub epoch_length: Option<EpochLength>,
    /// How long the ticket can be used.
    pub lifetime: Duration,
    /// Multiaddresses of members that relay the enrolment, as text; at most [`MAX_ADDRESSES`] are taken.
    pub addresses: Vec<String>,
    /// For a device that is enrolled on the spot: for how long it is known by one pseudonym.
    pub anonymity: Anonymity,
}

/// Why a device was not made on the spot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// The ledger cannot be read or written, or refuses the entry.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The issuer refused, or its answer does not pass the device's checks.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
    /// The bulletin does not verify.
    #[error(transparent)]
    Bulletin(#[from] BulletinError),
}

impl Invitation {
    /// An invitation for an ordinary device: the default segment, no roles, a day to use the ticket.
    pub fn new(name: Name, contacts: Contacts) -> Self {
        Self {
            name,
            segments: DEFAULT_SEGMENT,
            roles: 0,
            contacts,
            epoch_length: None,
            anonymity: Anonymity::Stable,
            lifetime: Duration::from_secs(86_400),
            addresses: Vec::new(),
        }
    }
}

/// Makes a ticket and enters it in the ledger.
///
/// # Errors
/// The name is taken, or the ledger cannot be read or written.
pub fn invite(
    issuer: &Issuer,
    ledger: &mut dyn Ledger,
    bulletin: &VerifiedBulletin,
    invitation: Invitation,
    now: Unix,
    rng: &mut ChaCha20Rng,
) -> Result<Ticket, LedgerError> {
    let Invitation { name, segments, roles, contacts, epoch_length, lifetime, mut addresses, anonymity: _ } =
        invitation;
    addresses.truncate(MAX_ADDRESSES);
    let secret = seal::random(rng);
    let key: Pseudonym = sign::public(&SigningKey::from_bytes(&secret));
    let expires = (now + lifetime).seconds();
    ledger.invite(TicketRecord {
        key,
        name,
        issued: now.seconds(),
        expires,
        epoch_length: epoch_length.unwrap_or(bulletin.epoch_length()),
        segments,
        roles,
        contacts,
    })?;
    Ok(Ticket {
        version: ticket::VERSION,
        realm: bulletin.realm(),
        issuer: issuer.id(),
        seal: issuer.seal_key(),
        secret: *secret,
        expires,
        addresses,
    })
}

/// Enrols devices on the spot, with credentials for `epochs` epochs each. All are entered in the ledger first, then
/// each is granted its credentials, so that every device has the cards of all of its contacts.
///
/// # Errors
/// The ledger refuses an entry, or the issuer a request.
pub fn enrol_all(
    issuer: &Issuer,
    ledger: &mut dyn Ledger,
    bulletin: &VerifiedBulletin,
    invitations: Vec<Invitation>,
    epochs: usize,
    now: Unix,
    rng: &mut ChaCha20Rng,
) -> Result<Vec<Membership>, InviteError> {
    let entered = enter_all(issuer, ledger, bulletin, invitations, epochs, now, rng)?;
    grant_all(issuer, ledger, bulletin, &entered, now, rng)
}

fn enter_all(
    issuer: &Issuer,
    ledger: &mut dyn Ledger,
    bulletin: &VerifiedBulletin,
    invitations: Vec<Invitation>,
    epochs: usize,
    now: Unix,
    rng: &mut ChaCha20Rng,
) -> Result<Vec<PendingEnrolment>, InviteError> {
    let mut entered = Vec::with_capacity(invitations.len());
    for invitation in invitations {
        let anonymity = invitation.anonymity;
        let ticket = invite(issuer, ledger, bulletin, invitation, now, rng)?;
        let join = enrolment::begin_join_for(&ticket, epochs, rng).with_anonymity(anonymity);
        let entering = join.without_epochs().hello(rng)?;
        issuer.answer(&entering, ledger, bulletin, now, rng).outcome.map_err(EnrolmentError::from)?;
        entered.push(join);
    }
    Ok(entered)
}

fn grant_all(
    issuer: &Issuer,
    ledger: &mut dyn Ledger,
    bulletin: &VerifiedBulletin,
    entered: &[PendingEnrolment],
    now: Unix,
    rng: &mut ChaCha20Rng,
) -> Result<Vec<Membership>, InviteError> {
    let mut members = Vec::with_capacity(entered.len());
    for join in entered {
        let answered = issuer.answer(&join.hello(rng)?, ledger, bulletin, now, rng);
        answered.outcome.map_err(EnrolmentError::from)?;
        let answer = answered.reply.sealed.ok_or(EnrolmentError::Refused(Refusal::Malformed))?;
        members.push(enrolment::finish_join(join, &answer)?);
    }
    Ok(members)
}

/// A whole realm in memory, for simulations and tests.
#[derive(Debug)]
pub struct MemoryRealm {
    /// The realm's keys and its first bulletin.
    pub founding: Founding,
    /// The realm's issuer.
    pub issuer: Issuer,
    /// The issuer's ledger.
    pub book: Book,
    /// The bulletin in force.
    pub bulletin: VerifiedBulletin,
    /// For how long devices that are enrolled from now on are known by one pseudonym.
    pub anonymity: Anonymity,
}

impl MemoryRealm {
    /// Founds a realm in memory.
    pub fn found(epoch_length: EpochLength, now: Unix, rng: &mut ChaCha20Rng) -> Result<Self, BulletinError> {
        let founding = found(rng, epoch_length, now)?;
        let issuer = Issuer::new(founding.operator.realm(), &founding.issuer);
        let bulletin = founding.bulletin.clone();
        Ok(Self { founding, issuer, book: Book::default(), bulletin, anonymity: Anonymity::Stable })
    }

    /// Enrols devices of these names, each a contact of everybody, with credentials for `epochs` epochs.
    pub fn enrol(
        &mut self,
        names: impl IntoIterator<Item = Name>,
        epochs: usize,
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<Vec<Membership>, InviteError> {
        let invitations = names
            .into_iter()
            .map(|name| Invitation { anonymity: self.anonymity, ..Invitation::new(name, Contacts::All) })
            .collect();
        enrol_all(&self.issuer, &mut self.book, &self.bulletin, invitations, epochs, now, rng)
    }

    /// As [`Self::enrol`], for a larger realm: two devices are contacts if `pairs` holds their places among the names.
    pub fn enrol_pairs(
        &mut self,
        names: &[Name],
        pairs: impl IntoIterator<Item = (usize, usize)>,
        epochs: usize,
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<Vec<Membership>, InviteError> {
        let anonymity = self.anonymity;
        let alone = |name: &Name| Invitation { anonymity, ..Invitation::new(name.clone(), Contacts::Some(Vec::new())) };
        let invitations = names.iter().map(alone).collect();
        let entered = enter_all(&self.issuer, &mut self.book, &self.bulletin, invitations, epochs, now, rng)?;
        for (one, other) in pairs {
            self.book.allow(&names[one], &names[other])?;
        }
        grant_all(&self.issuer, &mut self.book, &self.bulletin, &entered, now, rng)
    }

    /// Cuts devices off; the next bulletin, which holds from here on.
    pub fn revoke(
        &mut self,
        names: &[Name],
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<&VerifiedBulletin, RevokeError> {
        let named = |name: &Name| self.device(name).ok_or_else(|| LedgerError::NoName(name.clone()));
        let devices: Vec<DeviceId> = names.iter().map(named).collect::<Result<_, _>>()?;
        let record =
            RevocationRecord { at: now.seconds(), by: "operator".into(), reason: String::new(), bulletin: None };
        let Self { founding, issuer, book, bulletin, .. } = self;
        let revoking =
            Revoking { operator: &founding.operator, issuer, before: bulletin, devices: &devices, record: &record };
        *bulletin = revoking.take(book, now, rng, |_| Ok::<_, RevokeError>(()))?.bulletin;
        Ok(bulletin)
    }

    /// The lasting id of a device.
    pub fn device(&self, name: &Name) -> Option<DeviceId> {
        self.book.named(name).map(|device| device.device)
    }
}

/// The segment of devices that were not put into another: bit 0.
pub const DEFAULT_SEGMENT: u64 = 1;
