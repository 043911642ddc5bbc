//! A round among members: whom a device asks next that wants something of the issuer, and what is known when nobody has helped.
//!
//! Any member may carry a request to the issuer. So a device that joins or renews asks those that it knows, one after the other,
//! each at all addresses of its name, until one brings what the issuer has sealed. A [`Round`] is that and nothing else: it says
//! what is to be done ([`Step`]) and is told what came of it ([`Round::resolved`], [`Round::asked`]). It knows no clock, no
//! resolver and no socket; [`ask_around`] drives it with a [`Reach`] that has them, on a device or in a simulation.
//!
//! Invariants
//! 1. Members are asked in the order in which they were named, each address at most once a round.
//! 2. Only an answer that the caller's judge takes for the issuer's ends a round well; whatever else a member says is a hint.
//! 3. A round ends after all addresses at the latest, and tells of each that has not helped.

use super::{EnrolError, enrol};
use crate::net::{Multiaddr, Transport};
use crate::wire::hello::{EnrolHello, EnrolReply};
use futures::future::BoxFuture;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

/// Whom to ask, and what has come of it so far.
#[derive(Debug)]
pub struct Round {
    members: VecDeque<Multiaddr>,
    /// Of the member whose turn it is.
    addresses: VecDeque<Multiaddr>,
    known: BTreeSet<Multiaddr>,
    failures: Vec<Unhelpful>,
    answer: Option<EnrolReply>,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Find the addresses of that member, and say so by [`Round::resolved`].
    Resolve(Multiaddr),
    /// Ask at that address, and say what was answered by [`Round::asked`].
    Ask(Multiaddr),
    /// Nothing: it is over, with the issuer's answer or with none.
    Over,
}

/// A member that has not helped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unhelpful {
    /// Where it is, or should be.
    pub at: Multiaddr,
    /// What came of it.
    pub why: Why,
}

/// Why a member has not helped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its name has no address, as far as can be found out.
    NoAddress(String),
    /// It does not answer.
    Silent(String),
    /// It answers, but not what the issuer has sealed: whoever says that may be wrong, or lie.
    NotTheIssuer(String),
}

impl fmt::Display for Unhelpful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            // It names the member itself.
            Why::NoAddress(why) => f.write_str(why),
            Why::Silent(why) | Why::NotTheIssuer(why) => write!(f, "{}: {why}", self.at),
        }
    }
}

impl Round {
    /// Among these members.
    pub fn new(members: impl IntoIterator<Item = Multiaddr>) -> Self {
        Self {
            members: members.into_iter().collect(),
            addresses: VecDeque::new(),
            known: BTreeSet::new(),
            failures: Vec::new(),
            answer: None,
        }
    }

    /// What is to be done.
    pub fn step(&mut self) -> Step {
        if self.answer.is_some() {
            return Step::Over;
        }
        match self.addresses.pop_front() {
            Some(address) => Step::Ask(address),
            None => self.members.pop_front().map_or(Step::Over, Step::Resolve),
        }
    }

    /// Where a member is. What another name has led to is not asked again.
    pub fn resolved(&mut self, member: Multiaddr, found: Result<Vec<Multiaddr>, String>) {
        match found {
            Ok(found) => {
                let new = found.into_iter().filter(|address| self.known.insert(address.clone()));
                self.addresses.extend(new);
            }
            Err(why) => self.failures.push(Unhelpful { at: member, why: Why::NoAddress(why) }),
        }
    }

    /// What was answered at an address; `judge` says what an answer is if it is not the issuer's.
    pub fn asked(
        &mut self,
        address: Multiaddr,
        answer: Result<EnrolReply, String>,
        judge: impl Fn(&EnrolReply) -> Result<(), String>,
    ) {
        let why = match answer {
            Ok(reply) => match judge(&reply) {
                Ok(()) => return self.answer = Some(reply),
                Err(hint) => Why::NotTheIssuer(hint),
            },
            Err(why) => Why::Silent(why),
        };
        self.failures.push(Unhelpful { at: address, why });
    }

    /// The last that has not helped, and whether there is anybody left.
    pub fn last_failure(&self) -> Option<(&Unhelpful, bool)> {
        Some((self.failures.last()?, !self.addresses.is_empty() || !self.members.is_empty()))
    }

    /// How it ended: the issuer's answer, or who has not helped, in order.
    pub fn end(self) -> Result<EnrolReply, Vec<Unhelpful>> {
        self.answer.ok_or(self.failures)
    }
}

