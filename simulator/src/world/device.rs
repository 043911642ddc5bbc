//! Device: its lasting part, and the node that runs on it for one life.

use super::application::Application;
use super::disk::Disk;
use super::executor::{self, Owner};
use super::host::{Clock, SimHost};
use super::ledger::{Ledger, message_of};
use super::medium::{Liar, Medium};
use super::opener::SimOpener;
use futures::channel::oneshot;
use m2mesh::client::{Door, Principal};
use m2mesh::engine::api::InboxRecord;
use m2mesh::engine::store::{Read, Table};
use m2mesh::engine::{Engine, Settings};
use m2mesh::event_log::{HEAD_KEY, verify_live};
use m2mesh::id::{CredentialHash, Handle, IssuerId, Pseudonym};
use m2mesh::identity::credential::OwnCredential;
use m2mesh::identity::invitation::MemoryRealm;
use m2mesh::identity::membership::{Membership, Stored};
use m2mesh::link::bearer::Bearers;
use m2mesh::net::serial::Lines;
use m2mesh::net::{LinkIds, Multiaddr};
use m2mesh::node::{EventLoop, Parts};
use m2mesh::store::{MemoryDisk, Store};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A device, which outlives its node's processes.
pub struct Device {
    index: usize,
    seed: u64,
    /// The membership, until its first life.
    fresh: Option<Membership>,
    kept: Arc<Mutex<Option<Stored>>>,
    lying: MemoryDisk,
    /// Its clocks.
    pub clock: Arc<Clock>,
    issuer: Option<(IssuerId, Arc<Mutex<MemoryRealm>>)>,
    bearers: Vec<usize>,
    profiles: Bearers,
    bootstrap: Vec<Multiaddr>,
    target_links: u32,
    start_within: Duration,
    settings: Settings,
    flush: Duration,
    /// The time for which its application processes each message and call.
    work: Duration,
    start_up: Duration,
    lives: u64,
    life: Option<Life>,
    /// The reason for which its disk takes no writes, while it takes none.
    disk_failure: Option<&'static str>,
}

/// A running node.
struct Life {
    application: Application,
    disk: Disk,
    /// Held because dropping it would stop the node in an orderly manner.
    _stop: oneshot::Sender<()>,
}

/// The properties with which a device is made.
pub struct Making {
    /// Its index among the devices.
    pub index: usize,
    /// The seed of its random numbers.
    pub seed: u64,
    /// Its membership.
    pub membership: Membership,
    /// The issuer and the realm, on the device that has the issuer's key.
    pub issuer: Option<(IssuerId, Arc<Mutex<MemoryRealm>>)>,
    /// Its clocks.
    pub clock: Arc<Clock>,
    /// The indices of its bearers.
    pub bearers: Vec<usize>,
    /// The profiles of all bearers, by index.
    pub profiles: Bearers,
    /// The addresses that it knows from the start.
    pub bootstrap: Vec<Multiaddr>,
    /// The number of links that it seeks in addition to those of its edges.
    pub target_links: u32,
    /// The time after its start within which it begins to dial.
    pub start_within: Duration,
    /// The settings of its engine.
    pub settings: Settings,
    /// The time that its disk takes to flush.
    pub flush: Duration,
    /// The time for which its application processes each message and call.
    pub work: Duration,
    /// The time from the start of its node until its application listens and offers.
    pub start_up: Duration,
    /// Whether it will be started again, so that its membership has to be kept.
    pub keep: bool,
}

impl Device {
    /// Returns a device whose node does not run.
    pub fn new(making: Making) -> Self {
        let Making {
            index,
            seed,
            membership,
            issuer,
            clock,
            bearers,
            profiles,
            bootstrap,
            target_links,
            start_within,
            settings,
            flush,
            work,
            start_up,
            keep,
        } = making;
        let kept = Arc::new(Mutex::new(keep.then(|| membership.to_stored())));
        Self {
            index,
            seed,
            fresh: Some(membership),
            kept,
            lying: MemoryDisk::default(),
            clock,
            issuer,
            bearers,
            profiles,
            bootstrap,
            target_links,
            start_within,
            settings,
            flush,
            work,
            start_up,
            lives: 0,
            life: None,
            disk_failure: None,
        }
    }

