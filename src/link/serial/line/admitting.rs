//! Admitting: the handshakes of a line, and who begins them.

use super::{Agent, Entry, Event, Line, MAX_SESSIONS, Pending};
use crate::id::Pseudonym;
use crate::identity::noise::xx::Sealer;
use crate::link::serial::handshake::{Answering, Made, Opening, Terms, Unmade, cut};
use crate::link::serial::packet::{Payload, Piece, SEALED_HEAD, begin_sealed};
use crate::link::serial::session::Session;
use crate::link::serial::{Ending, Guard};
use crate::time::Time;
use core::time::Duration;
use rand_chacha::rand_core::Rng;

/// The first and the longest rest after a refusal.
const REFUSED_REST: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// Bytes of the longest message of a handshake with its frames, about.
const LONG_MESSAGE: usize = 1_400;
/// The longest interval between two first messages, unless the line is slow.
const MOST_REST: Duration = Duration::from_secs(15);

impl<G: Guard> Line<G> {
    /// Sets whether this end may begin a session. What it has begun and was not answered is given up if not.
    pub fn set_begins(&mut self, begins: bool, now: Time) {
        if self.begins == begins {
            return;
        }
        self.begins = begins;
        for agent in &mut self.agents {
            (agent.opening, agent.at, agent.tries) = (None, agent.at.max(now), 0);
        }
    }

    pub(super) fn handle_piece(&mut self, piece: &Piece<'_>, now: Time) {
        if self.is_own(piece.from) {
            self.tally.stray += 1;
            return;
        }
        match piece.message {
            1 => self.handle_first(piece, now),
            2 => self.handle_answer(piece, now),
            _ => self.handle_last(piece, now),
        }
    }

    /// Whether a number is one that this end has drawn.
    fn is_own(&self, number: u32) -> bool {
        let opening = |agent: &Agent<G>| agent.opening.as_ref().is_some_and(|opening| opening.own.number == number);
        self.entries.contains_key(&number)
            || self.agents.iter().any(opening)
            || self.answering.as_ref().is_some_and(|(_, answering)| answering.own.number == number)
    }

    fn handle_first(&mut self, piece: &Piece<'_>, now: Time) {
        let again = |(_, answering): &&mut (Pseudonym, Answering)| answering.theirs.number == piece.from;
        if let Some((_, answering)) = self.answering.as_mut().filter(again) {
            answering.touched = now;
            if self.pieces.is_empty() {
                let (own, theirs) = (answering.own, answering.theirs);
                self.pieces.extend(cut(own.number, theirs.number, 2, &answering.message, least(own, theirs)));
            }
            return;
        }
        let interval = self.interval(0);
        let goes_on = |agent: &Agent<G>| agent.opening.as_ref().is_some_and(|opening| opening.own.number < piece.from);
        if let Some(agent) = self.agents.iter_mut().find(|agent| goes_on(agent)) {
            // The other end has not heard this one, or begins anew.
            if now.since(agent.sent) > interval / 2 {
                agent.at = now;
            }
            return;
        }
        let own = Terms { number: self.draw(), mtu: self.settings.mtu as u16 };
        let Some(agent) = self.agents.last() else { return };
        let Some(answering) = Answering::new(&agent.guard, own, piece.from, piece.bytes, &mut self.rng, now) else {
            self.tally.stray += 1;
            return;
        };
        let pieces = cut(own.number, piece.from, 2, &answering.message, least(own, answering.theirs));
        self.pieces.clear();
        self.pieces.extend(pieces);
        self.answering = Some((agent.guard.own(), answering));
        let rest = interval * 3;
        for agent in &mut self.agents {
            (agent.opening, agent.at) = (None, agent.at.max(now + rest));
        }
    }

    fn handle_answer(&mut self, piece: &Piece<'_>, now: Time) {
        let interval = self.interval(0);
        let of = |agent: &Agent<G>| agent.opening.as_ref().is_some_and(|opening| opening.own.number == piece.to);
        let Some(agent) = self.agents.iter_mut().find(|agent| of(agent)) else { return };
        // What is missing is asked for soon: the other end has answered.
        (agent.at, agent.tries) = (now + interval, 1);
        let Some(answer) = self.collected.push(piece) else { return };
        let Some(opening) = &agent.opening else { return };
        let (own, mine, began) = (agent.guard.own(), opening.own, opening.began);
        match opening.hear(&agent.guard, piece.from, &answer, &mut self.rng) {
            Ok((Made { theirs, peer, found, sealer, opener }, last)) => {
                (agent.opening, agent.tries) = (None, 0);
                let mtu = least(mine, theirs);
                self.pieces.extend(cut(mine.number, theirs.number, 3, &last, mtu));
                let session = Session::new(theirs.number, sealer, opener, self.pace(mtu), now);
                let pending = Some(Pending { found, last, at: now + interval, tries: 1, began });
                self.entries.insert(mine.number, Entry { session, own, peer, pending, gone: false, counted: 0 });
            }
            Err(Unmade::Stray) => self.tally.stray += 1,
            Err(Unmade::Refused(reason, _)) => {
                self.events.push_back(Event::Refused { own, reason });
                self.rest_after_refusal(&own, now);
            }
        }
    }

