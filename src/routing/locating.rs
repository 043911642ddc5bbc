//! Locating: which questions for devices are under way, for this device and for others, and which answers are remembered.
//!
//! **Mechanism.** A *question* asks through which routers a device without link state is reached. This device's own are asked
//! again after a pause that doubles while nobody answers. Questions of others are passed on once, by their id, and remembered
//! until they have been answered or given up. An *answer* is the device's credential with the routers through which it is reached; it holds
//! until the credential is accepted no more. A router may also *seek*: a frame of somebody else is for a device that it does not know.
//!
//! Invariants
//! 1. At most [`MAX_QUESTIONS`] questions of others are under way. Drop policy: the oldest of the link that has asked most
//!    goes (`locate_dropped`). A neighbour may ask [`BURST`] questions at once, and one more in [`PACE`]. Drop policy: the newest is not
//!    taken (`locate_too_often`).
//! 2. What frames of others make a router ask is bounded in the same way ([`MAX_SOUGHT`], [`SEEK_BURST`], [`SEEK_PACE`]), and
//!    one handle is sought again after a pause that doubles up to [`SOUGHT`]: frames to a device that nobody knows are no flood of
//!    questions.
//! 3. At most [`MAX_ANSWERS`] answers are kept. Drop policy: the one learnt first goes (`locate_forgotten`). This device has as many
//!    questions of its own. Drop policy: the newest is not asked (`locate_dropped`).
//! 4. An answer whose credential is accepted no more is no answer.

use crate::id::{CredentialHash, Handle, LinkId, OuterId, Pseudonym};
use crate::identity::credential::PeerCredential;
use crate::share::{Rates, Shares};
use crate::time::{Time, Unix};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// Most questions of others that are under way.
pub const MAX_QUESTIONS: usize = 1_024;
/// Questions that one neighbour may ask at once.
pub const BURST: u32 = 256;
/// After these, one question in this time.
pub const PACE: Duration = Duration::from_millis(25);
/// Most handles that are sought for the sake of frames of others.
pub const MAX_SOUGHT: usize = 1_024;
/// Handles that the frames of one neighbour may have sought at once.
pub const SEEK_BURST: u32 = 32;
/// After these, one handle in this time.
pub const SEEK_PACE: Duration = Duration::from_millis(250);
/// Longest pause before such a handle is sought again.
pub const SOUGHT: Duration = Duration::from_secs(60);
/// Most answers kept, and most questions of this device.
pub const MAX_ANSWERS: usize = 4_096;
/// How long an answer to a question is waited for.
pub const WAIT: Duration = Duration::from_secs(10);
/// A question that nobody has answered is asked again after this, and then after twice as long each time, up to [`WAIT`].
pub const AGAIN: Duration = Duration::from_millis(500);
/// A question that has been answered is remembered this much longer, for an answer that is nearer.
const NEARER: Duration = Duration::from_secs(2);

/// Questions and answers. See the module's documentation.
#[derive(Debug)]
pub struct Locating {
    answers: BTreeMap<Handle, Answer>,
    learnt: VecDeque<Handle>,
    /// This device's own questions.
    asked: BTreeMap<Handle, Asked>,
    /// Questions under way, of others and of this device, by their ids.
    questions: BTreeMap<OuterId, Question>,
    /// Those of others, by the link over which each came.
    shares: Shares<OuterId>,
    rates: Rates,
    /// Handles sought for frames of others: when each may be sought again, and the pause after that.
    sought: BTreeMap<Handle, (Time, Duration)>,
    seekers: Shares<Handle>,
    seek_rates: Rates,
}

/// A table or a link's share of it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// A question of this device.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// When it is asked again.
    again: Time,
    /// The pause after that.
    pause: Duration,
    /// Whether there was a neighbour to ask.
    somebody: bool,
}

/// Whether a question of this device is to be asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// It was asked of late; whether there was a neighbour to ask.
    Already(bool),
    /// It is to be asked, with this pause until the next time: to be handed to [`Locating::note_asked`].
    Now(Duration),
}

