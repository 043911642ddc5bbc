//! Planning: a plan from a scenario and a seed.
//!
//! Bearers and groups come first, in the order of the file ([`bearers`], [`devices`], with [`sleeping`], and those of
//! other files in [`files`]). Then follow the pairs that can link with each other ([`links`], with the graphs of
//! [`topology`], drawn until they are connected: [`whole`], those of other files in [`edges`]), the devices that keep the mail of
//! others ([`parents`]), the segments and readers ([`layout`]), the policies
//! ([`policies`]), the traffic ([`traffic`], to any and to all in [`anycast`]), the faults ([`faults`]) and the expectations ([`expectations`]). Each
//! step uses the results of the earlier ones, and reports errors with file and line.
//!
//! Invariants
//! 1. A plan is a function of the document, its other files and the seed.
//! 2. The random choices for one group, entry of links or fault do not depend on the others ([`draw`]).

mod anycast;
mod bearers;
mod devices;
mod draw;
mod edges;
mod expectations;
mod faults;
mod files;
mod kinds;
mod layout;
mod links;
mod names;
mod parents;
mod policies;
mod reach;
mod sleeping;
mod struck;
mod topics;
mod topology;
mod traffic;
mod whole;

pub use reach::Reach;
pub use traffic::{copies, messages};

use super::document::Document;
use super::graph::{self, Graph};
use super::model::Model;
use super::problem::{Problem, instead};
use crate::plan::{Bearer, DAY, Device, Edge, Plan};
use edges::Tariffs;
use m2mesh::time::{EpochLength, Unix};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;

/// The inputs of planning, and the results so far.
struct Planning<'a> {
    document: &'a Document<'a>,
    model: &'a Model,
    /// The texts of other files, by their name in the scenario.
    files: &'a BTreeMap<String, String>,
    /// The topologies among these files.
    graphs: &'a BTreeMap<String, Graph>,
    seed: u64,
    /// The wall time at the start.
    start: Unix,
    /// The number of earlier draws of positions: see [`whole`].
    attempt: usize,
    bearers: Vec<Bearer>,
    /// The bearers that were made for a price of their own.
    tariffs: Tariffs,
    devices: Vec<Device>,
    /// The devices whose names are given by a file.
    by_name: BTreeMap<String, usize>,
    /// By device: latitude and longitude, if a file states them.
    degrees: Vec<Option<[f64; 2]>>,
    /// By device: the indices of its bearers.
    carried: Vec<Vec<usize>>,
    /// The groups, in the order of the file, with the indices of their devices.
    groups: Vec<(String, Range<usize>)>,
    edges: Vec<Edge>,
}

/// Works a model out into a plan.
pub fn plan(
    document: &Document<'_>,
    model: &Model,
    files: &BTreeMap<String, String>,
    name: &str,
    seed: Option<u64>,
) -> Result<Plan, Problem> {
    let seed = seed.unwrap_or(model.seed);
    if model.question.get_ref().trim().is_empty() {
        return Err(document.problem(&model.question.span(), "the question is empty", "ask what the run is to answer"));
    }
    let (epoch, start, epochs) = realm(document, model)?;
    let graphs = graphs(model, files)?;
    let mut planning = Planning {
        document,
        model,
        files,
        graphs: &graphs,
        seed,
        start,
        attempt: 0,
        bearers: Vec::new(),
        tariffs: Tariffs::new(&[]),
        devices: Vec::new(),
        by_name: BTreeMap::new(),
        degrees: Vec::new(),
        carried: Vec::new(),
        groups: Vec::new(),
        edges: Vec::new(),
    };
    planning.bearers = planning.plan_bearers()?;
    planning.plan_network()?;
    planning.bearers.clone_from(&planning.tariffs.bearers);
    let layout = planning.plan_layout()?;
    let policies = planning.plan_policies()?;
    let flows = planning.plan_traffic(&policies)?;
    let faults = planning.plan_faults(&flows)?;
    let expectations = planning.plan_expectations(&flows)?;
    Ok(Plan {
        name: name.to_owned(),
        question: model.question.get_ref().clone(),
        seed,
        warmup: model.warmup.0,
        duration: planning.duration(),
        settle: model.settle.0,
        epoch,
        epochs,
        anonymity: model.realm.anonymity.unwrap_or(m2mesh::identity::anonymity::Anonymity::Stable),
        start,
        layout,
        faults,
        bearers: planning.bearers,
        devices: planning.devices,
        edges: planning.edges,
        policies,
        flows,
        expectations,
    })
}

