//! Whom a revocation cuts off, from what, and what it tells of the time before.

use super::*;
use crate::id::Name;
use crate::identity::credential::CredentialError;
use crate::identity::enrolment::{PendingEnrolment, begin_join_for, finish_join};
use crate::identity::invitation::{Invitation, MemoryRealm, invite};
use crate::identity::issuer::Answered;
use crate::identity::ledger::Contacts;
use crate::identity::membership::Membership;
use crate::time::{DAY_SECONDS, Day};
use crate::wire::enrolment::Refusal;
use crate::wire::hello::EnrolHello;
use rand_chacha::rand_core::SeedableRng;

const LENGTH: EpochLength = EpochLength::HOUR;
/// Noon, three days after the founding.
const NOW: Unix = Unix((1_800_014_400 + 43_200 - 1_800_014_400 % 86_400 + 3 * 86_400) * 1_000_000);

struct Realm {
    realm: MemoryRealm,
    rng: ChaCha20Rng,
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(3_600 * hours)
}

/// Founded three days before.
fn realm() -> Realm {
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    Realm { realm: MemoryRealm::found(LENGTH, NOW - hours(72), &mut rng).expect("a realm"), rng }
}

impl Realm {
    fn begin(&mut self, text: &str, contacts: Contacts, at: Unix) -> PendingEnrolment {
        let MemoryRealm { issuer, book, bulletin, .. } = &mut self.realm;
        let invitation = Invitation::new(name(text), contacts);
        let ticket = invite(issuer, book, bulletin, invitation, at, &mut self.rng).expect("a ticket");
        begin_join_for(&ticket, 168, &mut self.rng)
    }

    fn ask(&mut self, hello: &EnrolHello, at: Unix) -> Answered {
        let MemoryRealm { issuer, book, bulletin, .. } = &mut self.realm;
        issuer.answer(hello, book, bulletin, at, &mut self.rng)
    }

    fn member_at(&mut self, text: &str, contacts: Contacts, at: Unix) -> Membership {
        let pending = self.begin(text, contacts, at);
        let hello = pending.hello(&mut self.rng).expect("a request");
        finish_join(&pending, &self.ask(&hello, at).reply.sealed.expect("sealed")).expect("a member")
    }

    fn member(&mut self, text: &str) -> Membership {
        self.member_at(text, Contacts::All, NOW)
    }

    fn revoke(&mut self, text: &str, at: Unix) -> VerifiedBulletin {
        self.realm.revoke(&[name(text)], at, &mut self.rng).expect("a bulletin").clone()
    }

    fn renew(&mut self, member: &mut Membership, batch: bool, at: Unix) -> Result<(), Refusal> {
        let begun = if batch { member.begin_renewal(at, &mut self.rng) } else { member.begin_pull(&mut self.rng) };
        let (hello, pending) = begun.expect("an issuer");
        let answered = self.ask(&hello, at);
        answered.outcome?;
        let sealed = answered.reply.sealed.expect("sealed");
        member.finish_renewal(&pending, &sealed, at, at).expect("it holds");
        Ok(())
    }
}

/// How a bulletin judges each credential of a member, at the middle of its epoch.
fn judged(bulletin: &VerifiedBulletin, member: &Membership, from: Unix) -> Vec<Result<(), CredentialError>> {
    let judge = |ahead| {
        let at = from + hours(ahead);
        let own = member.credential(at)?;
        Some(bulletin.verify_credential(&own.signed, at).map(|_| ()))
    };
    (0..168).filter_map(judge).collect()
}

/// Invariant 1.
#[test]
fn a_revoked_device_has_no_credential_that_is_accepted_and_is_granted_none() {
    let mut realm = realm();
    let (mut a, mut b) = (realm.member("a"), realm.member("b"));
    assert!(judged(&realm.realm.bulletin, &b, NOW).iter().all(Result::is_ok));
    realm.renew(&mut a, false, NOW).expect("a pull");
    let bulletin = realm.revoke("b", NOW);
    let of_b = judged(&bulletin, &b, NOW);
    assert_eq!((of_b.len(), of_b.iter().all(|judged| *judged == Err(CredentialError::Revoked))), (168, true));
    assert!(judged(&bulletin, &a, NOW).iter().all(Result::is_ok));
    for batch in [true, false] {
        assert_eq!(realm.renew(&mut b, batch, NOW + hours(100)), Err(Refusal::Revoked));
        assert_eq!(realm.renew(&mut a, batch, NOW + hours(100)), Ok(()));
    }
    assert!(a.contacts().is_revoked(&name("b")) && !b.contacts().is_revoked(&name("a")));
}