    fn handle_last(&mut self, piece: &Piece<'_>, now: Time) {
        if let Some(entry) = self.entries.get_mut(&piece.to) {
            // The packet that shows that the other end is let in was lost.
            entry.session.speak(false, now);
            return;
        }
        let fits = |(_, of): &&mut (_, Answering)| (of.own.number, of.theirs.number) == (piece.to, piece.from);
        let Some((own, answering)) = self.answering.as_mut().filter(fits) else {
            self.tally.stray += 1;
            return;
        };
        answering.touched = now;
        let Some(agent) = self.agents.iter().find(|agent| agent.guard.own() == *own) else { return };
        let Some(last) = self.collected.push(piece) else { return };
        let (mine, theirs, began, own) = (answering.own, answering.theirs, answering.began, *own);
        match answering.finish(&agent.guard, &last) {
            Ok(Made { peer, found, sealer, opener, .. }) => {
                self.answering = None;
                let mut session = Session::new(theirs.number, sealer, opener, self.pace(least(mine, theirs)), now);
                session.speak(true, now);
                let id = mine.number;
                self.entries.insert(id, Entry { session, own, peer, pending: None, gone: false, counted: 0 });
                self.establish(id, own, peer);
                let age = now.since(began);
                self.events.push_back(Event::Up { id, own, peer, found, outbound: false, age });
            }
            Err(Unmade::Stray) => self.tally.stray += 1,
            Err(Unmade::Refused(reason, sealer)) => {
                self.answering = None;
                self.pieces.extend(sealer.map(|sealer| refusal(theirs.number, sealer)));
                self.events.push_back(Event::Refused { own, reason });
            }
        }
    }

    pub(super) fn rest_after_refusal(&mut self, own: &Pseudonym, now: Time) {
        let jitter = self.jitter();
        if let Some(agent) = self.agent(own) {
            let rest = REFUSED_REST.0.saturating_mul(1 << agent.refusals.min(8)).min(REFUSED_REST.1);
            agent.refusals += 1;
            (agent.opening, agent.at) = (None, now + rest.mul_f64(jitter));
        }
    }

    /// Whether a pseudonym is to open a session: it has none, nor is one about to be made, and this end may begin.
    pub(super) fn wants(&self, at: usize) -> bool {
        if !self.begins {
            return false;
        }
        let own = self.agents[at].guard.own();
        let serves = |entry: &Entry<G::Peer>| entry.own == own && !entry.gone && !entry.session.is_worn();
        let answers = self.answering.as_ref().is_some_and(|(by, _)| *by == own);
        !answers && !self.entries.values().any(serves)
    }

    /// Has a pseudonym open a session if it has none.
    pub(super) fn open(&mut self, at: usize, now: Time) {
        if !self.wants(at) || self.agents[at].at > now {
            return;
        }
        if self.agents[at].opening.is_none() {
            let own = Terms { number: self.draw(), mtu: self.settings.mtu as u16 };
            self.agents[at].opening = Some(Opening::new(&self.agents[at].guard, own, &mut self.rng, now));
        }
        let rest = self.interval(self.agents[at].tries).mul_f64(self.jitter());
        let agent = &mut self.agents[at];
        agent.tries = agent.tries.saturating_add(1);
        (agent.sent, agent.at) = (now, now + rest);
        if let Some(opening) = agent.opening.as_ref().filter(|_| self.pieces.len() < MAX_SESSIONS) {
            self.pieces.extend(cut(opening.own.number, 0, 1, &opening.message, self.settings.mtu));
        }
    }

    fn draw(&mut self) -> u32 {
        loop {
            let number = self.rng.next_u32();
            if number != 0 && !self.is_own(number) {
                return number;
            }
        }
    }

    /// Between 1 and 1.25, so that two ends that begin at once do not do so again.
    fn jitter(&mut self) -> f64 {
        1.0 + f64::from(self.rng.next_u32()) / f64::from(u32::MAX) / 4.0
    }

    /// The rest after so many first messages: long enough for an answer.
    pub(super) fn interval(&self, tries: u32) -> Duration {
        let least = Duration::from_secs(1) + self.time_of(LONG_MESSAGE);
        least.saturating_mul(1 << tries.min(6)).min(MOST_REST.max(least))
    }

    /// How long an answer waits for the last message.
    pub(super) fn patience(&self) -> Duration {
        self.interval(0) * 8
    }
}

/// The line frame that tells an initiator that it is refused.
fn refusal(to: u32, mut sealer: Sealer) -> Vec<u8> {
    let mut body = Vec::new();
    begin_sealed(to, 0, &mut body);
    Payload::Close { reason: Ending::Refused as u8 }.encode(&mut body);
    sealer.seal(&mut body, SEALED_HEAD);
    body
}

fn least(own: Terms, theirs: Terms) -> usize {
    own.mtu.min(theirs.mtu).into()
}
