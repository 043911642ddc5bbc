//! For which groups, keys and epochs permits are given, and that they hold for these alone.

use super::*;
use crate::id::{Name, Permit};
use crate::identity::enrolment::{begin_join_for, finish_join};
use crate::identity::group::{GroupError, Right};
use crate::identity::invitation::{Invitation, MemoryRealm, invite};
use crate::identity::ledger::{Contacts, LedgerError};
use crate::identity::membership::{MayPublish, Membership};
use crate::identity::permit::{Found, MAX_GROUPS, is_restricted, judge};
use crate::time::EpochLength;
use crate::wire::group::{GroupBatch, GroupFrame};
use crate::wire::{Signed, decode};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const NOW: Unix = Unix(1_800_000_000_000_000);

struct Rig {
    realm: MemoryRealm,
    rng: ChaCha20Rng,
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// A realm with the devices `a` and `b`, and the group `plant`.
fn rig(common: EpochLength) -> (Rig, Membership, Membership) {
    let mut rng = ChaCha20Rng::from_seed([6; 32]);
    let realm = MemoryRealm::found(common, NOW, &mut rng).expect("a realm");
    let mut rig = Rig { realm, rng };
    let [a, b] = ["a", "b"].map(|text| rig.member(text, common, 168));
    rig.realm.add_group("plant", None, NOW, &mut rig.rng).expect("a group");
    (rig, a, b)
}

impl Rig {
    fn member(&mut self, text: &str, own: EpochLength, epochs: usize) -> Membership {
        let MemoryRealm { issuer, book, bulletin, .. } = &mut self.realm;
        let invitation = Invitation { epoch_length: Some(own), ..Invitation::new(name(text), Contacts::All) };
        let ticket = invite(issuer, book, bulletin, invitation, NOW, &mut self.rng).expect("a ticket");
        let join = begin_join_for(&ticket, epochs, &mut self.rng);
        let hello = join.hello(&mut self.rng).expect("a request");
        let answer = issuer.answer(&hello, book, bulletin, NOW, &mut self.rng).reply.sealed.expect("sealed");
        finish_join(&join, &answer).expect("a member")
    }

    fn let_publish(&mut self, names: Option<&[&str]>) {
        let names = names.map(|names| names.iter().map(|text| name(text)).collect::<Vec<_>>());
        self.realm.set_publishers("plant", names.as_deref(), NOW, &mut self.rng).expect("another right");
    }

    /// The device hears of the bulletin, without asking the issuer.
    fn tell(&self, member: &mut Membership) {
        member.accept_bulletin(self.realm.bulletin.signed()).expect("the operator's");
        for document in self.realm.bulletin.documents() {
            member.accept_document(document).expect("named");
        }
        member.groups_mut().set_time(NOW);
    }

    /// It asks.
    fn pull(&mut self, member: &mut Membership, at: Unix) {
        self.tell(member);
        let (hello, pending) = member.begin_pull(&mut self.rng).expect("an issuer");
        let MemoryRealm { issuer, book, bulletin, .. } = &mut self.realm;
        let answer = issuer.answer(&hello, book, bulletin, at, &mut self.rng).reply.sealed.expect("sealed");
        member.finish_renewal(&pending, &answer, at, at).expect("pulled");
    }

