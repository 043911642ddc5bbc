//! Host: the machine under a simulated node, with its clocks, its files, and the realm's issuer if the device has the
//! issuer's key.

use super::device::{handles, hashes, pseudonyms};
use super::medium::{Medium, NANOS, SimTransport, now};
use super::opener::SimOpener;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use libp2p::core::Transport;
use m2mesh::id::{OuterId, Pseudonym};
use m2mesh::identity::admission::AdmissionView;
use m2mesh::identity::enrolment::AnswerJudge;
use m2mesh::identity::invitation::MemoryRealm;
use m2mesh::identity::kdf::Secret;
use m2mesh::identity::membership::{Membership, Stored};
use m2mesh::net::{self, Multiaddr, PeerId, Reach};
use m2mesh::node::{Host, Issued, OpenNetwork};
use m2mesh::time::{Now, Time, Unix};
use m2mesh::wire::hello::{EnrolHello, EnrolReply};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A device's clocks: the monotonic clock is the world's; the wall clock may be wrong.
#[derive(Debug)]
pub struct Clock {
    /// The true wall time at the start of the run.
    start: Unix,
    wrong: Mutex<Wrong>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Wrong {
    /// The error of the wall clock in microseconds, at `since`.
    offset: i64,
    /// The rate in parts per million by which it runs too fast.
    ppm: f64,
    /// The time in microseconds after the start at which `offset` holds.
    since: u64,
}

impl Clock {
    /// Returns clocks that are right.
    pub fn new(start: Unix) -> Arc<Self> {
        Arc::new(Self { start, wrong: Mutex::default() })
    }

    /// Returns the readings of both clocks.
    pub fn now(&self) -> Now {
        let time = now().saturating_sub(NANOS) / 1_000;
        let wrong = *self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let unix = self.start.0.saturating_add(time).saturating_add_signed(wrong.at(time));
        Now { time: Time(time), unix: Unix(unix) }
    }

    /// Steps the wall clock by this number of seconds, and returns its error in microseconds from now on.
    pub fn step(&self, seconds: f64) -> i64 {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.offset += (seconds * 1e6) as i64;
        wrong.at(now().saturating_sub(NANOS) / 1_000)
    }

    /// Makes the wall clock run too fast by this rate in parts per million from now on.
    pub fn drift(&self, ppm: f64) {
        let time = now().saturating_sub(NANOS) / 1_000;
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        *wrong = Wrong { offset: wrong.at(time), ppm, since: time };
    }
}

impl Wrong {
    fn at(&self, time: u64) -> i64 {
        self.offset + (time.saturating_sub(self.since) as f64 * self.ppm / 1e6) as i64
    }
}

/// The host of a device: see the module's documentation.
pub struct SimHost {
    /// The device's clocks.
    pub clock: Arc<Clock>,
    /// The place in which its membership is kept.
    pub kept: Arc<Mutex<Option<Stored>>>,
    /// The realm, on the device that has the issuer's key.
    pub realm: Option<Arc<Mutex<MemoryRealm>>>,
    /// The medium, for connections under other keys.
    pub medium: Medium,
    /// The index of the device.
    pub device: usize,
    /// For networks under other pseudonyms.
    pub opener: SimOpener,
    /// For what the issuer draws; it is another one for each answer.
    pub seed: [u8; 32],
}

impl Host for SimHost {
    fn now(&self) -> Now {
        self.clock.now()
    }

    fn save(&mut self, membership: Stored) -> BoxFuture<'static, Result<(), String>> {
        if let Ok(membership) = Membership::from_stored(&membership) {
            self.medium.witness(|witness| {
                witness.note_credentials(self.device, hashes(&membership));
                witness.note_pseudonyms(pseudonyms(&membership));
                witness.note_handles(self.device, handles(&membership));
                witness.note_bulletin(self.device, membership.bulletin().version());
            });
            self.medium.onlook(|onlooker| onlooker.note_membership(self.device, &membership));
        }
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(membership);
        ready(Ok(())).boxed()
    }

    fn issue(&mut self, hello: EnrolHello, relayed: Option<OuterId>, at: Unix) -> BoxFuture<'static, Issued> {
        let Some(realm) = &self.realm else { return ready(Issued::unavailable()).boxed() };
        let mut realm = realm.lock().unwrap_or_else(PoisonError::into_inner);
        let realm = &mut *realm;
        // Two requests may come at one moment of virtual time.
        let mut rng = ChaCha20Rng::from_seed(self.seed);
        rng.fill_bytes(&mut self.seed);
        let answered = realm.issuer.answer(&hello, &mut realm.book, &realm.bulletin, at, &mut rng);
        ready(Issued::of(&realm.issuer, &hello, relayed, answered)).boxed()
    }

    fn open_network(
        &mut self,
        own: Pseudonym,
        seed: &Secret,
        view: AdmissionView,
        known: Vec<Multiaddr>,
    ) -> BoxFuture<'static, Result<OpenNetwork, String>> {
        let mut rng = ChaCha20Rng::from_seed(self.seed);
        rng.fill_bytes(&mut self.seed);
        let mut jitter = [0; 32];
        rng.fill_bytes(&mut jitter);
        ready(Ok(self.opener.open(own, seed, view, known, (rng.next_u64(), jitter)))).boxed()
    }

    fn renew(
        &mut self,
        hello: EnrolHello,
        seed: Secret,
        judge: AnswerJudge,
        members: Vec<Multiaddr>,
    ) -> BoxFuture<'static, Result<EnrolReply, String>> {
        let (medium, device) = (self.medium.clone(), self.device);
        async move {
            let mut reach = SimReach { medium, device, peer: net::keypair(&seed).public().to_peer_id() };
            let answer = net::ask_around(&mut reach, members, &hello, RENEWAL_TIME, |reply| judge.judge(reply)).await;
            answer.map_err(|_| "no member brought the issuer's answer".to_owned())
        }
        .boxed()
    }
}

/// The medium under a device's own key, in the form that a round among members needs.
struct SimReach {
    medium: Medium,
    device: usize,
    peer: PeerId,
}

impl Reach for SimReach {
    /// Names are not resolved in a simulation.
    fn resolve(&mut self, member: Multiaddr) -> BoxFuture<'static, Result<Vec<Multiaddr>, String>> {
        ready(Ok(vec![member])).boxed()
    }

    fn transport(&mut self) -> Result<net::Transport, String> {
        Ok(SimTransport::new(self.medium.clone(), self.device, self.peer).boxed())
    }
}

/// The time that one member may take to answer a renewal, as on a device.
const RENEWAL_TIME: Duration = Duration::from_secs(200);
