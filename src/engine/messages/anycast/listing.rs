//! Listing: who offers a service, for an application that asks.
//!
//! All that may offer it are asked at once, up to [`LIST`](super::LIST). The list is told when all have answered, or the slowest
//! has had a retransmission time-out.

use super::{Devices, Entry, PAUSE, Step};
use crate::delivery::lane::Lane;
use crate::engine::api::{AnycastKind, OfferView, Reply, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::wire::data::Class;
use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The longest time for which answers are waited for.
const PATIENCE: Duration = Duration::from_secs(30);

impl Messages {
    /// Asks who offers a service.
    pub(in crate::engine) fn ask_for_offers(&mut self, core: &mut Core, token: Token, service: String) {
        let now = core.now.time;
        let entry = Entry {
            token,
            also: Vec::new(),
            service,
            payload: Vec::new(),
            policy: None,
            lane: Lane { class: Class::Control, send_policy: Arc::default() },
            kind: AnycastKind::Request { repeat: false, id: None },
            since: now,
            deadline: now + PATIENCE,
            step: Step::Pausing { until: now },
            devices: Devices::default(),
            pause: PAUSE.0,
            questions: BTreeSet::new(),
            lists: true,
            unsure: false,
        };
        self.enter(core, entry);
    }

    /// Tells who has answered.
    pub(super) fn list(&mut self, core: &mut Core, number: u64) {
        let now = core.now.time;
        let Some(entry) = self.anycasts.remove(number) else { return };
        for (to, id) in entry.step.asked() {
            self.sends.withdraw(&to, id, now);
        }
        let of = |name| {
            let known = self.anycasts.known.get(&(entry.service.clone(), name))?;
            Some((known.offer?, now.since(known.at)))
        };
        let told = entry.devices.found.iter().filter_map(|name| {
            let (offer, age) = of(name.clone())?;
            Some(OfferView { from: name.clone(), capacity: offer.capacity, load: offer.load, awake: offer.awake, age })
        });
        let offers = told.collect();
        core.finish(entry.token, Reply::Offers(offers));
    }
}
