//! Own: what this node advertises of its own links.

use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::links::Link;
use crate::engine::routing::Routing;
use crate::id::{LinkId, Pseudonym, Tag};
use crate::identity::credential::PeerCredential;
use crate::routing::graph::Graph;
use crate::routing::lsdb::{Inserted, OwnLink};
use crate::routing::origin::{Access, Claim, Claims, Origin};
use crate::wire;
use crate::wire::lsa::{CONTEXT, LsaLink};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Routing {
    /// The links of this router as it sees them itself, for the graph.
    pub(in crate::engine) fn own_links(&self, core: &Core, neighbours: &Neighbours) -> Vec<OwnLink> {
        let told = |(_, link): (LinkId, &Link)| OwnLink {
            to: link.peer.body.key,
            bearer: neighbours.link_metrics.bearer(link.bearer).class as u8,
            metrics: link.metrics,
            usable: link.usable,
        };
        neighbours
            .links
            .iter()
            .filter(|(_, link)| link.forwarding && link.area == core.settings.area)
            .map(told)
            .collect()
    }

    /// What the next LSA of this router would state.
    pub(super) fn claims(&mut self, core: &mut Core, neighbours: &mut Neighbours) -> Claims {
        let mut links: BTreeMap<(Pseudonym, u8), LsaLink> = BTreeMap::new();
        let (mut leaves, mut accesses) = (BTreeSet::new(), Vec::new());
        let (mut groups, mut services): (BTreeSet<Tag>, BTreeSet<Tag>) =
            (neighbours.own_groups.clone(), neighbours.own_services.clone());
        services.extend(&neighbours.sleepers.boxes);
        let mut borders = BTreeSet::new();
        for (_, link) in neighbours.links.iter().filter(|(_, link)| link.usable && link.own == core.own) {
            if !link.forwarding {
                leaves.insert(link.peer.body.handle);
                let bearer = neighbours.link_metrics.bearer(link.bearer).class as u8;
                accesses.push((link.peer.body.handle, bearer, link.metrics));
                groups.extend(&link.tags.groups);
                services.extend(&link.tags.services);
                continue;
            }
            if link.area != core.settings.area {
                borders.insert(link.area);
                continue;
            }
            let bearer = neighbours.link_metrics.bearer(link.bearer).class as u8;
            let m = &link.metrics;
            let claim = LsaLink {
                to: link.peer.hash,
                bearer,
                price: m.price,
                delay: m.delay,
                deviation: m.deviation,
                success: m.success,
                energy: m.energy,
                rate: m.rate,
                mtu: m.mtu,
            };
            let known = links.entry((link.peer.body.key, bearer)).or_insert_with(|| claim.clone());
            if (claim.price, claim.delay) < (known.price, known.delay) {
                *known = claim;
            }
        }
        Claims {
            area: core.settings.area,
            leaving: false,
            links: links.into_iter().map(|((neighbour, _), link)| Claim { neighbour, link }).collect(),
            leaves: leaves.into_iter().collect(),
            groups: groups.into_iter().collect(),
            services: services.into_iter().collect(),
            borders: borders.into_iter().collect(),
            accesses: Access::gathered(accesses),
        }
    }

    /// Advertises under another pseudonym from now on. What was advertised under the one before stays in force until
    /// [`leave_as`](Self::leave_as).
    pub(in crate::engine) fn take_pseudonym(&mut self, core: &Core, next: Pseudonym) {
        let before = core::mem::replace(&mut self.link_state.origin, Origin::new());
        self.link_state.former = core.credential().cloned().map(|own| (before, own));
        self.link_state.lsdb.take_pseudonym(next);
        self.link_state.reconsider();
        self.routes.graph = Graph::default();
    }

    /// Advertises that the pseudonym before is leaving, if it has advertised anything.
    pub(in crate::engine) fn leave_as(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let Some((mut origin, own)) = self.link_state.former.take() else { return };
        if origin.told().is_none() || !core.settings.forwarding {
            return;
        }
        origin.note(Claims { leaving: true, area: core.settings.area, ..Claims::default() }, core.now.time);
        let Some(lsa) = origin.due(core.now.time) else { return };
        let signed: Arc<[u8]> = own.sign_document(CONTEXT, &wire::encode(&lsa)).into();
        let credential = PeerCredential { hash: own.hash, body: own.body.clone(), signed: own.signed.clone() };
        if self.link_state.lsdb.insert(&credential, lsa, signed.clone(), core.now) == Inserted::Newer {
            self.flood(core, neighbours, &[], &signed);
        }
    }

    /// Signs and floods this router's own LSA, if it is due.
    pub(super) fn tell_own(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        if !core.settings.forwarding {
            return;
        }
        let Some(own) = core.credential().cloned() else {
            return self.link_state.origin.rest();
        };
        self.link_state.origin.take_credential(own.hash, core.skew());
        let Some(lsa) = self.link_state.origin.due(core.now.time) else { return };
        let signed: Arc<[u8]> = own.sign_document(CONTEXT, &wire::encode(&lsa)).into();
        if let Inserted::OwnAhead(sequence) =
            self.link_state.lsdb.tell(own.hash, &own.body, lsa, signed.clone(), core.now)
        {
            self.link_state.origin.jump_past(sequence, core.now.time);
            neighbours.links_changed = true;
            return;
        }
        self.flood(core, neighbours, &[], &signed);
    }
}
