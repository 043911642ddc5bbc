//! Metrics: the quantities that a run measures, with their names and units.
//!
//! A metric about messages can be restricted to some of them: `latency.p99[class=alarm]`, `delivered[group=meter]` (the
//! sender's group), `sent[flow=readings]`, `cost.message[policy=cheap]` (of flows that name that policy). A metric
//! about traffic on links, or about devices, can be restricted too: `cost[bearer=lte]`, `bytes[device=meter-3]`,
//! `battery.min[group=meter]`. This text is the metric's key in a summary, and the form in which an expectation names
//! it. Durations are seconds.
//!
//! In addition to the metrics that are always measured, an expectation may name any percentile, such as
//! `latency.p99.9`, and any counter and gauge of the nodes, such as `counter.data_looped` and `gauge.inbox`, by the
//! names in the nodes' own tables.

use m2mesh::counter::Counter;
use m2mesh::metrics::Gauge;
use m2mesh::wire::data::Class;

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The metric's name.
    pub name: &'static str,
    /// The unit of its values.
    pub unit: Unit,
    /// The selectors that can restrict it, such as a class or a group of senders.
    pub selectors: &'static [&'static str],
    /// The description of the metric.
    pub about: &'static str,
}

/// The unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain number.
    Count,
    /// A share from 0 to 1.
    Share,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Bytes a second.
    BytesPerSecond,
    /// Units of money.
    Money,
    /// Joules.
    Joules,
}

const fn of_messages(name: &'static str, unit: Unit, about: &'static str) -> Metric {
    Metric { name, unit, selectors: &SELECTORS, about }
}

const fn of_all(name: &'static str, unit: Unit, about: &'static str) -> Metric {
    Metric { name, unit, selectors: &[], about }
}

const fn of_wire(name: &'static str, unit: Unit, about: &'static str) -> Metric {
    Metric { name, unit, selectors: &["bearer", "class", "group", "device"], about }
}

const fn of_bearers(name: &'static str, unit: Unit, about: &'static str) -> Metric {
    Metric { name, unit, selectors: &["bearer"], about }
}

const fn of_devices(name: &'static str, unit: Unit, about: &'static str) -> Metric {
    Metric { name, unit, selectors: &["group", "device"], about }
}

const fn of_groups(name: &'static str, unit: Unit, about: &'static str) -> Metric {
    Metric { name, unit, selectors: &["group"], about }
}