/// Where a device is.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its credential.
    pub credential: PeerCredential,
    /// Routers through which it is reached, besides those that list it: borders of this area, or a neighbour in another.
    pub via: Vec<CredentialHash>,
    /// The delay of the links over which the answer came, in microseconds; the maximum if nobody has answered.
    pub delay: u64,
    /// Until when the credential is accepted.
    pub until: Unix,
}

/// A question under way.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// The link over which it came, or `None` if this device asks.
    pub from: Option<LinkId>,
    /// The device that it asks for.
    pub handle: Handle,
    /// The segments whose devices may be told of, as a bit map.
    pub segments: u64,
    /// The delay of the nearest answer that was handed back, in microseconds; the maximum before the first.
    pub told: u64,
    until: Time,
}

impl Question {
    /// A question that begins now.
    pub fn new(from: Option<LinkId>, handle: Handle, segments: u64, now: Time) -> Self {
        Self { from, handle, segments, told: u64::MAX, until: now + WAIT }
    }
}

impl Default for Locating {
    fn default() -> Self {
        Self {
            answers: BTreeMap::new(),
            learnt: VecDeque::new(),
            asked: BTreeMap::new(),
            questions: BTreeMap::new(),
            shares: Shares::new(MAX_QUESTIONS),
            rates: Rates::new(BURST, PACE),
            sought: BTreeMap::new(),
            seekers: Shares::new(MAX_SOUGHT),
            seek_rates: Rates::new(SEEK_BURST, SEEK_PACE),
        }
    }
}

impl Locating {
    /// Where a device is, if that is known and holds.
    pub fn answer(&self, handle: &Handle, now: Unix) -> Option<&Answer> {
        self.answers.get(handle).filter(|answer| answer.until > now)
    }

    /// Keeps an answer. Returns whether another had to go for it.
    pub fn keep(&mut self, handle: Handle, answer: Answer) -> bool {
        if self.answers.insert(handle, answer).is_none() {
            self.learnt.push_back(handle);
        }
        let full = self.learnt.len() > MAX_ANSWERS;
        if full && let Some(oldest) = self.learnt.pop_front() {
            self.answers.remove(&oldest);
        }
        full
    }

    /// Drops answers that hold no more.
    pub fn expire(&mut self, now: Unix) {
        self.answers.retain(|_, answer| answer.until > now);
        let answers = &self.answers;
        self.learnt.retain(|handle| answers.contains_key(handle));
    }

    /// Drops answers whose credential is accepted no more, whatever the time.
    pub fn heed(&mut self, accepts: impl Fn(&PeerCredential) -> bool) {
        self.answers.retain(|_, answer| accepts(&answer.credential));
        let answers = &self.answers;
        self.learnt.retain(|handle| answers.contains_key(handle));
    }

    /// Whether this device is to ask for a handle now.
    ///
    /// # Errors
    /// It has as many questions of its own as there may be.
    pub fn may_ask(&mut self, handle: &Handle, now: Time) -> Result<Ask, TooMany> {
        let pause = match self.asked.get(handle) {
            Some(asked) if asked.again > now => return Ok(Ask::Already(asked.somebody)),
            Some(asked) => asked.pause,
            None => AGAIN,
        };
        if self.asked.len() >= MAX_ANSWERS {
            self.asked.retain(|_, asked| asked.again > now);
        }
        if self.asked.len() >= MAX_ANSWERS { Err(TooMany) } else { Ok(Ask::Now(pause)) }
    }

    /// This device has asked for a handle. Where there was no neighbour to ask, one may come by soon; one that has been asked
    /// is given more and more time.
    pub fn note_asked(&mut self, handle: Handle, pause: Duration, somebody: bool, now: Time) {
        let (again, pause) = if somebody { (now + pause, (pause * 2).min(WAIT)) } else { (now + AGAIN, pause) };
        self.asked.insert(handle, Asked { again, pause, somebody });
    }

    /// Whether this device asks for a handle.
    pub fn asks_for(&self, handle: &Handle) -> bool {
        self.asked.contains_key(handle)
    }

    /// Handles for which this device is to ask again, or for which it need not ask any more.
    pub fn due(&self, now: Time) -> Vec<Handle> {
        self.asked.iter().filter(|(_, asked)| asked.again <= now).map(|(handle, _)| *handle).collect()
    }

