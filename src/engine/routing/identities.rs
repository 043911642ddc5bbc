//! Identities: credentials that are learnt, and the devices that the hops of paths stand for.

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::id::{CredentialPrefix, Pseudonym};
use crate::identity::credential::PeerCredential;
use std::collections::BTreeSet;

impl Routing {
    /// The device that a hop stands for: the router of this area whose credential begins with the prefix, else another
    /// device with such a credential. `None` if the prefix fits no device or more than one.
    pub(in crate::engine) fn pseudonym_at(&self, neighbours: &Neighbours, hop: &CredentialPrefix) -> Option<Pseudonym> {
        let one_of = |mut all: BTreeSet<Pseudonym>| all.pop_first().filter(|_| all.is_empty());
        let routers: BTreeSet<Pseudonym> = self.link_state.lsdb.routers_under(hop).collect();
        one_of(if routers.is_empty() { neighbours.peers.under(hop).collect() } else { routers })
    }

    /// Keeps a credential that has been verified. The credentials in use, which are not dropped for it, are those of
    /// this device, of neighbours and of routers.
    pub(in crate::engine) fn learn_credential(
        &self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        credential: PeerCredential,
    ) {
        let Neighbours { peers, links, .. } = neighbours;
        let dropped = peers.learn(credential, |known| {
            let key = known.body.key;
            let routes = self.link_state.hash_of(&key) == Some(known.hash);
            core.is_own(&key) || links.of(&key).next().is_some() || routes
        });
        core.count(Counter::CredentialsForgotten, u64::from(dropped));
    }
}