/// Reads the topologies of other files, each once.
fn graphs(model: &Model, files: &BTreeMap<String, String>) -> Result<BTreeMap<String, Graph>, Problem> {
    let of_links = model.links.iter().filter_map(|links| links.get_ref().file.as_ref());
    let of_devices = model.devices.values().filter_map(|group| group.file.as_ref());
    let names = of_links.chain(of_devices).map(Spanned::get_ref);
    let there = names.filter_map(|name| Some((name, files.get(name)?)));
    there.map(|(name, text)| Ok((name.clone(), graph::read(name, text)?))).collect()
}

/// Returns the length of an epoch, the wall time at the start, and the number of epochs for which devices have
/// credentials at the start.
fn realm(document: &Document<'_>, model: &Model) -> Result<(EpochLength, Unix, usize), Problem> {
    let realm = &model.realm;
    let epoch = match &realm.epoch {
        None => EpochLength::HOUR,
        Some(epoch) => {
            let length = epoch.get_ref().0;
            let whole = (length.subsec_nanos() == 0).then(|| u32::try_from(length.as_secs()).ok()).flatten();
            whole.and_then(EpochLength::new).ok_or_else(|| {
                let what = format!("an epoch of {} is none", humantime::format_duration(length));
                document.problem(&epoch.span(), what, "write a length that divides a day and is at least 4s, as \"1h\"")
            })?
        }
    };
    let start = match &realm.start {
        None => Unix::from_seconds(START),
        Some(start) => {
            let parsed = humantime::parse_rfc3339_weak(start.get_ref()).ok();
            let since = parsed.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            let since = since.and_then(|since| u64::try_from(since.as_micros()).ok());
            // Times before the earliest make no sense for epochs; with times after the latest, sums could overflow.
            let sound = since.filter(|micros| (EARLIEST..LATEST).contains(&(micros / 1_000_000)));
            Unix(sound.ok_or_else(|| {
                let what = format!("{:?} is no time between 2000 and 2200", start.get_ref());
                document.problem(&start.span(), what, "write it as \"2026-01-05T00:00:00Z\"")
            })?)
        }
    };
    let end = start + (model.warmup.0 + model.duration.get_ref().0 + model.settle.0);
    let needed =
        usize::try_from(epoch.epoch_at(end).0 - epoch.epoch_at(start).0 + 1 + SPARE_EPOCHS).unwrap_or(usize::MAX);
    let span = realm.epochs.as_ref().map_or_else(|| model.duration.span(), Spanned::span);
    let epochs = realm.epochs.as_ref().map_or(needed, |epochs| *epochs.get_ref());
    if !(MIN_EPOCHS..=MOST_EPOCHS).contains(&epochs) {
        let what =
            format!("devices would begin with credentials for {epochs} epochs; {MIN_EPOCHS} to {MOST_EPOCHS} can be");
        return Err(document.problem(
            &span,
            what,
            "set `epochs` of [realm], and they renew in time; or lengthen `epoch`",
        ));
    }
    Ok((epoch, start, epochs))
}

impl Planning<'_> {
    fn duration(&self) -> Duration {
        self.model.duration.get_ref().0
    }

    /// Returns the length of the whole run, including warm-up and settling.
    fn length(&self) -> Duration {
        self.model.warmup.0 + self.duration() + self.model.settle.0
    }

    /// Returns the time of the day at which the warm-up ends.
    fn dawn(&self) -> Duration {
        let since = Duration::from_micros(self.start.0) + self.model.warmup.0;
        Duration::from_nanos(u64::try_from(since.as_nanos() % DAY.as_nanos()).unwrap_or_default())
    }

    /// Returns the text of another file, which was read with the scenario.
    fn file(&self, name: &Spanned<String>) -> Result<&str, Problem> {
        let text = self.files.get(name.get_ref()).map(String::as_str);
        text.ok_or_else(|| {
            let what = format!("the file {} is not with the scenario", name.get_ref());
            let known = self.files.keys().map(String::as_str);
            self.document.problem(&name.span(), what, instead(name.get_ref(), known))
        })
    }
}

/// 2026-01-05T00:00:00Z, a Monday.
const START: u64 = 1_767_571_200;
/// 2000-01-01.
const EARLIEST: u64 = 946_684_800;
/// 2200-01-01.
const LATEST: u64 = 7_258_118_400;
/// The number of epochs of credentials beyond those that a run needs: clocks may be ahead, and the next epoch's are
/// made before it begins.
const SPARE_EPOCHS: u64 = 2;
/// The present epoch and the next, since otherwise a device could not change from one to the other.
const MIN_EPOCHS: usize = 2;
/// The number of epochs, since each costs every device a key pair and a credential.
const MOST_EPOCHS: usize = 1_000;