/// All metrics except percentiles, counters and gauges that expectations name.
pub const METRICS: &[Metric] = &[
    of_messages(
        "sent",
        Unit::Count,
        "messages handed over to a node; a publication or broadcast counts once for each receiver that was on",
    ),
    of_messages("delivered", Unit::Share, "of those, the share that reached the application at the other end"),
    of_messages("delivered.count", Unit::Count, "how many reached it"),
    of_messages(
        "confirmed",
        Unit::Share,
        "of messages with end-to-end confirmation and requests, the share confirmed or answered",
    ),
    of_messages("expired", Unit::Count, "ended without confirmation at their deadline"),
    of_messages("refused", Unit::Count, "not taken by a node"),
    of_messages("unreachable", Unit::Count, "there was no way"),
    of_messages("unsettled", Unit::Count, "no outcome was told, because the sender was off"),
    of_messages("duplicates", Unit::Count, "handed to an application more than once"),
    of_messages("late", Unit::Count, "handed over after their deadline"),
    of_messages("latency.mean", Unit::Seconds, "from handing over to the application at the other end"),
    of_messages("latency.p50", Unit::Seconds, "the same, median"),
    of_messages("latency.p90", Unit::Seconds, "the same, exceeded by one in 10"),
    of_messages("latency.p99", Unit::Seconds, "the same, exceeded by one in 100"),
    of_messages("latency.max", Unit::Seconds, "the same, longest"),
    of_messages("hops.mean", Unit::Count, "links that a confirmed message went over, mean"),
    of_messages(
        "cost.message",
        Unit::Money,
        "what a confirmed message cost, as its sender's node reckons by the prices of its path, mean",
    ),
    of_messages("confirmation.p50", Unit::Seconds, "from handing over to the confirmation, median"),
    of_messages("confirmation.p99", Unit::Seconds, "the same, exceeded by one in 100"),
    of_messages(
        "gap.max",
        Unit::Seconds,
        "longest time from one arrival of a sender's messages to the next, at whomever they were for",
    ),
    of_messages(
        "arrivals.peak_to_mean",
        Unit::Count,
        "arrivals in the busiest minute, by what they are on average, where they go on for some minutes",
    ),
    of_all("bytes.total", Unit::Bytes, "on all links, after the warm-up"),
    of_all("bytes.payload", Unit::Bytes, "of those, on streams of messages"),
    of_all("bytes.routing", Unit::Bytes, "of those, of the mesh's own control"),
    of_all("bytes.admission", Unit::Bytes, "of those, of setting up connections"),
    of_all("bytes.useful", Unit::Bytes, "payload that reached applications"),
    of_all("bytes.peak", Unit::BytesPerSecond, "on all links, the most between two samples of the measured time"),
    of_all("bytes.peak_to_mean", Unit::Count, "that, by what it is on average"),
    of_all("bytes.delivery", Unit::Bytes, "on all links after the warm-up, by copy that reached an application"),
    of_all(
        "publications.owed",
        Unit::Count,
        "copies of publications for subscriptions that stood when they were made, and until their deadline",
    ),
    of_all("publications.delivered", Unit::Share, "of those, the share heard by its deadline"),
    of_all("publications.missed", Unit::Count, "of those, not heard by their deadline"),
    of_all("publications.told", Unit::Count, "told to subscriptions as missed, rightly or not"),
    of_all("publications.untold", Unit::Count, "missed, and the subscription was not told"),
    of_all("publications.invented", Unit::Count, "told to a subscription as missed, and were not"),
    of_all("publications.twice", Unit::Count, "heard again by a device that had heard them"),
    of_all("publications.disordered", Unit::Count, "heard after a later one of the same publisher and topic"),
    of_all("publications.late", Unit::Count, "heard after their deadline"),
    of_all(
        "control.rate",
        Unit::BytesPerSecond,
        "what is on links besides streams of messages and published payloads, by node",
    ),
    of_all("cost.total", Unit::Money, "of all bytes, by their bearers' prices"),
    of_all("cost.payload", Unit::Money, "of those on streams of messages"),
    of_all(
        "cost.month",
        Unit::Money,
        "of all bytes, at this rate, for each device with a link that has a price, in a month of 30 days",
    ),
    of_all("cost.month.payload", Unit::Money, "of that, for streams of messages"),
    of_all("cost.month.control", Unit::Money, "of that, for all else: what it costs to be there"),
    of_wire("bytes", Unit::Bytes, "on links after the warm-up: of a bearer, in data of a class, sent by devices"),
    of_wire("bytes.share", Unit::Share, "the same, of all bytes"),
    of_wire("cost", Unit::Money, "of those bytes, and of their packets, by their bearers' prices"),
    of_groups("bytes.device.max", Unit::Bytes, "sent by the device that sends most"),
    of_groups("cost.device.max", Unit::Money, "of the device that spends most"),
    of_bearers("radio.collided", Unit::Count, "frames lost to others on a shared channel, each attempt counted"),
    of_bearers("radio.faded", Unit::Count, "frames lost in bursts, each attempt counted"),
    of_devices("energy.total", Unit::Joules, "taken by devices and their radios in the measured time"),
    of_devices("energy.awake", Unit::Joules, "of that, for being awake, without their radios' bytes"),
    of_devices("energy.asleep", Unit::Joules, "of that, for being asleep"),
    of_devices("energy.sent", Unit::Joules, "of that, for bytes that their radios sent, each attempt counted"),
    of_devices("energy.received", Unit::Joules, "of that, for bytes that their radios received"),
    of_devices("awake.share", Unit::Share, "of the time that devices were on, the share in which they were awake"),
    of_groups("energy.device.max", Unit::Joules, "by the device that takes most"),
    of_devices("battery.min", Unit::Share, "left in the battery that is emptiest"),
    of_groups("battery.empty", Unit::Count, "devices whose batteries are empty"),
    of_devices("battery.life", Unit::Seconds, "how long the battery lasts that is empty first, at this rate"),
    of_all(
        "reachable.mean",
        Unit::Share,
        "pairs of devices that are on and connected over some way, mean over the measured time",
    ),
    of_all("reachable.min", Unit::Share, "the same, at the worst moment"),
    of_all(
        "reachable.time",
        Unit::Seconds,
        "from when all links stood that could until 99 % of the pairs of devices that forward had a route",
    ),
    of_all("ready", Unit::Seconds, "from the start until all links stood that could"),
    of_all(
        "converged",
        Unit::Seconds,
        "from the end of the last fault until all links stood that could; 0 without faults",
    ),
    of_all("attached.max", Unit::Count, "links of one device that came up within a second, the most"),
    of_all(
        "dials.peak",
        Unit::Count,
        "connections that devices began to make within a second, the most after the warm-up",
    ),
    of_all("links.lost", Unit::Count, "links that went down after the warm-up, other than by a change of pseudonym"),
    of_all(
        "turn.links",
        Unit::Count,
        "links that ended with a former pseudonym of a device, where the two devices had no other yet",
    ),
    of_all("turn.apart.mean", Unit::Seconds, "from such an end until these two were linked again, mean"),
    of_all("turn.apart.max", Unit::Seconds, "the same, longest"),
    of_all(
        "turn.pushed",
        Unit::Count,
        "frames of publications pushed to a neighbour again, under another pseudonym of either",
    ),
    of_all("turn.returned", Unit::Count, "data frames handed to a device which had had them under another pseudonym"),
    of_all(
        "revocation.p50",
        Unit::Seconds,
        "from when there was a way from the operator's bulletin to a member until it refused a revoked device, median",
    ),
    of_all("revocation.p99", Unit::Seconds, "the same, exceeded by one in 100"),
    of_all("revocation.max", Unit::Seconds, "the same, longest"),
    of_all("revocation.parted", Unit::Count, "members to which there was no way at first"),
    of_all("revocation.parted.max", Unit::Seconds, "of these, the longest time from when there was one"),
    of_all("revocation.unaware", Unit::Count, "members that never refused it, though there was a way"),
    of_all("revocation.links", Unit::Count, "links with revoked devices that stand at the end"),
    of_all(
        "revocation.links.max",
        Unit::Seconds,
        "the longest time that a link with one stood after there was a way to its other end",
    ),
    of_all(
        "revocation.leaked",
        Unit::Count,
        "messages from and to revoked devices that were sent after their other end refused them, and came",
    ),
    of_all("revocation.bulletin", Unit::Bytes, "of the largest bulletin of a revocation"),
    of_all("revocation.document", Unit::Bytes, "of the largest new version of a group's key that it names"),
    of_all("revocation.document.first", Unit::Bytes, "the same, of the first revocation"),
    of_all(
        "windows.outside",
        Unit::Count,
        "frames of messages and publications that devices with a right clock sent while the access windows of the bearer were closed",
    ),
    of_all(
        "windows.missed",
        Unit::Count,
        "messages to one device that did not come in time, though some way to it was open for a minute of their time",
    ),
    of_all(
        "groups.pushed",
        Unit::Count,
        "frames of publications and broadcasts that devices gave to neighbours, also before the warm-up was over",
    ),
    of_all("broadcasts.narrowed", Unit::Count, "broadcasts that did not go over every link, as their nodes say"),
    of_all("broadcasts.unicasts", Unit::Count, "of those, the ones that went to the only other device"),
    of_all("broadcasts.transmissions", Unit::Count, "what those cost, as their nodes say"),
    of_all("broadcasts.flood", Unit::Count, "what they would have cost over every link"),
    of_all("broadcasts.share", Unit::Share, "the one by the other"),
    of_all("queue.max", Unit::Count, "messages on their way out at one node, the most seen"),
    of_all(
        "dropped",
        Unit::Count,
        "what nodes counted as dropped, refused, failed or seen twice, over all their counters",
    ),
    of_all("violations", Unit::Count, "checks across nodes that failed"),
];

