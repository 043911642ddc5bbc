//! The names of the routers that this node has contacts of.
//!
//! Invariants
//! - Of two pseudonyms of a device its name leads to the one of the later epoch; either has the name.
//! - There are no more names than routers in the database.

use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::id::{Handle, Name, Pseudonym};
use std::collections::BTreeMap;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Named {
    routers: BTreeMap<Name, Pseudonym>,
    names: BTreeMap<Pseudonym, Name>,
}

impl Named {
    pub(super) fn router(&self, name: &Name) -> Option<Pseudonym> {
        self.routers.get(name).copied()
    }

    pub(super) fn name(&self, router: &Pseudonym) -> Option<&Name> {
        self.names.get(router)
    }

    /// Forgets a router. Under another pseudonym it may still be there.
    pub(super) fn forget(&mut self, router: &Pseudonym) {
        if let Some(name) = self.names.remove(router)
            && self.routers.get(&name) == Some(router)
        {
            self.routers.remove(&name);
        }
    }
}

impl Routing {
    /// Gives a router the name that its device has by the contacts.
    pub(super) fn learn_router(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        handle: &Handle,
        router: Pseudonym,
    ) {
        let Some(name) = neighbours.name_of(core, handle) else { return };
        let state = &mut self.link_state;
        if state.named.name(&router) == Some(&name) {
            return;
        }
        let since = |router: &Pseudonym| state.lsdb.entry(router).map(|entry| entry.since);
        let known = state.named.router(&name);
        if known.is_none_or(|known| since(&known) <= since(&router)) {
            state.named.routers.insert(name.clone(), router);
        }
        state.named.names.insert(router, name);
    }

    /// Gives routers the names that they have by changed contacts.
    pub(in crate::engine) fn name_routers(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let known: Vec<(Handle, Pseudonym)> =
            self.link_state.lsdb.entries().map(|entry| (entry.handle, entry.router)).collect();
        for (handle, router) in known {
            self.learn_router(core, neighbours, &handle, router);
        }
        self.link_state.changed = true;
    }
}
