//! Policies: the policies that a scenario gives to every device, and the one that a flow names.

use super::Planning;
use crate::scenario::problem::{Problem, instead};
use m2mesh::routing::policies::{MAX_POLICIES, NamedPolicy, Policies};
use toml::Spanned;

impl Planning<'_> {
    /// Returns the scenario's own policies.
    pub(super) fn plan_policies(&self) -> Result<Vec<NamedPolicy>, Problem> {
        let mut all: Vec<NamedPolicy> = Vec::new();
        for policy in &self.model.policy {
            let (span, policy) = (policy.span(), policy.get_ref());
            if let Some(what) = policy.problem() {
                return Err(self.document.problem(&span, what, "correct it, or remove the policy"));
            }
            if all.iter().any(|known| known.name == policy.name) {
                let what = format!("there is a policy `{}` already", policy.name);
                return Err(self.document.problem(&span, what, "give each policy another name"));
            }
            all.push(policy.clone());
        }
        match self.model.policy.get(MAX_POLICIES) {
            Some(first) => {
                let what = format!("there are more than {MAX_POLICIES} policies");
                Err(self.document.problem(&first.span(), what, "remove some"))
            }
            None => Ok(all),
        }
    }

    /// Returns the name of a policy, after a check that it exists.
    pub(super) fn policy(&self, name: &Spanned<String>, own: &[NamedPolicy]) -> Result<String, Problem> {
        let known = Policies::new(own);
        match known.get(name.get_ref()) {
            Some(policy) => Ok(policy.name.clone()),
            None => {
                let what = format!("no policy is called `{}`", name.get_ref());
                Err(self.document.problem(&name.span(), what, instead(name.get_ref(), known.names())))
            }
        }
    }
}