/// Returns the metric of that name. All names `counter.NAME`, all names `gauge.NAME`, and all percentiles such as
/// `latency.p99.9`, share one metric each.
pub fn find(name: &str) -> Option<&'static Metric> {
    let known = |name: &str| METRICS.iter().find(|metric| metric.name == name);
    known(name)
        .or_else(|| {
            of_nodes(name).map(|of| match of {
                OfNodes::Counter(_) => &COUNTER,
                OfNodes::Gauge(_) => &GAUGE,
            })
        })
        .or_else(|| percentile(name).and_then(|(of, _)| known(&format!("{of}.p50"))))
}

/// A quantity that nodes report of themselves.
#[derive(Clone, Copy, Debug)]
pub enum OfNodes {
    /// A counter.
    Counter(Counter),
    /// A gauge.
    Gauge(&'static Gauge),
}

/// Returns the counter or gauge that `counter.NAME` or `gauge.NAME` names.
pub fn of_nodes(name: &str) -> Option<OfNodes> {
    match name.split_once('.')? {
        ("counter", name) => Counter::named(name).map(OfNodes::Counter),
        ("gauge", name) => Gauge::named(name).map(OfNodes::Gauge),
        _ => None,
    }
}

/// Returns the quantity and the quantile, from 0 to 1, that a name such as `latency.p99.9` or `confirmation.p75`
/// denotes.
pub fn percentile(name: &str) -> Option<(&str, f64)> {
    let (of, percent) = name.split_once(".p")?;
    let percent: f64 =
        percent.parse().ok().filter(|_| percent.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))?;
    (["latency", "confirmation"].contains(&of) && percent > 0.0 && percent < 100.0).then_some((of, percent / 100.0))
}

