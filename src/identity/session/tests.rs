//! Sessions between two members: handshake, records and suites, and what is refused of them.

use super::*;
use crate::id::Name;
use crate::identity::audit;
use crate::identity::invitation::MemoryRealm;
use crate::identity::membership::Membership;
use crate::time::EpochLength;
use crate::wire::decode;
use rand_chacha::rand_core::SeedableRng;

const NOW: Unix = Unix(1_800_000_100_000_000);
const BOTH: u8 = 0b11;

struct Pair {
    rng: ChaCha20Rng,
    one: Membership,
    two: Membership,
    ids: u8,
}

fn pair() -> Pair {
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let mut realm = MemoryRealm::found(EpochLength::HOUR, NOW, &mut rng).expect("a realm");
    let names = ["one", "two"].map(|name| Name::new(name).expect("a name"));
    let mut members = realm.enrol(names, 2, NOW, &mut rng).expect("two members");
    let two = members.pop().expect("two members");
    let one = members.pop().expect("two members");
    Pair { rng, one, two, ids: 0 }
}

fn end<'a>(member: &'a Membership, id: u8, suites: u8) -> End<'a> {
    let own = member.credential(NOW).expect("a credential");
    End { id: SessionId([id; 8]), suites, own, contact: member.contact_secret() }
}

impl Pair {
    fn open(&mut self) -> Session {
        self.open_with(BOTH)
    }

    fn open_with(&mut self, suites: u8) -> Session {
        let own = self.two.credential(NOW).expect("a credential");
        let peer = self.one.bulletin().verify_credential(&own.signed, NOW).expect("it holds");
        let contact = self.two.contact_secret().public();
        self.ids = self.ids.wrapping_add(1);
        Session::open(&mut self.rng, end(&self.one, self.ids, suites), &peer, &contact).expect("sound keys")
    }

    fn accept(&mut self, opener: &Opener) -> Result<Session, SessionError> {
        let contact = self.one.contact_secret().public();
        self.accept_from(opener, Some(contact))
    }

    fn accept_from(&mut self, opener: &Opener, contact: Option<AgreementKey>) -> Result<Session, SessionError> {
        self.ids = self.ids.wrapping_add(1);
        let end = end(&self.two, self.ids, BOTH);
        let accepted = Session::accept(&mut self.rng, end, opener, self.two.bulletin(), NOW, &mut |_| contact);
        accepted.map(|(session, peer)| {
            assert_eq!(peer.hash, self.one.credential(NOW).expect("a credential").hash);
            session
        })
    }
}

/// A frame's form and sealed part.
fn seal(session: &mut Session, plain: &[u8]) -> (Form, Vec<u8>) {
    let (form, mut out) = (session.form(), b"before".to_vec());
    let expected = out.len() + session.overhead() + plain.len();
    session.seal_into(b"header", plain, &mut out);
    assert_eq!(out.len(), expected);
    (form, out.split_off(6))
}

fn open(session: &mut Session, (form, sealed): &(Form, Vec<u8>)) -> Result<Vec<u8>, SessionError> {
    let mut plain = b"before".to_vec();
    let opened = session.open_record(b"header", *form, sealed, &mut plain);
    let plain = plain.split_off(6);
    assert!(opened.is_ok() || plain.is_empty());
    opened.map(|()| plain)
}

fn opener_of(frame: &(Form, Vec<u8>)) -> Opener {
    decode(split_record(frame.0, &frame.1).expect("an opener").0).expect("it decodes")
}

fn counter_of((form, sealed): &(Form, Vec<u8>)) -> u64 {
    let (_, record) = split_record(*form, sealed).expect("a record");
    u64::from_be_bytes(*record[8..].first_chunk().expect("a counter"))
}

#[test]
fn records_go_before_the_answer_and_after_it_both_ways() {
    let mut pair = pair();
    let mut one = pair.open();
    let first = seal(&mut one, b"first");
    let mut two = pair.accept(&opener_of(&first)).expect("it is accepted");
    assert_eq!((first.0, open(&mut two, &first)), (Form::Opener, Ok(b"first".to_vec())));
    // The opener goes along until there is an answer, and the answer until it is confirmed.
    let second = seal(&mut one, b"second");
    assert_eq!((second.0, two.is_confirmed(), one.is_confirmed()), (Form::Opener, false, false));
    let answers = [seal(&mut two, b"back"), seal(&mut two, b"again")];
    assert!(answers.iter().all(|(form, _)| *form == Form::Answer));
    assert_eq!(open(&mut one, &answers[1]), Ok(b"again".to_vec()), "whichever comes first");
    assert_eq!(open(&mut one, &answers[0]), Ok(b"back".to_vec()));
    let third = seal(&mut one, b"third");
    assert_eq!((third.0, one.is_confirmed(), counter_of(&third)), (Form::Session, true, 0));
    assert_eq!(open(&mut two, &third), Ok(b"third".to_vec()));
    assert_eq!((two.form(), two.is_confirmed()), (Form::Session, true));
    assert_eq!(open(&mut two, &second), Ok(b"second".to_vec()), "what was late on its way");
    let last = seal(&mut two, b"last");
    assert_eq!(open(&mut one, &last), Ok(b"last".to_vec()));
    assert_eq!((one.to(), two.to(), two.early()), (two.id(), one.id(), Some(early_id(&opener_of(&first).message))));
}