    /// Starts its node. An error describes what is wrong with the kept state.
    pub fn start(&mut self, medium: &Medium, ledger: &Ledger) -> Result<&Application, String> {
        self.lives += 1;
        let membership = match self.fresh.take() {
            Some(membership) => membership,
            None => {
                let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                let stored = kept.as_ref().ok_or("a device starts again without what it kept")?;
                Membership::from_stored(stored).map_err(|error| error.to_string())?
            }
        };
        medium.witness(|witness| {
            witness.note_credentials(self.index, hashes(&membership));
            witness.note_pseudonyms(pseudonyms(&membership));
            witness.note_handles(self.index, handles(&membership));
        });
        medium.onlook(|onlooker| onlooker.note_membership(self.index, &membership));
        if medium.may_lie(self.index) {
            let same = Membership::from_stored(&membership.to_stored()).map_err(|error| error.to_string())?;
            medium.set_liar(self.index, Liar::new(same, self.clock.clone()));
        }
        let owner: Owner = ((self.index as u64) << 32) | self.lives;
        let seed = seed_of(self.seed, owner);
        let disk = Disk::open(std::mem::take(&mut self.lying), self.flush, self.index, (ledger, medium));
        disk.set_failure(self.disk_failure);
        let opener = SimOpener {
            device: self.index,
            owner,
            clock: self.clock.clone(),
            medium: medium.clone(),
            bearers: self.bearers.clone(),
            profiles: self.profiles.clone(),
            bootstrap: self.bootstrap.clone(),
            target_links: self.target_links,
            start_within: self.start_within,
            link_ids: LinkIds::default(),
        };
        let process = u64::from(seed[0]) | (owner << 8);
        let rng = ChaCha20Rng::from_seed(seed);
        let issuer = self.issuer.as_ref().map(|(id, _)| *id);
        let engine = Engine::new(membership, issuer, self.settings.clone(), &disk.reader(), rng, self.clock.now());
        let mut engine = engine.map_err(|error| error.to_string())?;
        let (own, at) = (engine.pseudonym(), engine.read_clock(self.clock.now()).unix);
        let secret = engine.membership().libp2p_seed(at);
        let network = opener.open(own, &secret, engine.admission_view_of(&own), Vec::new(), (process, seed));
        // The application itself is given readers of the store.
        let (door, arriving) = Door::new(());
        let (stop, stopped) = oneshot::channel();
        let host = SimHost {
            clock: self.clock.clone(),
            kept: self.kept.clone(),
            realm: self.issuer.as_ref().map(|(_, realm)| realm.clone()),
            medium: medium.clone(),
            device: self.index,
            // Who takes another pseudonym has been on for long.
            opener: SimOpener { start_within: Duration::ZERO, ..opener },
            // Not what the engine draws.
            seed: seed.map(|byte| !byte),
        };
        executor::spawn(
            owner,
            EventLoop::new(Parts {
                engine,
                network,
                lines: Lines::none(),
                store: disk.clone(),
                host,
                calls: arriving,
                stop: stopped,
                bootstrap: self.bootstrap.clone(),
                lab: None,
            }),
        );
        let application = Application {
            node: self.index,
            owner,
            caller: door.admit(Principal::program()),
            work: self.work,
            start_up: self.start_up,
            ledger: ledger.clone(),
            medium: medium.clone(),
        };
        application.receive(disk.reader());
        let life = self.life.insert(Life { application, disk, _stop: stop });
        Ok(&life.application)
    }

