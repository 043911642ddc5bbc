//! Round: which member a device asks next for enrolment, and what is known if none has helped.
//!
//! Any member can carry a request to the issuer. So a device that joins or renews asks the members that it knows, one
//! after the other and each at all addresses of its name, until one returns an answer that the issuer has sealed. A
//! [`Round`] only keeps this order: it says what to do next ([`Step`]) and is told the result ([`Round::resolved`],
//! [`Round::asked`]). It uses no clock, resolver or socket; [`ask_around`] drives it with a [`Reach`] that has them, on
//! a device or in a simulation.
//!
//! Invariants
//! 1. Members are asked in the order in which they were named, each address at most once in a round.
//! 2. Only an answer that the caller's judge accepts as the issuer's ends a round successfully. Whatever else a member
//!    says is a hint.
//! 3. A round ends when all addresses have been asked, at the latest, and reports every member that has not helped.

use super::{EnrolError, enrol};
use crate::net::{Multiaddr, Transport};
use crate::wire::hello::{EnrolHello, EnrolReply};
use futures::future::BoxFuture;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

/// The members to ask, and the results so far.
#[derive(Debug)]
pub struct Round {
    members: VecDeque<Multiaddr>,
    /// Addresses of the current member that have not been asked yet.
    addresses: VecDeque<Multiaddr>,
    known: BTreeSet<Multiaddr>,
    failures: Vec<Unhelpful>,
    answer: Option<EnrolReply>,
}

/// The next thing to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Find the addresses of this member, and report them by [`Round::resolved`].
    Resolve(Multiaddr),
    /// Ask at this address, and report the answer by [`Round::asked`].
    Ask(Multiaddr),
    /// Stop: the round is over, with the issuer's answer or without.
    Over,
}

/// A member that has not helped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unhelpful {
    /// The address or name that was asked.
    pub at: Multiaddr,
    /// The reason.
    pub why: Why,
}

/// The reason why a member has not helped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its name could not be resolved to an address.
    NoAddress(String),
    /// It does not answer.
    Silent(String),
    /// Its answer is not one that the issuer has sealed: whoever sent it may be wrong, or lie.
    NotTheIssuer(String),
}

impl fmt::Display for Unhelpful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            // The text names the member itself.
            Why::NoAddress(why) => f.write_str(why),
            Why::Silent(why) | Why::NotTheIssuer(why) => write!(f, "{}: {why}", self.at),
        }
    }
}

impl Round {
    /// Creates a round among these members.
    pub fn new(members: impl IntoIterator<Item = Multiaddr>) -> Self {
        Self {
            members: members.into_iter().collect(),
            addresses: VecDeque::new(),
            known: BTreeSet::new(),
            failures: Vec::new(),
            answer: None,
        }
    }

    /// Returns the next thing to do.
    pub fn step(&mut self) -> Step {
        if self.answer.is_some() {
            return Step::Over;
        }
        match self.addresses.pop_front() {
            Some(address) => Step::Ask(address),
            None => self.members.pop_front().map_or(Step::Over, Step::Resolve),
        }
    }

    /// Takes the addresses of a member. Addresses that are already known are not asked again.
    pub fn resolved(&mut self, member: Multiaddr, found: Result<Vec<Multiaddr>, String>) {
        match found {
            Ok(found) => {
                let new = found.into_iter().filter(|address| self.known.insert(address.clone()));
                self.addresses.extend(new);
            }
            Err(why) => self.failures.push(Unhelpful { at: member, why: Why::NoAddress(why) }),
        }
    }

    /// Takes the answer from an address. `judge` returns an error that describes the answer if it is not the issuer's.
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

    /// Returns the latest member that has not helped, and whether another will be asked.
    pub fn last_failure(&self) -> Option<(&Unhelpful, bool)> {
        Some((self.failures.last()?, !self.addresses.is_empty() || !self.members.is_empty()))
    }

    /// Ends the round: returns the issuer's answer, or the members that have not helped, in order.
    pub fn end(self) -> Result<EnrolReply, Vec<Unhelpful>> {
        self.answer.ok_or(self.failures)
    }
}

/// The device's access to the world, as far as a round needs it.
pub trait Reach: Send {
    /// Returns the addresses of a member, whose address may begin with a name.
    fn resolve(&mut self, member: Multiaddr) -> BoxFuture<'static, Result<Vec<Multiaddr>, String>>;
    /// Returns a transport under the device's key, for one connection.
    fn transport(&mut self) -> Result<Transport, String>;
    /// Is told of a member that has not helped, and whether another will be asked (`more`).
    fn note(&mut self, _failed: &Unhelpful, _more: bool) {}
}

/// Asks members in turn, each for at most `limit`, until `judge` accepts an answer as the issuer's. The error lists the
/// members that have not helped.
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

    /// Accepts an answer that begins with `i`.
    fn judge(reply: &EnrolReply) -> Result<(), String> {
        let good = reply.sealed.as_ref().is_some_and(|sealed| sealed.starts_with(b"i"));
        if good { Ok(()) } else { Err("not sealed by it".into()) }
    }

    /// Invariants 1 and 2.
    #[test]
    fn each_address_is_asked_once_in_order_until_the_issuer_has_answered() {
        let mut round = Round::new([named("one"), named("two"), named("three")]);
        assert_eq!(round.step(), Step::Resolve(named("one")));
        round.resolved(named("one"), Ok(vec![at(1), at(2), at(1)]));
        assert_eq!(round.step(), Step::Ask(at(1)));
        round.asked(at(1), Err("no answer in time".into()), judge);
        assert_eq!(round.step(), Step::Ask(at(2)));
        // An unsealed refusal ends nothing: anybody on the path can send it.
        let refused = EnrolReply { sealed: None, refused: Some(Refusal::NoIssuer) };
        round.asked(at(2), Ok(refused), judge);
        assert_eq!(round.step(), Step::Resolve(named("two")));
        round.resolved(named("two"), Ok(vec![at(2), at(3)]));
        assert_eq!(round.step(), Step::Ask(at(3)), "the second name leads to who was asked, too");
        round.asked(at(3), Ok(reply(b"issued")), judge);
        assert_eq!(round.step(), Step::Over, "nobody else is asked");
        assert_eq!(round.end(), Ok(reply(b"issued")));
    }

    /// Invariants 2 and 3.
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
