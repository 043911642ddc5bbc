//! What messages and publications ask of their way, by the policy that they name or that is meant for them.
//!
//! A policy is resolved once, when a command is taken: its terms stay with the message until it ends. A policy that nobody has configured is
//! refused with the nearest name that is known.

use crate::delivery::lane::Terms;
use crate::engine::Engine;
use crate::engine::api::{Refused, Reply, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::departures::AROUND;
use crate::engine::routing::wording::explain_no_way;
use crate::engine::spelling::nearest;
use crate::id::Name;
use crate::routing::policies::{Impossible, Late, NamedPolicy, Policies};
use crate::wire::data::Class;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a message says of itself, for its policy.
pub(in crate::engine) struct Asked<'a> {
    pub policy: Option<&'a str>,
    pub class: Class,
    pub service: Option<&'a str>,
}

impl Messages {
    /// What a publication asks of the links that it leaves over, and how long it is of use; nothing if it has been refused.
    pub(in crate::engine) fn publication_terms(
        &mut self,
        core: &mut Core,
        token: Token,
        topic: &str,
        policy: Option<&str>,
        lifetime: Duration,
    ) -> Option<(Arc<Terms>, Duration)> {
        let named = match policy {
            None => core.policies.of_topic(topic),
            Some(name) => core.policies.get(name),
        };
        let Some(named) = named else { return self.refuse_policy(core, token, policy) };
        // The settings give no such policy to a topic; `balanced` is for everything, and keeps what can be kept.
        if let Some(limit) = named.limit_of_paths().filter(|_| policy.is_some()) {
            let policy = named.name.clone();
            core.finish(token, Reply::Refused(Refused::PathPolicy { policy, limit }));
            return None;
        }
        let lifetime = named.deadline.map_or(lifetime, |deadline| deadline.min(lifetime));
        Some((core.terms.get(&named.name).cloned().unwrap_or_default(), lifetime))
    }

    /// No policy of that name.
    fn refuse_policy<T>(&mut self, core: &mut Core, token: Token, name: Option<&str>) -> Option<T> {
        let name = name.unwrap_or_default().to_owned();
        let nearest = nearest(&name, core.policies.names());
        core.finish(token, Reply::Refused(Refused::UnknownPolicy { name, nearest }));
        None
    }
}

impl Engine {
    /// What a message asks of its way, and how long it is of use; nothing if it has been refused.
    pub(in crate::engine) fn terms_of(
        &mut self,
        token: Token,
        to: &Name,
        asked: &Asked<'_>,
        lifetime: Duration,
        bytes: usize,
    ) -> Option<(Arc<Terms>, Duration)> {
        let named = match asked.policy {
            None => self.core.policies.of(asked.class, asked.service),
            Some(name) => self.core.policies.get(name),
        };
        let Some(named) = named else { return self.messages.refuse_policy(&mut self.core, token, asked.policy) };
        let lifetime = named.deadline.map_or(lifetime, |deadline| deadline.min(lifetime));
        let refuse = named.impossible == Impossible::Refuse;
        let policy = named.name.clone();
        let terms = self.core.terms.get(&policy).cloned().unwrap_or_default();
        if refuse && let Err(no_way) = self.way(to, &terms, lifetime, bytes + AROUND) {
            let why = explain_no_way(&no_way);
            self.core.finish(token, Reply::Refused(Refused::NoPath { to: to.clone(), policy, why }));
            return None;
        }
        Some((terms, lifetime))
    }
}

/// What messages of each policy ask of their way.
pub(in crate::engine) fn all_terms(policies: &Policies) -> BTreeMap<String, Arc<Terms>> {
    let terms = |named: &NamedPolicy| Terms { policy: named.policy(), yields: named.late == Late::Pay };
    policies.iter().map(|named| (named.name.clone(), Arc::new(terms(named)))).collect()
}
