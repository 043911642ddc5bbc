//! Warnings: what a scenario says that cannot matter.
//!
//! A scenario may be sound and yet answer nothing: a flow between devices that never meet, an expectation that holds whatever
//! happens, a fault that strikes nothing. Each of that has a file of its own here: who never meets ([`ways`], over the links
//! that can ever stand: [`standing`]), links that are too slow to come up ([`slow`]), expectations that are decided before
//! the run ([`expected`]), and faults without effect ([`struck`]). All look at the plan for one seed, and point into the
//! scenario.
//!
//! Invariants
//! 1. A warning is certain: what some run of the plan could decide otherwise is not warned of.
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

/// What of a sound scenario cannot matter.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Warning {
    /// What, after the file and line where it is.
    pub warning: String,
    /// What to do next.
    pub hint: String,
}

/// What warnings are made from.
struct Looking<'a> {
    document: &'a Document<'a>,
    model: &'a Model,
    plan: &'a Plan,
    standing: Standing,
}

/// All warnings of a plan, which the model has come to.
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

    /// `meter-1 and gateway-1`, the ends of an edge.
    fn ends(&self, edge: usize) -> String {
        let edge = &self.plan.edges[edge];
        format!("{} and {}", self.plan.devices[edge.a].name, self.plan.devices[edge.b].name)
    }
}