/// The world, as far as a round needs it.
pub trait Reach: Send {
    /// Addresses of a member, whose own may begin with a name.
    fn resolve(&mut self, member: Multiaddr) -> BoxFuture<'static, Result<Vec<Multiaddr>, String>>;
    /// A transport under the device's key, for one connection.
    fn transport(&mut self) -> Result<Transport, String>;
    /// A member has not helped; `more` if another will be asked.
    fn note(&mut self, _failed: &Unhelpful, _more: bool) {}
}

/// Asks members in turn until one brings what `judge` takes for the issuer's answer; each has `limit` to do so.
pub async fn ask_around(
    reach: &mut impl Reach,
    members: impl IntoIterator<Item = Multiaddr>,
    hello: &EnrolHello,
    limit: Duration,
    judge: impl Fn(&EnrolReply) -> Result<(), String>,
) -> Result<EnrolReply, Vec<Unhelpful>> {
    let mut round = Round::new(members);
    loop {
        match round.step() {
            Step::Resolve(member) => {
                let found = reach.resolve(member.clone()).await;
                round.resolved(member, found);
            }
            Step::Ask(address) => {
                let answer = match reach.transport() {
                    Ok(transport) => enrol(transport, address.clone(), hello, limit).await,
                    Err(why) => Err(EnrolError::Transport(why)),
                };
                round.asked(address, answer.map_err(|error| error.to_string()), &judge);
                if let Some((failed, more)) = round.last_failure() {
                    reach.note(failed, more);
                }
            }
            Step::Over => return round.end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::enrolment::Refusal;

    fn at(port: u16) -> Multiaddr {
        format!("/ip4/192.0.2.1/tcp/{port}").parse().expect("a multiaddress")
    }

    fn named(name: &str) -> Multiaddr {
        format!("/dns4/{name}/tcp/1").parse().expect("a multiaddress")
    }

    fn reply(sealed: &[u8]) -> EnrolReply {
        EnrolReply { sealed: Some(sealed.to_vec()), refused: None }
    }

    /// Takes what begins with an `i` for the issuer's.
    fn judge(reply: &EnrolReply) -> Result<(), String> {
        let good = reply.sealed.as_ref().is_some_and(|sealed| sealed.starts_with(b"i"));
        if good { Ok(()) } else { Err("not sealed by it".into()) }
    }

    #[test]
    fn each_address_is_asked_once_in_order_until_the_issuer_has_answered() {
        let mut round = Round::new([named("one"), named("two"), named("three")]);
        assert_eq!(round.step(), Step::Resolve(named("one")));
        round.resolved(named("one"), Ok(vec![at(1), at(2), at(1)]));
        assert_eq!(round.step(), Step::Ask(at(1)));
        round.asked(at(1), Err("no answer in time".into()), judge);
        assert_eq!(round.step(), Step::Ask(at(2)));
        // What anybody on the way can say is no answer.
        let refused = EnrolReply { sealed: None, refused: Some(Refusal::NoIssuer) };
        round.asked(at(2), Ok(refused), judge);
        assert_eq!(round.step(), Step::Resolve(named("two")));
        round.resolved(named("two"), Ok(vec![at(2), at(3)]));
        assert_eq!(round.step(), Step::Ask(at(3)), "the second name leads to who was asked, too");
        round.asked(at(3), Ok(reply(b"issued")), judge);
        assert_eq!(round.step(), Step::Over, "nobody else is asked");
        assert_eq!(round.end(), Ok(reply(b"issued")));
    }

    #[test]
    fn a_round_without_an_answer_tells_of_everybody() {
        let mut round = Round::new([named("one"), at(2), at(3)]);
        assert_eq!((round.step(), round.last_failure()), (Step::Resolve(named("one")), None));
        round.resolved(named("one"), Err("there is no host called one".into()));
        for (port, answer) in [(2, Err("refused".to_owned())), (3, Ok(reply(b"forged")))] {
            assert_eq!(round.step(), Step::Resolve(at(port)));
            round.resolved(at(port), Ok(vec![at(port)]));
            assert_eq!(round.step(), Step::Ask(at(port)));
            round.asked(at(port), answer, judge);
            assert_eq!(
                round.last_failure().map(|(failed, more)| (failed.at.clone(), more)),
                Some((at(port), port == 2))
            );
        }
        assert_eq!(round.step(), Step::Over);
        let said: Vec<String> = round.end().expect_err("nobody has").iter().map(ToString::to_string).collect();
        let at = "/ip4/192.0.2.1/tcp";
        assert_eq!(
            said,
            ["there is no host called one", &format!("{at}/2: refused"), &format!("{at}/3: not sealed by it")]
        );
        assert_eq!(Round::new([]).end(), Err(vec![]), "a round among nobody is over");
    }
}