    /// Returns a copy of its membership, before its first life.
    pub fn membership(&self) -> Result<Membership, String> {
        let fresh = self.fresh.as_ref().ok_or("a device has been started already")?;
        Membership::from_stored(&fresh.to_stored()).map_err(|error| error.to_string())
    }

    /// Kills its process; what was not flushed is lost.
    pub fn kill(&mut self) {
        if let Some(life) = self.life.take() {
            self.lying = life.disk.crash();
            executor::drop_owner(life.application.owner);
        }
    }

    /// Returns the realm, on the device that has the issuer's key.
    pub fn realm(&self) -> Option<Arc<Mutex<MemoryRealm>>> {
        self.issuer.as_ref().map(|(_, realm)| realm.clone())
    }

    /// Returns whether it has had more than one life.
    pub fn was_restarted(&self) -> bool {
        self.lives > 1
    }

    /// Returns its application, while it runs.
    pub fn application(&self) -> Option<&Application> {
        self.life.as_ref().map(|life| &life.application)
    }

    /// Sets or clears the reason for which its disk takes no writes.
    pub fn set_disk_failure(&mut self, reason: Option<&'static str>) {
        self.disk_failure = reason;
        if let Some(life) = &self.life {
            life.disk.set_failure(reason);
        }
    }

    /// Verifies its event log; an error says what is wrong.
    pub fn verify_log(&self) -> Result<(), String> {
        self.read(|disk| {
            let verdict = verify_live(|| disk.get(Table::Meta, HEAD_KEY), |each| disk.scan(Table::Log, &[], each));
            match verdict {
                Ok(verdict) => verdict.map(drop).map_err(|broken| broken.to_string()),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    /// Returns the payloads of the messages in its inbox.
    pub fn inbox(&self) -> Vec<Vec<u8>> {
        self.read(|disk| {
            let mut found = Vec::new();
            let scanned = disk.scan(Table::Inbox, &[], &mut |_, value| {
                if let Ok(record) = m2mesh::wire::decode::<InboxRecord<'_>>(value) {
                    found.extend(record.payloads().map(<[u8]>::to_vec));
                }
                true
            });
            debug_assert!(scanned.is_ok(), "a store in memory can be read");
            found
        })
    }

    /// Returns the numbers of the messages in its inbox.
    pub fn lying(&self) -> BTreeSet<u64> {
        self.inbox().iter().filter_map(|payload| message_of(payload)).collect()
    }

    fn read<T>(&self, read: impl FnOnce(&dyn Read) -> T) -> T {
        match &self.life {
            Some(life) => read(&life.disk.reader()),
            None => read(&self.lying),
        }
    }
}

/// Returns the hashes of all credentials of a membership.
pub fn hashes(membership: &Membership) -> Vec<CredentialHash> {
    pseudonyms(membership).into_iter().map(|(hash, _)| hash).collect()
}

/// Returns the hashes of all credentials of a membership, with their pseudonyms.
pub fn pseudonyms(membership: &Membership) -> Vec<(CredentialHash, Pseudonym)> {
    credentials(membership).map(|own| (own.hash, own.pseudonym())).collect()
}

/// Returns the handles of a membership's credentials.
pub fn handles(membership: &Membership) -> Vec<Handle> {
    credentials(membership).map(|own| own.body.handle).collect()
}

fn credentials(membership: &Membership) -> impl Iterator<Item = &Arc<OwnCredential>> {
    let length = Duration::from_secs(membership.epoch_length().seconds());
    let times = std::iter::successors(Some(membership.valid_from()), move |at| Some(*at + length));
    let until = membership.valid_until();
    times.take_while(move |at| *at < until).filter_map(|at| membership.credential(at))
}

/// Derives a seed of its own for each purpose.
pub fn seed_of(seed: u64, what: u64) -> [u8; 32] {
    let mut state = seed ^ what.rotate_left(23);
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&crate::virtual_os::splitmix(&mut state).to_le_bytes());
    }
    bytes
}
