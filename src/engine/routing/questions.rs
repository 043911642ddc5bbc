//! Questions about where devices are: those that this device asks, those that it passes on for others, and the answers
//! that it remembers.
//!
//! Invariants
//! 1. A link may ask [`BURST`] questions at once, and then one in each [`PACE`]. Drop policy: the newest is dropped
//!    (`locate_too_often`).
//! 2. Relayed frames cause few questions: those of one link at most [`SEEK_BURST`] at once, and then one in each
//!    [`SEEK_PACE`]; and one handle is sought again only after a pause that doubles up to [`SOUGHT`].
//! 3. A link that asks much keeps neither this device nor other links from asking: this device's own questions have
//!    places of their own, at most one for each contact.
//! - At most [`MAX_QUESTIONS`] questions of others are under way. Drop policy: the oldest of the link that has asked
//!   most is dropped (`locate_dropped`).
//! - At most [`MAX_SOUGHT`] handles are remembered as sought. Drop policy: of the link for which most were sought, the
//!   oldest is forgotten.
//! - At most [`MAX_ANSWERS`] answers are kept. Drop policy: the one learnt first is forgotten (`locate_forgotten`).

use super::locate::AGAIN;
use crate::engine::share::{Rates, Shares};
use crate::id::{CredentialHash, Handle, LinkId, OuterId};
use crate::identity::credential::PeerCredential;
use crate::time::{Time, Unix};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// Most questions of others that are under way.
const MAX_QUESTIONS: usize = 1_024;
/// How many questions one link may ask at once, and how often one after that.
const BURST: u32 = 256;
const PACE: Duration = Duration::from_millis(25);
/// Most handles that are sought on behalf of frames of others, and how often one link may have another one sought.
const MAX_SOUGHT: usize = 1_024;
const SEEK_BURST: u32 = 32;
const SEEK_PACE: Duration = Duration::from_millis(250);
/// Longest pause before a handle is sought again on behalf of frames of others.
const SOUGHT: Duration = Duration::from_secs(60);
/// Most answers kept.
pub(super) const MAX_ANSWERS: usize = 4_096;

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::engine) struct Locating {
    pub(super) answers: BTreeMap<Handle, Answer>,
    pub(super) learnt: VecDeque<Handle>,
    /// The handles that this device itself wants to locate.
    pub(super) asked: BTreeMap<Handle, Asked>,
    pub(super) questions: BTreeMap<OuterId, Question>,
    /// The questions of others by the link over which they came, and how often each link may ask.
    pub(super) shares: Shares<OuterId>,
    pub(super) rates: Rates,
    /// The handles sought on behalf of frames of others: when each may be sought again, and the pause that was chosen
    /// last.
    pub(super) sought: BTreeMap<Handle, (Time, Duration)>,
    pub(super) seekers: Shares<Handle>,
    pub(super) seek_rates: Rates,
}

/// A link has used up its questions.
pub(super) struct TooOften;

/// A question of this device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// When the question is asked again.
    pub(super) again: Time,
    /// The pause after that.
    pub(super) pause: Duration,
    /// Whether there was anyone to ask.
    pub(super) somebody: bool,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) credential: PeerCredential,
    /// The routers through which the device is reached, besides those that list it: borders of this area, or a
    /// neighbour in another area.
    pub(super) via: Vec<CredentialHash>,
    /// The delay to the device over the links that the answer took, in microseconds; the greatest number if nobody has
    /// answered.
    pub(super) delay: u64,
    pub(super) until: Unix,
}

#[derive(Debug)]
pub(super) struct Question {
    /// The link over which the question came, or `None` if this device asks.
    pub(super) from: Option<LinkId>,
    pub(super) handle: Handle,
    pub(super) segments: u64,
    /// The delay of the nearest answer that was passed back, in microseconds.
    pub(super) told: u64,
    pub(super) until: Time,
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
    /// Enters a question that is under way; returns whether another one had to be dropped for it.
    pub(super) fn enter(&mut self, id: OuterId, question: Question) -> bool {
        let from = question.from;
        self.questions.insert(id, question);
        let gone = from.and_then(|from| self.shares.enter(from, id));
        gone.is_some_and(|gone| self.questions.remove(&gone).is_some())
    }

    /// Ends the questions that nobody has answered in time.
    pub(super) fn end_questions(&mut self, now: Time) {
        let shares = &mut self.shares;
        self.questions.retain(|id, question| {
            let stands = question.until > now;
            if !stands {
                shares.leave(id);
            }
            stands
        });
    }

    /// Whether a handle may be sought now on behalf of a frame that came over a link. `false` if it was sought
    /// recently.
    ///
    /// # Errors
    ///
    /// [`TooOften`] if the link has had others sought too often.
    pub(super) fn may_seek(&mut self, from: LinkId, handle: Handle, now: Time) -> Result<bool, TooOften> {
        let pause = match self.sought.get(&handle) {
            Some((again, _)) if *again > now => return Ok(false),
            Some((_, pause)) => (*pause * 2).min(SOUGHT),
            None => AGAIN,
        };
        if !self.seek_rates.take(from, now) {
            return Err(TooOften);
        }
        self.sought.insert(handle, (now + pause, pause));
        if let Some(gone) = self.seekers.enter(from, handle) {
            self.sought.remove(&gone);
        }
        Ok(true)
    }

    pub(super) fn keep(&mut self, handle: Handle, answer: Answer) -> bool {
        if self.answers.insert(handle, answer).is_none() {
            self.learnt.push_back(handle);
        }
        let full = self.learnt.len() > MAX_ANSWERS;
        if full && let Some(oldest) = self.learnt.pop_front() {
            self.answers.remove(&oldest);
        }
        full
    }
}