    /// The tag and the permit of the frame that the device would make in an epoch.
    fn permit(&mut self, member: &Membership, at: Unix) -> Result<(Tag, Permit), GroupError> {
        let epoch = self.realm.bulletin.epoch_length().epoch_at(at);
        let own = member.credential(at).expect("a credential").clone();
        let mut sender = member.groups().sender(&mut self.rng, ("plant", 0), epoch, own)?;
        let batch = GroupBatch {
            stream: crate::id::StreamId([1; 16]),
            first: 1,
            began: at.0,
            ends: false,
            messages: vec![],
            pause: 0,
            asks: false,
            rests: false,
            error: None,
        };
        let sealed = sender.seal(&batch, at, at);
        let signed: Signed<'_> = decode(&sealed).expect("signed");
        let frame: GroupFrame<'_> = decode(signed.body).expect("a frame");
        Ok((frame.group, frame.permit.expect("restricted")))
    }
}

/// Invariant 1.
/// Invariants 1 and 2 of identity::permit.
#[test]
fn a_permit_holds_for_one_key_one_group_and_one_epoch() {
    let (mut rig, mut a, mut b) = rig(EpochLength::HOUR);
    rig.let_publish(Some(&["a"]));
    rig.tell(&mut a);
    assert_eq!((a.may_publish("plant", NOW), a.may_publish("yard", NOW)), (MayPublish::Ask, MayPublish::Now));
    rig.pull(&mut a, NOW);
    rig.pull(&mut b, NOW);
    assert_eq!((a.may_publish("plant", NOW), b.may_publish("plant", NOW)), (MayPublish::Now, MayPublish::No));
    assert_eq!(rig.permit(&b, NOW), Err(GroupError::NoRight));
    let (group, permit) = rig.permit(&a, NOW).expect("a permit");
    let epoch = EpochLength::HOUR.epoch_at(NOW);
    assert!(is_restricted(&group) && group == b.groups().tag("plant", epoch));
    assert!(!is_restricted(&b.groups().tag("yard", epoch)));
    let (publisher, other) = (a.pseudonym(NOW), b.pseudonym(NOW));
    let of_next = b.groups().tag("plant", Epoch(epoch.0 + 1));
    let right = Allowed { epoch, publisher: &publisher, group };
    let found = |allowed: Allowed<'_>, at| judge(&rig.realm.bulletin, &permit, &allowed, at);
    assert_eq!(found(right, NOW), Found::Holds);
    for wrong in [
        Allowed { publisher: &other, ..right },
        Allowed { epoch: Epoch(epoch.0 + 1), ..right },
        Allowed { group: of_next, ..right },
    ] {
        assert_eq!(found(wrong, NOW), Found::Forged, "{wrong:?}");
    }
    assert_eq!(found(right, Unix(0)), Found::UnknownIssuer, "before the issuer could sign");
    // The last of the epochs that it has credentials for, and none beyond.
    let last = a.valid_until() - core::time::Duration::from_secs(1);
    assert!(rig.permit(&a, last).is_ok());
    assert_eq!(a.groups().right("plant", Epoch(EpochLength::HOUR.epoch_at(last).0 + 1)), Right::RunOut);
}

/// Invariant 4 of identity::group_versions.
/// A right that is given, or another key, leaves what there is; a right that is taken ends the permits of everybody.
#[test]
fn only_a_right_that_is_taken_makes_other_permits() {
    let (mut rig, mut a, mut b) = rig(EpochLength::HOUR);
    let epoch = EpochLength::HOUR.epoch_at(NOW);
    rig.let_publish(Some(&["a"]));
    rig.pull(&mut a, NOW);
    let (tag, _) = rig.permit(&a, NOW).expect("a permit");
    rig.let_publish(Some(&["a", "b"]));
    rig.tell(&mut a);
    rig.pull(&mut b, NOW);
    assert_eq!(rig.permit(&b, NOW).map(|(tag, _)| tag), Ok(tag));
    rig.realm.rekey_group("plant", NOW, &mut rig.rng).expect("another key");
    rig.tell(&mut a);
    assert!(a.groups().version("plant") == Some(3) && !a.permits_are_stale());
    assert_eq!(rig.permit(&a, NOW).map(|(tag, _)| tag), Ok(tag));
    assert!(a.groups().former_tags("plant", epoch).iter().all(|former| *former != tag));
    rig.let_publish(Some(&["a"]));
    for member in [&mut a, &mut b] {
        rig.tell(member);
        assert!(member.permits_are_stale());
        assert_eq!(member.may_publish("plant", NOW), MayPublish::Ask);
        assert!(!member.groups().tags("plant", epoch).contains(&tag), "nobody listens to it");
        assert!(member.groups().former_tags("plant", epoch).contains(&tag));
    }
    rig.pull(&mut a, NOW);
    rig.pull(&mut b, NOW);
    assert_ne!(rig.permit(&a, NOW).map(|(tag, _)| tag), Ok(tag));
    assert_eq!(b.may_publish("plant", NOW), MayPublish::No);
    // It comes back from its files as it is.
    let a = Membership::from_stored(&a.to_stored()).expect("its own files");
    assert_eq!(a.may_publish("plant", NOW), MayPublish::Now);
    // A device that comes later has the right key without any document but the root's.
    rig.let_publish(None);
    rig.pull(&mut b, NOW);
    assert_eq!((b.may_publish("plant", NOW), is_restricted(&b.groups().tag("plant", epoch))), (MayPublish::Now, false));
}

#[test]
fn a_revocation_leaves_the_rights_of_the_others() {
    let (mut rig, mut a, _) = rig(EpochLength::HOUR);
    rig.let_publish(Some(&["a", "b"]));
    rig.pull(&mut a, NOW);
    let (tag, _) = rig.permit(&a, NOW).expect("a permit");
    rig.realm.revoke(&[name("b")], NOW, &mut rig.rng).expect("revoked");
    rig.tell(&mut a);
    a.groups_mut().set_time(NOW + core::time::Duration::from_secs(60));
    assert_eq!((a.groups().version("plant"), rig.permit(&a, NOW).map(|(tag, _)| tag)), (Some(3), Ok(tag)));
}

/// Devices whose epochs have another length than the realm's have a permit for each of both that meet, and ask again where these are too many.
#[test]
fn epochs_of_any_length_have_their_permits() {
    let (minute, hour, day) = (EpochLength::new(60), EpochLength::HOUR, EpochLength::new(86_400));
    for (common, own) in [(Some(hour), day), (day, Some(hour)), (minute, day)] {
        let (common, own) = (common.expect("a length"), own.expect("a length"));
        let (mut rig, _, _) = rig(common);
        let mut c = rig.member("c", own, 168);
        rig.let_publish(Some(&["c"]));
        rig.pull(&mut c, NOW);
        assert!(rig.permit(&c, NOW).is_ok());
        let mut at = NOW;
        for _ in 0..9 {
            at = at + core::time::Duration::from_secs(7_200);
            if c.permits_run_out(at) {
                rig.pull(&mut c, at);
                assert!(!c.permits_run_out(at));
            }
            assert!(rig.permit(&c, at).is_ok(), "{common:?} {own:?}");
        }
    }
}

#[test]
fn a_device_publishes_to_so_many_restricted_groups_and_no_more() {
    let (mut rig, mut a, _) = rig(EpochLength::HOUR);
    let id = rig.realm.device(&name("a")).expect("it is there");
    for number in 0..MAX_GROUPS {
        let group = format!("g{number}");
        rig.realm.add_group(&group, None, NOW, &mut rig.rng).expect("a group");
        rig.realm.set_publishers(&group, Some(&[name("a")]), NOW, &mut rig.rng).expect("a right");
    }
    let refused = rig.realm.book.assign_publishers(Tag([1; 8]), &[id].into());
    assert_eq!(refused, Err(LedgerError::TooManyGroups(name("a"))));
    rig.pull(&mut a, NOW);
    assert!((0..MAX_GROUPS).all(|number| a.may_publish(&format!("g{number}"), NOW) == MayPublish::Now));
    assert!(!a.permits_run_out(NOW));
    let half = NOW + core::time::Duration::from_secs(3_600 * MAX_PERMITS as u64 / MAX_GROUPS as u64 / 2);
    assert!(a.permits_run_out(half), "half a week's permits are asked for anew after a quarter");
}