    /// This device need not know where a handle is any more.
    pub fn give_up(&mut self, handle: &Handle) {
        self.asked.remove(handle);
    }

    /// When this device asks again.
    pub fn next_wake(&self) -> Option<Time> {
        self.asked.values().map(|asked| asked.again).min()
    }

    /// A device has been found: it is neither asked for nor sought.
    pub fn found(&mut self, handle: &Handle) {
        self.asked.remove(handle);
        self.sought.remove(handle);
        self.seekers.leave(handle);
    }

    /// Whether a neighbour may have another question passed on: it uses up one of its turns.
    pub fn take_turn(&mut self, by: &Pseudonym, now: Time) -> bool {
        self.rates.take(by, now)
    }

    /// A question under way.
    pub fn question(&self, id: &OuterId) -> Option<&Question> {
        self.questions.get(id)
    }

    /// Notes a question that is under way. Returns whether another had to go for it.
    pub fn enter(&mut self, id: OuterId, question: Question) -> bool {
        let from = question.from;
        self.questions.insert(id, question);
        let gone = from.and_then(|from| self.shares.enter(from, id));
        gone.is_some_and(|gone| self.questions.remove(&gone).is_some())
    }

    /// An answer of that delay has been handed back.
    pub fn note_told(&mut self, id: &OuterId, delay: u64, now: Time) {
        if let Some(question) = self.questions.get_mut(id) {
            question.told = delay;
            question.until = question.until.min(now + NEARER);
        }
    }

    /// Forgets questions that nobody has answered in time.
    pub fn end_questions(&mut self, now: Time) {
        let shares = &mut self.shares;
        self.questions.retain(|id, question| {
            let open = question.until > now;
            if !open {
                shares.leave(id);
            }
            open
        });
    }

