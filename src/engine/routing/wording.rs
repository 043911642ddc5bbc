//! Wording: routes, and the reasons why there is none, in words and figures for people.

use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::air::AirWait;
use crate::engine::routing::Routing;
use crate::engine::routing::forecast::Forecast;
use crate::engine::routing::no_route::NoRoute;
use crate::id::Pseudonym;
use crate::routing::hold_down::Cause;
use crate::routing::policy::Criterion;
use crate::wire::data::Class;

/// The reason why there is no route, in words.
pub(in crate::engine) fn explain_no_route(no_route: &NoRoute) -> String {
    match no_route {
        NoRoute::Unknown => "no router that can be reached knows it".to_owned(),
        NoRoute::Asking => "routers have been asked where it is".to_owned(),
        NoRoute::Apart => "no links lead there".to_owned(),
        NoRoute::Later(later) => explain_wait(later),
        NoRoute::Limits(limit, by) => {
            format!("the nearest way breaks the limit on {} by {}", limit.name(), limit.amount(*by))
        }
        NoRoute::Air(AirWait { bearer, class, again: Some(again) }) => format!(
            "{bearer} may carry nothing of class {} now, by its duty cycle or access window; it may again in {} s",
            class_name(*class),
            again.as_secs() + 1
        ),
        NoRoute::Air(AirWait { bearer, class, again: None }) => format!(
            "{bearer} may never carry so much of class {} at once, by its duty cycle or access windows; send less at a time",
            class_name(*class)
        ),
        NoRoute::Segment(segment) => {
            format!("every way leads through a router that hands on no frames of segment {segment}")
        }
    }
}

/// For which way a message waits.
pub(in crate::engine) fn explain_wait(later: &Forecast) -> String {
    let Forecast { opens, bearer, cost, instead } = later;
    let instead = instead.map_or_else(String::new, |instead| format!(" instead of {:.6}", money(instead)));
    format!("it waits until {opens} for {bearer}, where it costs {:.6}{instead}", money(*cost))
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Alarm => "alarm",
        Class::Control => "control",
        Class::Telemetry => "telemetry",
        Class::Bulk => "bulk",
    }
}

impl Routing {
    /// The names of nodes, as far as they are contacts; else the beginnings of their keys.
    pub(in crate::engine) fn names(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        nodes: &[Pseudonym],
    ) -> Vec<String> {
        nodes.iter().map(|node| self.name_for(core, neighbours, node)).collect()
    }

    /// The name of a node, or the beginning of its key if it has no name here.
    pub(in crate::engine) fn name_for(&self, core: &Core, neighbours: &Neighbours, node: &Pseudonym) -> String {
        if core.is_own(node) {
            return core.membership.name().to_string();
        }
        match self
            .link_state
            .name_of_router(node)
            .or_else(|| neighbours.links.of(node).next().and_then(|(_, l)| l.name.as_ref()))
        {
            Some(name) => name.to_string(),
            None => format!("{node}"),
        }
    }
}

/// Why a route gave way to another.
pub(in crate::engine) fn explain_cause(cause: Cause) -> String {
    match cause {
        Cause::Limit(limit, by) => format!("it breaks the limit on {} by {}", limit.name(), limit.amount(by)),
        Cause::Worse(criterion, from, to) => {
            format!("{} rose from {} to {}", measure(criterion), amount(criterion, from), amount(criterion, to))
        }
        Cause::Lossy(failures, delay) => {
            let [before, after] = failures.map(|failures| amount(Criterion::Failures, failures));
            let [from, to] = delay.map(|delay| amount(Criterion::Delay, delay));
            format!("loss rose from {before} to {after}, and with it the delay from {from} to {to}")
        }
        Cause::Better(criterion, old, new) => {
            let (what, new, old) = (measure(criterion), amount(criterion, new), amount(criterion, old));
            format!("another path has better {what}: {new} instead of {old}")
        }
        Cause::BetterInAll => "another path is better".to_owned(),
    }
}

/// What a measure is called.
pub(in crate::engine) fn measure(criterion: Criterion) -> &'static str {
    match criterion {
        Criterion::Cost => "price",
        Criterion::Delay => "delay",
        Criterion::Failures => "failures",
        Criterion::Energy => "energy",
    }
}

/// An amount of a criterion, with its unit.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(in crate::engine) fn amount(criterion: Criterion, amount: u64) -> String {
    match criterion {
        Criterion::Cost => format!("{} a MB", money(amount)),
        Criterion::Delay => format!("{:.1} ms", thousandths(amount)),
        Criterion::Failures => format!("{:.2} %", (1.0 - (-(amount as f64) / 1e6).exp()) * 100.0),
        Criterion::Energy => format!("{amount} mJ a MB"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(in crate::engine) fn money(micro: u64) -> f64 {
    micro as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(in crate::engine) fn thousandths(value: u64) -> f64 {
    value as f64 / 1e3
}
