//! Link metrics: what links cost and carry, by their bearers, measurements and spending; and the failure history of
//! hops.
//!
//! A neighbour may be reached over several bearers, each a link of its own. What a link's probes measured is kept by
//! neighbour and bearer, so that the metrics of a link that comes back are known from before. Of the links to one
//! neighbour each frame takes the one that its policy ranks best.
//!
//! A link is *usable* while its neighbour is heard, its bearer's access window is open, its bearer's quota is not
//! spent, and its bearer has air time left. A link that is not usable carries no data and is not advertised, but stays up.
//!
//! Invariants
//! 1. No data frame leaves over a link that is not usable, or that would not be sent before the bearer's access window
//!    closes.
//! - What is known of links, neighbours and hops is bounded, and what is dropped is counted.

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::air::PING_BYTES;
use crate::engine::neighbours::links::Link;
use crate::engine::store::{Read, ReadError, Table, Write};
use crate::event_log::Event;
use crate::id::{LinkId, Pseudonym};
use crate::link::bearer::Profile;
use crate::link::estimate::Estimator;
use crate::link::forecast::{Need, first_suitable};
use crate::link::history::{History, Kept};
use crate::link::spend::{Spend, Spent};
use crate::link::windows::Windows;
use crate::routing::graph::Metrics;
use crate::routing::totals::weigh;
use crate::time::{Now, Time, Unix};
use crate::wire;
use crate::wire::data::Policy;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most links, present and past, whose measurements are kept. Drop policy: the link not measured for the longest time
/// is forgotten (`links_forgotten`).
const MAX_ESTIMATORS: usize = 1_024;
/// How often measurements and spending are stored.
const SAVE: Duration = Duration::from_secs(300);
/// How soon the spending of a quota is stored.
const SAVE_SPENT: Duration = Duration::from_secs(10);
/// Links are assessed anew after this time, when the engine is called anyway.
const ASSESS: Duration = Duration::from_secs(1);
/// Key of the spending in [`Table::Meta`].
const SPENT: &[u8] = b"bearers-spent";
/// Key of the failure history in [`Table::Meta`].
const HISTORY: &[u8] = b"hops";

/// The failure history, as it is stored.
#[derive(Serialize, Deserialize)]
struct KeptHistory {
    at: Unix,
    hops: Vec<Kept>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::engine) struct LinkMetrics {
    /// The bearers by their number; never empty.
    bearers: Vec<Profile>,
    spend: Vec<Spend>,
    estimators: BTreeMap<(Pseudonym, u8), Measured>,
    pub(in crate::engine) history: History,
    /// When measurements are stored next.
    save: Time,
    /// Whether any of a quota was spent since they were last stored.
    spent: bool,
    /// When all links were assessed last.
    assessed: Time,
    /// Whether any hop was in doubt when they were last stored.
    doubted: bool,
}

#[derive(Debug)]
struct Measured {
    estimator: Estimator,
    at: Time,
    /// Whether the store has the present measurements.
    kept: bool,
}

impl LinkMetrics {
    /// The bearers of the settings, with what an earlier process measured and spent.
    pub(in crate::engine) fn load(bearers: &[Profile], store: &dyn Read, now: Now) -> Result<Self, ReadError> {
        let bearers = if bearers.is_empty() { vec![Profile::default()] } else { bearers.to_vec() };
        let mut spend: Vec<Spend> = bearers.iter().map(|bearer| Spend::new(bearer.quota)).collect();
        if let Some(kept) = store.get(Table::Meta, SPENT)? {
            for (name, spent) in wire::decode::<Vec<(String, Spent)>>(&kept).unwrap_or_default() {
                if let Some(at) = bearers.iter().position(|bearer| bearer.name == name) {
                    spend[at].restore(spent);
                }
            }
        }
        let mut estimators = BTreeMap::new();
        store.scan(Table::Links, &[], &mut |key, value| {
            let of = key.split_last().and_then(|(bearer, peer)| Some((Pseudonym::from_slice(peer)?, *bearer)));
            if let (Some(of), Ok(mut estimator)) = (of, wire::decode::<Estimator>(value)) {
                estimator.resume(now.time);
                estimators.insert(of, Measured { estimator, at: now.time, kept: true });
            }
            estimators.len() < MAX_ESTIMATORS
        })?;
        let mut history = History::default();
        if let Some(kept) = store.get(Table::Meta, HISTORY)?
            && let Ok(KeptHistory { at, hops }) = wire::decode(&kept)
        {
            history.restore(&hops, now.unix.since(at), now.time);
        }
        let save = now.time + SAVE;
        Ok(Self { bearers, spend, estimators, history, save, spent: false, assessed: now.time, doubted: true })
    }

