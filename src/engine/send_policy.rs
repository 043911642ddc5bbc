//! Send policies: what a policy's name is resolved to; the result stays with a message or publication until it ends.
//!
//! A policy is resolved once, when a command is taken. A name that is not configured is refused with the nearest known
//! one.

use crate::delivery::lane::SendPolicy;
use crate::engine::api::{Refused, Reply, Token};
use crate::engine::core::Core;
use crate::engine::spelling::nearest;
use crate::routing::policies::{Keep, Late, NamedPolicy, Policies};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Core {
    /// Whether the policy of a publication has only the newest of its topic wait.
    pub(in crate::engine) fn keeps_latest(&self, topic: &str, policy: Option<&str>) -> bool {
        let named = policy.map_or_else(|| self.policies.of_topic(topic), |name| self.policies.get(name));
        named.is_some_and(|named| named.keep == Keep::Latest)
    }

    /// Returns what a publication requires of the links that it leaves over, and its lifetime; `None` if it is refused,
    /// and the application has been told.
    pub(in crate::engine) fn publication_policy(
        &mut self,
        token: Token,
        topic: &str,
        policy: Option<&str>,
        lifetime: Duration,
    ) -> Option<(Arc<SendPolicy>, Duration)> {
        let named = match policy {
            None => self.policies.of_topic(topic),
            Some(name) => self.policies.get(name),
        };
        let Some(named) = named else { return self.refuse_policy(token, policy) };
        // The settings assign no policy with a limit on paths to a topic; `balanced` is for every message, and keeps
        // what can be kept.
        if let Some(limit) = named.limit_of_paths().filter(|_| policy.is_some()) {
            let policy = named.name.clone();
            self.finish(token, Reply::Refused(Refused::PathPolicy { policy, limit }));
            return None;
        }
        let lifetime = named.deadline.map_or(lifetime, |deadline| deadline.min(lifetime));
        Some((self.send_policies.get(&named.name).cloned().unwrap_or_default(), lifetime))
    }

    /// The span over which the policy of a publication spreads it.
    pub(in crate::engine) fn spread_of_topic(&self, topic: &str, policy: Option<&str>) -> Option<Duration> {
        let named = match policy {
            None => self.policies.of_topic(topic),
            Some(name) => self.policies.get(name),
        };
        named.and_then(|named| named.spread)
    }

    /// Refuses a command whose policy is unknown. Always returns `None`.
    pub(in crate::engine) fn refuse_policy<T>(&mut self, token: Token, name: Option<&str>) -> Option<T> {
        let name = name.unwrap_or_default().to_owned();
        let nearest = nearest(&name, self.policies.names());
        self.finish(token, Reply::Refused(Refused::UnknownPolicy { name, nearest }));
        None
    }
}

/// Returns the send policy of each named policy.
pub(in crate::engine) fn all(policies: &Policies) -> BTreeMap<String, Arc<SendPolicy>> {
    let send_policy = |named: &NamedPolicy| SendPolicy {
        policy: named.policy(),
        yields: named.late == Late::Pay,
        wait: named.wait.map(micros),
        gather: named.gather.map(micros),
    };
    policies.iter().map(|named| (named.name.clone(), Arc::new(send_policy(named)))).collect()
}

/// A span of time as a send policy has it.
pub(in crate::engine) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