/// A counter, summed over all nodes that are on at the end.
static COUNTER: Metric = of_all("counter", Unit::Count, "what nodes have counted under that name");
/// A gauge, summed in the same manner.
static GAUGE: Metric = of_all("gauge", Unit::Count, "what nodes measure of themselves under that name");

/// Selectors that a metric about messages takes.
pub const SELECTORS: [&str; 4] = ["class", "group", "flow", "policy"];

/// All selectors.
pub const ALL_SELECTORS: [&str; 6] = ["class", "group", "flow", "policy", "bearer", "device"];

/// Returns the name of a class of messages in scenarios and metrics.
pub fn class(class: Class) -> &'static str {
    match class {
        Class::Alarm => "alarm",
        Class::Control => "control",
        Class::Telemetry => "telemetry",
        Class::Bulk => "bulk",
    }
}

/// Returns the unit of an expectation, whose text begins with the metric's name.
pub fn unit_of(expectation: &str) -> Option<Unit> {
    let name = expectation.trim_start().split(|c: char| c == '[' || c.is_whitespace() || "<>=".contains(c)).next()?;
    find(name).map(|metric| metric.unit)
}

/// Returns a value with its unit, formatted for people.
pub fn text(unit: Option<Unit>, value: f64) -> String {
    match unit {
        Some(Unit::Seconds) if value.abs() < 1.0 => format!("{} ms", rounded(value * 1e3)),
        Some(Unit::Seconds) if value.abs() >= 172_800.0 => format!("{} d", rounded(value / 86_400.0)),
        Some(Unit::Seconds) if value.abs() >= 7200.0 => format!("{} h", rounded(value / 3600.0)),
        Some(Unit::Seconds) if value.abs() >= 120.0 => format!("{} min", rounded(value / 60.0)),
        Some(Unit::Seconds) => format!("{} s", rounded(value)),
        Some(Unit::Share) => format!("{} %", share(value * 100.0)),
        Some(Unit::Joules) if value != 0.0 && value.abs() < 1.0 => format!("{} mJ", rounded(value * 1e3)),
        Some(Unit::Joules) if value.abs() >= 1e4 => format!("{} kJ", rounded(value / 1e3)),
        Some(Unit::Joules) => format!("{} J", rounded(value)),
        Some(Unit::Bytes) => bytes(value),
        Some(Unit::BytesPerSecond) => format!("{}/s", bytes(value)),
        Some(Unit::Count | Unit::Money) | None => rounded(value),
    }
}

fn bytes(value: f64) -> String {
    let scales = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match scales.into_iter().find(|(scale, _)| value.abs() >= *scale) {
        Some((scale, name)) => format!("{} {name}", rounded(value / scale)),
        None => format!("{} B", rounded(value)),
    }
}

/// Formats a percentage with as many decimals as it takes not to be rounded to all or nothing.
fn share(percent: f64) -> String {
    let from_an_end = (100.0 - percent).min(percent).abs();
    let decimals = (2u8..7).find(|&decimals| from_an_end >= 10f64.powi(-i32::from(decimals))).unwrap_or(2);
    trimmed(format!("{percent:.*}", usize::from(decimals)))
}

/// Formats a value with three significant digits, and whole numbers without decimals.
fn rounded(value: f64) -> String {
    let size = value.abs();
    let decimals = if size >= 100.0 || size == 0.0 {
        0
    } else if size >= 10.0 {
        1
    } else if size >= 1.0 {
        2
    } else {
        4
    };
    trimmed(format!("{value:.decimals$}"))
}

fn trimmed(number: String) -> String {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.').to_owned() } else { number }
}