    /// The bearer of that number. The last bearer is that of links which no rule of the settings matches.
    pub(in crate::engine) fn bearer(&self, number: u8) -> &Profile {
        &self.bearers[usize::from(number).min(self.bearers.len() - 1)]
    }

    /// When a bearer may be used for a frame that needs this, from `now` on.
    pub(in crate::engine) fn opens(&self, bearer: u8, now: Unix, need: &Need) -> Option<Unix> {
        let spend = self.spend.get(usize::from(bearer)).copied().unwrap_or_default();
        first_suitable(&self.bearer(bearer).windows, &spend, now, need).map(|opening| opening.opens)
    }

    /// Whether a frame of this many bytes, sent now, is sent before the bearer's access window closes.
    pub(in crate::engine) fn fits_window(&self, bearer: u8, bytes: usize, now: Unix) -> bool {
        let bearer = self.bearer(bearer);
        bearer.windows.is_empty() || bearer.windows.fits(now, bearer.air_time(bytes).unwrap_or_default())
    }

    /// When a frame of this many bytes has to begin to leave at the latest, because the bearer's access window closes.
    pub(in crate::engine) fn leaves_by(&self, bearer: u8, bytes: usize, now: Now) -> Option<Time> {
        let bearer = self.bearer(bearer);
        let closes = bearer.windows.next_change(now.unix).filter(|_| bearer.windows.open_at(now.unix))?;
        let left = closes.since(now.unix).saturating_sub(bearer.air_time(bytes).unwrap_or_default());
        Some(now.time + left)
    }

    /// The bytes that are left of a bearer's quota, or `None` if it has none.
    pub(in crate::engine) fn left(&self, bearer: u8, now: Unix) -> Option<u64> {
        self.spend.get(usize::from(bearer))?.left(now)
    }

    fn estimator(&mut self, of: (Pseudonym, u8), now: Time) -> (&mut Estimator, bool) {
        let full = self.estimators.len() >= MAX_ESTIMATORS && !self.estimators.contains_key(&of);
        if full && let Some(oldest) = self.estimators.iter().min_by_key(|(_, known)| known.at).map(|(of, _)| *of) {
            self.estimators.remove(&oldest);
        }
        let known = self.estimators.entry(of).or_insert_with(|| Measured {
            estimator: Estimator::new(now),
            at: now,
            kept: false,
        });
        (known.at, known.kept) = (now, false);
        (&mut known.estimator, full)
    }
}

impl LinkMetrics {
    /// What was measured of one neighbour, and of hops from and to it, holds of another pseudonym as well: it is the same device.
    pub(in crate::engine) fn inherit(&mut self, from: &Pseudonym, to: Pseudonym, now: Time) {
        let known: Vec<(u8, Estimator)> = self
            .estimators
            .range((*from, 0)..=(*from, u8::MAX))
            .map(|((_, bearer), measured)| (*bearer, measured.estimator.clone()))
            .collect();
        for (bearer, estimator) in known {
            *self.estimator((to, bearer), now).0 = estimator;
        }
        self.history.inherit(from, to);
    }
}

impl Neighbours {
    /// Stores what was measured and spent, if that is due.
    pub(in crate::engine) fn write_history(&mut self, core: &mut Core) {
        if core.now.time < self.link_metrics.save {
            return;
        }
        self.link_metrics.save = core.now.time + SAVE;
        for ((peer, bearer), known) in &mut self.link_metrics.estimators {
            if !core::mem::replace(&mut known.kept, true) {
                let key = [&peer.0[..], &[*bearer]].concat();
                let value = wire::encode(&known.estimator);
                core.journal.write(Write::Put { table: Table::Links, key, value });
            }
        }
        self.link_metrics.history.tidy(core.now.time);
        let hops = self.link_metrics.history.keep(core.now.time);
        if core::mem::replace(&mut self.link_metrics.doubted, !hops.is_empty()) || !hops.is_empty() {
            let value = wire::encode(&KeptHistory { at: core.now.unix, hops });
            core.journal.write(Write::Put { table: Table::Meta, key: HISTORY.to_vec(), value });
        }
        if core::mem::take(&mut self.link_metrics.spent) {
            let named = self.link_metrics.bearers.iter().map(|bearer| bearer.name.clone());
            let spent: Vec<(String, Spent)> = named.zip(self.link_metrics.spend.iter().map(Spend::spent)).collect();
            let value = wire::encode(&spent);
            core.journal.write(Write::Put { table: Table::Meta, key: SPENT.to_vec(), value });
        }
    }