    /// Whether a handle is to be sought now for a frame that a neighbour sent over a link; it is not if it was sought of
    /// late.
    ///
    /// # Errors
    /// The neighbour has had too many handles sought.
    pub fn may_seek(&mut self, (from, by): (LinkId, &Pseudonym), handle: Handle, now: Time) -> Result<bool, TooMany> {
        let pause = match self.sought.get(&handle) {
            Some((again, _)) if *again > now => return Ok(false),
            Some((_, pause)) => (*pause * 2).min(SOUGHT),
            None => AGAIN,
        };
        if !self.seek_rates.take(by, now) {
            return Err(TooMany);
        }
        self.sought.insert(handle, (now + pause, pause));
        if let Some(gone) = self.seekers.enter(from, handle) {
            self.sought.remove(&gone);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Name;
    use crate::identity::invitation::MemoryRealm;
    use crate::time::EpochLength;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    fn neighbour(number: u8) -> Pseudonym {
        Pseudonym([number; Pseudonym::LEN])
    }

    fn credential() -> PeerCredential {
        let now = Unix::from_seconds(1_800_000_000);
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut realm = MemoryRealm::found(EpochLength::HOUR, now, &mut rng).expect("a realm");
        let member = realm.enrol([Name::new("one").expect("a name")], 1, now, &mut rng).expect("a member").remove(0);
        let own = member.credential(now).expect("a credential");
        PeerCredential { hash: own.hash, body: own.body.clone(), signed: own.signed.clone() }
    }

    fn handle(number: u64) -> Handle {
        let mut bytes = [0; Handle::LEN];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Handle(bytes)
    }

    fn id(number: u64) -> OuterId {
        OuterId(number.to_be_bytes())
    }

    fn at(millis: u64) -> Time {
        Time(millis * 1_000)
    }

    fn ask(locating: &mut Locating, millis: u64, somebody: bool) -> Option<Duration> {
        match locating.may_ask(&handle(1), at(millis)) {
            Ok(Ask::Now(pause)) => {
                locating.note_asked(handle(1), pause, somebody, at(millis));
                locating.next_wake().map(|wake| wake.since(at(millis)))
            }
            _ => None,
        }
    }

    #[test]
    fn a_question_is_asked_again_ever_later_and_soon_where_nobody_was_there() {
        let mut locating = Locating::default();
        let pauses: Vec<_> =
            [0, 499, 500, 1_500, 3_500, 7_500, 15_500, 25_500].map(|millis| ask(&mut locating, millis, true)).into();
        let secs = |millis| Some(Duration::from_millis(millis));
        let wanted = [secs(500), None, secs(1_000), secs(2_000), secs(4_000), secs(8_000), secs(10_000), secs(10_000)];
        assert_eq!(pauses, wanted);
        assert_eq!(locating.due(at(35_500)), [handle(1)]);
        locating.found(&handle(1));
        assert_eq!((ask(&mut locating, 35_500, false), ask(&mut locating, 36_000, false)), (secs(500), secs(500)));
    }

    /// Invariant 1.
    #[test]
    fn who_asks_much_loses_questions_of_its_own() {
        let mut locating = Locating::default();
        let mut enter =
            |link, number| locating.enter(id(number), Question::new(Some(LinkId(link)), handle(number), 1, at(0)));
        assert!(!enter(2, 0));
        let gone = (1..=MAX_QUESTIONS as u64).filter(|number| enter(1, *number)).count();
        assert_eq!(gone, 1);
        assert!(locating.question(&id(0)).is_some() && locating.question(&id(1)).is_none());
        let turns =
            |locating: &mut Locating, by, at| (0..1_000).filter(|_| locating.take_turn(&neighbour(by), at)).count();
        assert_eq!((turns(&mut locating, 1, at(0)), turns(&mut locating, 2, at(0))), (256, 256));
        assert_eq!(turns(&mut locating, 1, at(100)), 4);
    }

    #[test]
    fn a_question_ends_when_nobody_answers_and_soon_after_an_answer() {
        let mut locating = Locating::default();
        for number in [1, 2] {
            locating.enter(id(number), Question::new(None, handle(number), 1, at(0)));
        }
        locating.note_told(&id(1), 7, at(1_000));
        assert_eq!(locating.question(&id(1)).map(|question| question.told), Some(7));
        locating.end_questions(at(2_999));
        assert!(locating.question(&id(1)).is_some());
        locating.end_questions(at(3_000));
        assert!(locating.question(&id(1)).is_none() && locating.question(&id(2)).is_some());
        locating.end_questions(at(10_000));
        assert!(locating.question(&id(2)).is_none());
    }

    /// Invariant 2.
    #[test]
    fn a_handle_is_sought_ever_more_seldom_and_each_link_has_its_share() {
        let mut locating = Locating::default();
        let (from, one) = (LinkId, neighbour(1));
        let sought =
            |locating: &mut Locating, millis| locating.may_seek((from(1), &one), handle(1), at(millis)) == Ok(true);
        let times: Vec<u64> = (0..200_000).step_by(500).filter(|millis| sought(&mut locating, *millis)).collect();
        assert_eq!(times, [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500, 63_500, 123_500, 183_500]);
        // Over another link it has no other share.
        let many = (2..100)
            .filter(|number| locating.may_seek((from(*number % 2), &one), handle(*number), at(200_000)).is_ok())
            .count();
        assert_eq!(many, SEEK_BURST as usize);
        assert_eq!(locating.may_seek((from(2), &neighbour(2)), handle(200), at(200_000)), Ok(true));
    }

    /// Invariants 3 and 4.
    #[test]
    fn answers_are_bounded_and_end_with_their_credential() {
        let credential = credential();
        let mut locating = Locating::default();
        let mut keep = |number, until| {
            let answer = Answer { credential: credential.clone(), via: Vec::new(), delay: 0, until: Unix(until) };
            locating.keep(handle(number), answer)
        };
        assert_eq!((0..=MAX_ANSWERS as u64).filter(|number| keep(*number, 10)).count(), 1);
        assert!(!keep(1, 20));
        assert!(locating.answer(&handle(0), Unix(1)).is_none(), "the first has gone");
        assert!(locating.answer(&handle(2), Unix(9)).is_some() && locating.answer(&handle(2), Unix(10)).is_none());
        locating.expire(Unix(10));
        assert_eq!((locating.answers.len(), locating.learnt.len()), (1, 1));
        assert!(locating.answer(&handle(1), Unix(19)).is_some());
    }
}