#[test]
fn a_record_of_ones_own_does_not_come_back() {
    let mut pair = pair();
    let mut one = pair.open();
    let first = seal(&mut one, b"plain");
    let mut two = pair.accept(&opener_of(&first)).expect("it is accepted");
    assert_eq!(open(&mut one, &first), Err(SessionError::Malformed));
    let answer = seal(&mut two, b"plain");
    open(&mut one, &answer).expect("it opens");
    assert!(open(&mut two, &answer).is_err());
    let sealed = seal(&mut one, b"plain");
    assert!(open(&mut one, &sealed).is_err());
}

/// Of every form: no byte of the record or of its header can be changed, and none of the answer. Invariants 2 and 3.
/// Invariant 2 of identity::record.
#[test]
fn a_record_opens_once_unchanged_with_its_header() {
    let mut pair = pair();
    let mut one = pair.open();
    let first = seal(&mut one, b"plain");
    let mut two = pair.accept(&opener_of(&first)).expect("it is accepted");
    let record_at = first.1.len() - RECORD_OVERHEAD - 5;
    refuses_changes(&mut two, &first, record_at);
    let answer = seal(&mut two, b"plain");
    refuses_changes(&mut one, &answer, 0);
    let last = seal(&mut one, b"plain");
    refuses_changes(&mut two, &last, 0);
}

/// Any change from this byte on; what it gets unchanged it takes, once.
fn refuses_changes(session: &mut Session, frame: &(Form, Vec<u8>), from: usize) {
    let (form, sealed) = frame;
    let confirmed = session.is_confirmed();
    for at in from..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(open(session, &(*form, changed)).is_err(), "{form:?}, byte {at}");
    }
    let mut out = Vec::new();
    assert_eq!(session.open_record(b"headeR", *form, sealed, &mut out), Err(SessionError::Record));
    assert!(session.open_record(b"header", *form, &sealed[..20], &mut out).is_err());
    assert_eq!(session.is_confirmed(), confirmed, "nothing has changed");
    assert_eq!(open(session, frame), Ok(b"plain".to_vec()));
    assert_eq!(open(session, frame), Err(SessionError::Replay));
}

/// A holder of a false credential without the contact key is accepted neither as sender nor as receiver.
/// Invariant 2 of identity.
#[test]
fn a_wrong_contact_key_fails_at_either_end() {
    let mut pair = pair();
    let opener = opener_of(&seal(&mut pair.open(), b""));
    let stranger = ContactSecret::new([9; 32]);
    assert_eq!(pair.accept_from(&opener, Some(stranger.public())).err(), Some(SessionError::Proof));
    let contact = pair.one.contact_secret().public();
    let false_end = End { contact: &stranger, ..end(&pair.two, 9, BOTH) };
    let bulletin = pair.two.bulletin();
    let accepted = Session::accept(&mut pair.rng, false_end, &opener, bulletin, NOW, &mut |_| Some(contact));
    assert_eq!(accepted.err(), Some(SessionError::Proof));
    let handle = pair.one.credential(NOW).expect("a credential").body.handle;
    assert_eq!(pair.accept_from(&opener, None).err(), Some(SessionError::UnknownContact(handle)));
}

#[test]
fn an_opener_changed_anywhere_is_refused() {
    let mut pair = pair();
    let opener = opener_of(&seal(&mut pair.open(), b""));
    let mut changed: Vec<Opener> = Vec::new();
    for at in 0..8 {
        let mut other = opener.clone();
        other.session.0[at] ^= 1;
        changed.push(other);
        changed.push(Opener { suites: opener.suites ^ (1 << at), ..opener.clone() });
    }
    for at in 0..opener.credential.len() {
        let mut other = opener.clone();
        other.credential[at] ^= 1;
        changed.push(other);
    }
    for at in 0..opener.message.len() {
        let mut other = opener.clone();
        other.message[at] ^= 1;
        changed.push(other);
    }
    for other in changed {
        assert!(pair.accept(&other).is_err());
    }
    let mut small = opener;
    small.message[..32].fill(0);
    assert_eq!(pair.accept(&small).err(), Some(SessionError::WeakKey));
}

/// The offer is bound and the choice is sealed: the best suite in common is taken, and nobody on the path can downgrade
/// it.
#[test]
fn both_ends_take_the_best_suite_that_both_have() {
    for offered in [0b01, 0b11] {
        let mut pair = pair();
        let mut one = pair.open_with(offered);
        let first = seal(&mut one, b"first");
        let opener = opener_of(&first);
        assert_eq!(opener.suites, offered & Suite::built());
        let mut two = pair.accept(&opener).expect("it is accepted");
        open(&mut two, &first).expect("it opens");
        let answer = seal(&mut two, b"back");
        open(&mut one, &answer).expect("it opens");
        let record = seal(&mut one, b"on");
        assert_eq!(open(&mut two, &record), Ok(b"on".to_vec()));
    }
}

/// An opener that comes again makes a session with keys of its own, and the first initiator accepts nothing of it.
#[test]
fn an_opener_accepted_again_shares_no_key() {
    audit::begin();
    let mut pair = pair();
    let mut one = pair.open();
    let first = seal(&mut one, b"first");
    let opener = opener_of(&first);
    let mut answers = Vec::new();
    for _ in 0..3 {
        let mut two = pair.accept(&opener).expect("it is accepted");
        open(&mut two, &first).expect("it opens");
        answers.extend([seal(&mut two, b"back"), seal(&mut two, b"back")]);
    }
    open(&mut one, &answers[2]).expect("the first answer that comes is taken");
    assert_eq!(open(&mut one, &answers[3]), Ok(b"back".to_vec()));
    for other in [0, 1, 4, 5] {
        assert!(open(&mut one, &answers[other]).is_err(), "{other}");
    }
    let book = audit::end().expect("it was watched");
    assert_eq!((book.repeated, book.seals >= 9), (0, true), "{book:?}");
}