#[test]
fn a_ticket_that_was_used_does_not_bring_a_revoked_device_back_and_its_name_is_free() {
    let mut realm = realm();
    let pending = realm.begin("b", Contacts::All, NOW);
    let hello = pending.hello(&mut realm.rng).expect("a request");
    let first = finish_join(&pending, &realm.ask(&hello, NOW).reply.sealed.expect("sealed")).expect("a member");
    realm.revoke("b", NOW);
    assert_eq!(realm.ask(&hello, NOW).outcome.err(), Some(Refusal::Revoked));
    let again = realm.member("b");
    assert_ne!(again.device(), first.device());
    assert!(judged(&realm.realm.bulletin, &again, NOW).iter().all(Result::is_ok));
}

/// Who was revoked before it asked again: what it has of the generation before counts no more than what it has got since.
#[test]
fn credentials_of_every_generation_are_refused() {
    let mut realm = realm();
    let (_, mut b) = (realm.member("a"), realm.member("b"));
    let before = Membership::from_stored(&b.to_stored()).expect("its own files");
    realm.revoke("a", NOW);
    realm.renew(&mut b, false, NOW).expect("a pull");
    assert!(b.renewal_due(NOW), "what it has is of the generation before");
    realm.renew(&mut b, true, NOW).expect("a renewal");
    assert!(!b.renewal_due(NOW));
    let handle = |member: &Membership, at| member.credential(at).expect("a credential").body.handle;
    assert_eq!(handle(&b, NOW), handle(&before, NOW), "what is in use stays");
    assert_ne!(handle(&b, NOW + hours(1)), handle(&before, NOW + hours(1)));
    let bulletin = realm.revoke("b", NOW + hours(2));
    assert_eq!(bulletin.body().revocations.len(), 3);
    for member in [&before, &b] {
        let refused = judged(&bulletin, member, NOW + hours(2));
        assert!(refused.len() > 160 && refused.iter().all(|judged| *judged == Err(CredentialError::Revoked)));
    }
}

/// Invariant 2.
#[test]
fn the_key_of_a_revocation_tells_nothing_of_the_days_before() {
    let mut realm = realm();
    let b = realm.member_at("b", Contacts::All, NOW - hours(72));
    let handle = |at: Unix| b.credential(at).expect("a credential").body.handle;
    let bulletin = realm.revoke("b", NOW);
    let (founded, published) = (bulletin.body().founded, &bulletin.body().revocations[0]);
    assert_eq!(published.day, Day(3));
    let holder = DayKey::of(published.day, published.resolution_key);
    let midnight = NOW - Duration::from_secs(NOW.seconds() % DAY_SECONDS);
    for hour in 0..60 {
        let before = midnight - hours(hour + 1) + Duration::from_secs(60);
        let epoch = LENGTH.epoch_at(before);
        assert_eq!(holder.handle(epoch, LENGTH, founded), None);
        // However it is taken for the key of another day.
        let claimed = (0..=3).map(|day| DayKey::of(Day(day), published.resolution_key));
        assert!(claimed.filter_map(|key| key.handle(epoch, LENGTH, founded)).all(|guess| guess != handle(before)));
        let after = midnight + hours(hour);
        assert_eq!(holder.handle(LENGTH.epoch_at(after), LENGTH, founded), Some(handle(after)));
    }
}

/// A credential is accepted for a while after its epoch, and somebody's clock is behind: its day may be the one before.
#[test]
fn shortly_after_midnight_the_epoch_before_is_cut_off_too() {
    let mut realm = realm();
    let b = realm.member_at("b", Contacts::All, NOW - hours(24));
    let midnight = NOW - Duration::from_secs(NOW.seconds() % DAY_SECONDS);
    let late = midnight + Duration::from_secs(60);
    let last = b.credential(midnight - hours(1)).expect("a credential").signed.clone();
    assert!(realm.realm.bulletin.verify_credential(&last, late).is_ok());
    let bulletin = realm.revoke("b", late);
    assert_eq!(bulletin.verify_credential(&last, late), Err(CredentialError::Revoked));
    assert_eq!(bulletin.body().revocations[0].day, Day(2));
}

