//! Warnings: parts of a scenario that cannot have an effect.
//!
//! A scenario may be valid and yet answer nothing: a flow between devices that never meet, an expectation that always
//! holds, a fault that strikes nothing. Each of these has a file of its own: pairs that never meet ([`ways`], over the
//! links that can ever be up: [`standing`]), links that are too slow to come up ([`slow`]), expectations that are
//! decided before the run ([`expected`]), and faults without effect ([`struck`]). All examine the plan for one seed,
//! and refer to places in the scenario.
//!
//! Invariants
//! 1. A warning is certain: it is given only if no run of the plan could turn out otherwise.
//! 2. Every warning says what, in which file and line or setting, and what to do next.

mod expected;
mod slow;
mod standing;
mod struck;
mod ways;

#[cfg(test)]
mod tests;

use super::document::Document;
use super::model::Model;
use super::problem::Problem;
use crate::plan::Plan;
use standing::Standing;
use std::ops::Range;

/// A warning about a valid scenario.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Warning {
    /// The warning, after the file and line to which it refers.
    pub warning: String,
    /// The next step for the user.
    pub hint: String,
}

/// The inputs of the warnings.
struct Looking<'a> {
    document: &'a Document<'a>,
    model: &'a Model,
    plan: &'a Plan,
    standing: Standing,
}

/// Returns all warnings about a plan that was made from the model.
pub fn warnings(document: &Document<'_>, model: &Model, plan: &Plan) -> Vec<Warning> {
    let looking = Looking { document, model, plan, standing: Standing::of(plan) };
    let found = [looking.slow(), looking.ways(), looking.struck(), looking.expected()];
    found.into_iter().flatten().collect()
}

impl Looking<'_> {
    fn warning(&self, span: &Range<usize>, what: impl AsRef<str>, hint: impl Into<String>) -> Warning {
        let Problem { error, hint } = self.document.problem(span, what, hint);
        Warning { warning: error, hint }
    }

    /// Returns the names of the ends of an edge: `meter-1 and gateway-1`.
    fn ends(&self, edge: usize) -> String {
        let edge = &self.plan.edges[edge];
        format!("{} and {}", self.plan.devices[edge.a].name, self.plan.devices[edge.b].name)
    }
}