    /// When an access window or a quota changes next.
    /// When an access window, a quota or the air time of a bearer changes next.
    pub(in crate::engine) fn next_bearer_change(&self, core: &Core) -> Option<Time> {
        let changes = self.link_metrics.bearers.iter().filter_map(|bearer| bearer.windows.next_change(core.now.unix));
        let renewals = self.link_metrics.spend.iter().filter_map(|spend| spend.next_change(core.now.unix));
        let changed = changes.chain(renewals).min().map(|at| core.now.time + at.since(core.now.unix));
        [changed, self.air.next_wake(), self.next_air_change(core)].into_iter().flatten().min()
    }

    /// The usable link to a neighbour that a policy ranks best, and its price in micro-units per MB.
    pub(in crate::engine) fn link_under(&self, to: &Pseudonym, policy: &Policy) -> Option<(LinkId, u64)> {
        self.best_link(self.links.of(to), policy)
    }

    /// Of the usable links to all neighbouring routers the one that a policy ranks best.
    pub(in crate::engine) fn router_under(&self, policy: &Policy) -> Option<LinkId> {
        self.best_link(self.links.iter().filter(|(_, link)| link.forwarding), policy).map(|(link, _)| link)
    }

    fn best_link<'a>(&self, links: impl Iterator<Item = (LinkId, &'a Link)>, policy: &Policy) -> Option<(LinkId, u64)> {
        let fits = links.filter(|(_, link)| {
            let class = self.link_metrics.bearer(link.bearer).class as u16;
            link.usable && policy.avoid.is_none_or(|avoid| avoid & (1 << class) == 0)
        });
        fits.min_by_key(|(id, link)| (weigh(&link.metrics, &policy.weights), core::cmp::Reverse(*id)))
            .map(|(id, link)| (id, link.metrics.price))
    }

    /// One-way delay of a link in microseconds, or 0 if the link is unknown.
    pub(in crate::engine) fn delay_of(&self, id: LinkId) -> u32 {
        self.links.get(id).map_or(0, |link| link.metrics.delay)
    }

    /// Notes the round trip of a probe over a link.
    pub(in crate::engine) fn handle_measured(&mut self, core: &mut Core, id: LinkId, round_trip: Duration) {
        let Some(of) = self.links.get(id).map(|link| (link.peer.body.key, link.bearer)) else { return };
        let now = core.now.time;
        let (estimator, forgotten) = self.link_metrics.estimator(of, now);
        estimator.measured(round_trip, now);
        core.count(Counter::LinksForgotten, u64::from(forgotten));
        self.charge_air(core, id, PING_BYTES);
        self.assess(core, id);
    }

    /// Notes that a link's neighbour does not answer any more, or answers again.
    pub(in crate::engine) fn handle_silence(&mut self, core: &mut Core, id: LinkId, silent: bool) {
        let now = core.now.time;
        let Some(link) = self.links.get_mut(id) else { return };
        if link.silent == silent {
            return;
        }
        link.silent = silent;
        let (of, name) = ((link.peer.body.key, link.bearer), link.name.clone());
        if silent {
            self.link_metrics.estimator(of, now).0.unanswered(now);
            core.record(Event::LinkSilent { name: name.clone(), bearer: self.link_metrics.bearer(of.1).name.clone() });
        } else {
            core.record(Event::LinkHeard { name: name.clone(), bearer: self.link_metrics.bearer(of.1).name.clone() });
        }
        self.assess(core, id);
    }

    /// Sets the price of a link, as a lab states it, in micro-units per MB.
    pub(in crate::engine) fn handle_priced(&mut self, core: &mut Core, id: LinkId, price: Option<u64>) {
        if let Some(link) = self.links.get_mut(id) {
            link.price = price;
            self.assess(core, id);
        }
    }

    /// Takes the access windows of a bearer for the days ahead.
    pub(in crate::engine) fn handle_windows(&mut self, core: &mut Core, bearer: u8, windows: Windows) {
        if let Some(profile) = self.link_metrics.bearers.get_mut(usize::from(bearer)) {
            profile.windows = windows;
            self.assess_all(core);
        }
    }

    /// Assesses a link anew: its metrics, and whether it is usable.
    pub(in crate::engine) fn assess(&mut self, core: &mut Core, id: LinkId) {
        let Some(link) = self.links.get(id) else { return };
        let bearer = self.link_metrics.bearer(link.bearer);
        let spend = self.link_metrics.spend.get(usize::from(link.bearer));
        let spent = spend.is_some_and(|spend| spend.is_exhausted(core.now.unix));
        let spent = spent || self.air.is_exhausted(link.bearer);
        let usable = core.carries(&link.own) && !link.silent && !spent && bearer.windows.open_at(core.now.unix);
        let known = self.link_metrics.estimators.get(&(link.peer.body.key, link.bearer));
        let fresh = Estimator::new(core.now.time);
        let quality = known.map_or(&fresh, |known| &known.estimator).quality(core.now.time);
        let metrics = Metrics {
            price: link.price.unwrap_or(bearer.price),
            delay: quality.delay,
            deviation: quality.deviation,
            success: quality.success,
            energy: bearer.energy,
            rate: bearer.rate,
            mtu: bearer.mtu,
        };
        if let Some(link) = self.links.get_mut(id)
            && (link.usable != usable || differs(&link.metrics, &metrics))
        {
            (link.metrics, link.usable) = (metrics, usable);
            self.links_changed = true;
        }
    }

    /// Assesses all links anew: a window opens or closes, a quota is spent or renewed.
    pub(in crate::engine) fn assess_all(&mut self, core: &mut Core) {
        for id in self.links.ids() {
            self.assess(core, id);
        }
    }

    /// Whether it is so long since all links were assessed that they are to be assessed anew when something else is due.
    pub(in crate::engine) fn is_assessment_due(&self, now: Time) -> bool {
        now >= self.link_metrics.assessed + ASSESS
    }

    /// Assesses all links: a window or a quota has changed, air time or chances have recovered.
    pub(in crate::engine) fn timeout_link_metrics(&mut self, core: &mut Core) {
        self.link_metrics.assessed = core.now.time;
        self.assess_all(core);
        self.timeout_air(core);
    }

    /// Charges bytes that are sent over a link to its bearer's quota.
    pub(in crate::engine) fn spend(&mut self, core: &mut Core, id: LinkId, bytes: usize) {
        let Some(bearer) = self.links.get(id).map(|link| usize::from(link.bearer)) else { return };
        let Some(spend) = self.link_metrics.spend.get_mut(bearer) else { return };
        if spend.left(core.now.unix).is_some() && !self.link_metrics.spent {
            self.link_metrics.spent = true;
            self.link_metrics.save = self.link_metrics.save.min(core.now.time + SAVE_SPENT);
        }
        if spend.spend(bytes as u64, core.now.unix) {
            // This has used up the quota.
            let name = self.link_metrics.bearers[bearer].name.clone();
            core.record(Event::QuotaSpent { bearer: name });
            self.assess_all(core);
        }
    }
}

/// Whether the metrics of a link differ by more than what is irrelevant to any choice: every change causes the graph to
/// be built anew.
fn differs(before: &Metrics, now: &Metrics) -> bool {
    let Metrics { price, delay, deviation: _, success, energy, rate, mtu } = *now;
    let configured = (price, energy, rate, mtu) != (before.price, before.energy, before.rate, before.mtu);
    let apart = |a: u32, b: u32| a.abs_diff(b) > 500 && a.abs_diff(b) > a.min(b) / 10;
    configured || apart(delay, before.delay) || success.abs_diff(before.success) > CHANCE
}

/// Chances that differ by no more than this, in parts of 65,535, are taken as equal: half of a hundredth.
const CHANCE: u16 = 328;