/// Invariant 3.
#[test]
fn new_keys_of_groups_reach_all_but_the_revoked_and_those_left_out_before() {
    let mut realm = realm();
    let (mut a, mut b, mut c) = (realm.member("a"), realm.member("b"), realm.member("c"));
    // A group of its own, without c.
    let group = Some(crate::identity::group::name_tag(realm.realm.bulletin.realm(), "line"));
    let key = seal::random(&mut realm.rng);
    let document = realm.realm.issuer.seal_group(&mut realm.rng, (group, 1), &key, 3, &BTreeSet::from([2]));
    let mut body = realm.realm.bulletin.body().clone();
    body.version += 1;
    body.groups.push(group_tree::reference(&document, NOW.seconds()));
    let mut bulletin = realm.realm.founding.operator.sign(&body).expect("the operator's");
    bulletin.inherit(&realm.realm.bulletin);
    bulletin.attach(&encode(&document)).expect("named");
    realm.realm.bulletin = bulletin;
    let bulletin = realm.revoke("b", NOW);
    assert!(bulletin.missing().is_empty());
    let later = NOW + LEAD;
    let versions = |member: &mut Membership| {
        member.accept_bulletin(bulletin.signed()).expect("it holds");
        for document in bulletin.documents() {
            member.accept_document(document).expect("named");
        }
        member.groups_mut().set_time(later);
        ["line", "plant"].map(|group| member.groups().version(group))
    };
    assert_eq!(versions(&mut a), [Some(2), Some(2)]);
    assert_eq!(versions(&mut c), [None, Some(2)]);
    assert_eq!(versions(&mut b), [None, None]);
    // Whoever comes afterwards is granted the new keys.
    let mut d = realm.member_at("d", Contacts::All, NOW);
    d.groups_mut().set_time(later);
    assert_eq!(["line", "plant"].map(|group| d.groups().version(group)), [Some(2), Some(2)]);
}

/// From the next epoch on, and its contacts do all along.
#[test]
fn a_revoked_device_does_not_follow_those_whose_cards_it_held() {
    let mut realm = realm();
    let (mut a, mut gone, mut c) = (realm.member("a"), realm.member("gone"), realm.member("c"));
    for member in [&mut a, &mut gone, &mut c] {
        realm.renew(member, false, NOW).expect("a pull");
    }
    realm.revoke("gone", NOW);
    // c has the new card before a has new credentials, and after.
    let handle = |member: &Membership, at| member.credential(at).expect("a credential").body.handle;
    let finds = |finder: &mut Membership, handle, at| finder.contacts().resolve(&handle, at).is_some();
    realm.renew(&mut c, false, NOW).expect("a pull");
    assert!(finds(&mut c, handle(&a, NOW), NOW) && finds(&mut gone, handle(&a, NOW), NOW));
    let late = NOW + hours(5);
    assert!(finds(&mut c, handle(&a, late), late), "a has not heard of it for hours");
    realm.renew(&mut a, false, NOW).expect("a pull");
    realm.renew(&mut a, true, NOW).expect("a renewal");
    for ahead in 1..160 {
        let at = NOW + hours(ahead);
        assert!(finds(&mut c, handle(&a, at), at) && !finds(&mut gone, handle(&a, at), at), "{ahead} h on");
    }
    // Who comes after it, before a has new credentials, is told of those that it has.
    let mut late = realm.member_at("late", Contacts::All, NOW + Duration::from_secs(60));
    assert!(finds(&mut late, handle(&a, NOW), NOW) && finds(&mut late, handle(&a, NOW + hours(1)), NOW + hours(1)));
    // What is kept of the card before outlives a restart, for as long as it may be needed.
    let mut again = Membership::from_stored(&c.to_stored()).expect("its own files");
    assert!(finds(&mut again, handle(&a, NOW), NOW));
}

#[test]
fn a_revocation_leaves_the_bulletin_when_the_last_credential_has_run_out() {
    let mut realm = realm();
    let (_a, b) = (realm.member("a"), realm.member("b"));
    realm.revoke("b", NOW);
    let mut at = NOW + hours(24);
    let revoke_another = |realm: &mut Realm, at| {
        let text = format!("at-{at}");
        realm.member_at(&text.replace(':', "-"), Contacts::Some(Vec::new()), at);
        realm.revoke(&text.replace(':', "-"), at).body().revocations.len()
    };
    assert_eq!(revoke_another(&mut realm, at), 2);
    at = b.valid_until();
    assert_eq!(revoke_another(&mut realm, at), 3, "it drains");
    at = b.valid_until() + LENGTH.skew() * 3;
    assert_eq!(revoke_another(&mut realm, at), 3, "and is gone");
    assert_eq!(realm.realm.bulletin.version(), 5);
}

#[test]
fn nobody_but_the_operator_of_the_realm_makes_its_bulletin() {
    let (mut realm, mut other) = (realm(), realm());
    realm.member("a");
    let strange = MemoryRealm::found(LENGTH, NOW, &mut ChaCha20Rng::from_seed([1; 32])).expect("a realm");
    realm.realm.founding = strange.founding;
    let refused = realm.realm.revoke(&[name("a")], NOW, &mut realm.rng).map(|_| ());
    assert_eq!(refused, Err(RevokeError::Operator));
    assert!(realm.realm.book.named(&name("a")).is_some(), "and nothing has happened");
    assert!(matches!(other.realm.revoke(&[name("x")], NOW, &mut other.rng), Err(RevokeError::Ledger(_))));
}
