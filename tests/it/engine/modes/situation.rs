//! The situations that messages are sent in.

use super::Sent;
use super::way::Way;
use crate::engine::mesh::{Mesh, name};
use m2mesh::engine::api::{Reply, Token};
use m2mesh::engine::{Settings, SleepSettings};
use m2mesh::id::InnerId;
use m2mesh::identity::anonymity::Anonymity;
use m2mesh::identity::invitation::DEFAULT_SEGMENT;
use m2mesh::wire::credential::Role;
use std::collections::BTreeSet;
use std::time::Duration;

/// Messages of one cell.
const MESSAGES: usize = 12;

/// What a cell runs on.
pub struct Run {
    pub mesh: Mesh,
    names: Vec<&'static str>,
    /// Those who are to receive.
    pub receivers: Vec<usize>,
    /// Their subscriptions or offers.
    pub listening: Vec<(usize, Token)>,
    /// Calls that were answered.
    pub answered: BTreeSet<u64>,
    /// Requests to groups that were answered, by who has.
    pub told: BTreeSet<(usize, InnerId)>,
    /// Calls that receivers have got, also in lives that have ended.
    pub calls: Vec<(usize, Vec<u8>)>,
    /// Publications that receivers were handed, also in lives that have ended.
    pub heard: Vec<(usize, Vec<u8>)>,
}

impl Run {
    /// The name of the receiver.
    pub fn name(&self) -> &'static str {
        self.names[self.receivers[0]]
    }

    /// Lets time pass, while receivers answer.
    fn pass(&mut self, way: Way, time: Duration) {
        let until = self.mesh.now.time + time;
        while self.mesh.now.time < until {
            let step = Duration::from_millis(20).min(until.since(self.mesh.now.time));
            self.mesh.run(step);
            way.answer(self);
        }
    }

    /// Notes what receivers were handed in the lives that end now.
    fn note(&mut self) {
        for receiver in self.receivers.clone() {
            let listens = |token: &Token| self.listening.iter().any(|(at, of)| (*at, of) == (receiver, token));
            for (token, reply) in &self.mesh.nodes[receiver].replies {
                match reply {
                    Reply::Call(call) if listens(token) => self.calls.push((receiver, call.payload.clone())),
                    Reply::Published(one) if listens(token) => self.heard.push((receiver, one.payload.clone())),
                    _ => {}
                }
            }
        }
    }

    /// Crash and restart of the receiver, who listens again.
    fn restart(&mut self, way: Way) {
        self.note();
        let receiver = self.receivers[0];
        self.mesh.restart(receiver);
        self.listening.clear();
        self.mesh.connect(receiver - 1, receiver);
        way.listen(self, receiver);
    }
}

/// The last of these takes mail, and the one before it is its parent.
fn with_parent(names: &[&str]) -> Mesh {
    let nodes: Vec<(&str, u64)> = names.iter().map(|name| (*name, DEFAULT_SEGMENT)).collect();
    let (last, parent) = (names.len() - 1, names.len() - 2);
    let parents = vec![name(names[parent])];
    let sleep =
        |at: usize| (at == last).then(|| SleepSettings { parents: parents.clone(), ..SleepSettings::default() });
    let settings = |at| Settings { mail: at == last, sleep: sleep(at), ..Settings::default() };
    Mesh::of_roles(7, &nodes, Vec::new(), |at| if at == parent { Role::Mailbox as u16 } else { 0 }, settings)
}

/// A situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// The receiver is a neighbour.
    Direct,
    /// Two relays are between.
    ThreeHops,
    /// The link between the relays is cut while messages are sent, and heals before their deadline.
    Healed,
    /// The receiver is killed while messages are sent, and is there again before their deadline.
    Killed,
    /// The receiver goes to sleep while messages are sent, and wakes before their deadline; the router beside it is its parent.
    Asleep,
    /// The link between the relays is cut while messages are sent, and heals after their deadline.
    Passed,
    /// All change their pseudonyms while messages are under way, and the link between the relays is cut meanwhile.
    Rotation,
}

impl Situation {
    pub const ALL: [Self; 7] =
        [Self::Direct, Self::ThreeHops, Self::Healed, Self::Killed, Self::Asleep, Self::Passed, Self::Rotation];

    /// As the document names it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::ThreeHops => "three hops",
            Self::Healed => "parted, healed before the deadline",
            Self::Killed => "receiver killed and started again",
            Self::Asleep => "receiver asleep, awake before the deadline",
            Self::Passed => "parted until after the deadline",
            Self::Rotation => "all pseudonyms change on the way",
        }
    }

    pub fn prepare(self, way: Way) -> Run {
        let names = match self {
            Self::Direct => vec!["caster", "b"],
            _ => vec!["caster", "relay", "other", "b"],
        };
        let anonymity = if self == Self::Rotation { Anonymity::Rotating } else { Anonymity::Stable };
        let mut mesh = match self {
            Self::Asleep => with_parent(&names),
            _ => Mesh::with(&names, |_| Settings { anonymity, ..Settings::default() }),
        };
        (1..names.len()).for_each(|at| mesh.connect(at - 1, at));
        let receivers = way.receivers(names.len());
        let mut run = Run {
            mesh,
            names,
            receivers: receivers.clone(),
            listening: Vec::new(),
            answered: BTreeSet::new(),
            told: BTreeSet::new(),
            calls: Vec::new(),
            heard: Vec::new(),
        };
        run.pass(way, Duration::from_secs(5));
        receivers.into_iter().for_each(|receiver| way.listen(&mut run, receiver));
        run.pass(way, Duration::from_secs(5));
        // The first of all takes longer: sessions are opened, trees grow.
        way.send(&mut run, usize::MAX, Duration::from_secs(60));
        run.pass(way, Duration::from_secs(5));
        run
    }

    /// Sends the messages while the situation comes about, and waits until all is over.
    pub fn play(self, run: &mut Run, way: Way) -> Vec<Sent> {
        let lifetime = if self == Self::Rotation { Duration::from_secs(300) } else { Duration::from_secs(60) };
        let (lifetime, every) = (way.lifetime(lifetime), way.every());
        if self == Self::Rotation {
            let left = 3_600 - run.mesh.now.unix.seconds() % 3_600;
            run.pass(way, Duration::from_secs(left) - every * u32::try_from(MESSAGES).unwrap_or(1));
        }
        let mut sent = Vec::new();
        for number in 0..MESSAGES {
            match self {
                Self::Healed | Self::Passed | Self::Rotation if number == MESSAGES / 3 => run.mesh.disconnect(1, 2),
                Self::Asleep if number == MESSAGES / 3 => run.mesh.disconnect(2, 3),
                Self::Killed if number == MESSAGES / 3 => {
                    run.pass(way, Duration::from_millis(3));
                    run.restart(way);
                }
                _ => {}
            }
            sent.push(way.send(run, number, lifetime));
            run.pass(way, every);
        }
        match self {
            Self::Healed => {
                run.pass(way, Duration::from_secs(20));
                run.mesh.connect(1, 2);
            }
            Self::Asleep => {
                run.pass(way, Duration::from_secs(20));
                run.mesh.connect(2, 3);
            }
            Self::Rotation => {
                run.pass(way, Duration::from_secs(100));
                run.mesh.connect(1, 2);
            }
            Self::Passed => {
                run.pass(way, lifetime + Duration::from_secs(5));
                run.mesh.connect(1, 2);
            }
            _ => {}
        }
        run.pass(way, lifetime + Duration::from_secs(30));
        run.note();
        sent
    }
}
