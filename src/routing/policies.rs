//! Policies by name: what `config.toml` defines under `[[policy]]`, and which message gets which policy.
//!
//! A message that names no policy gets the first policy whose `for` matches its class and service, or `balanced`. A
//! publication that names none gets the first policy whose `for` matches its topic, or `balanced`. Five names always
//! exist; a `[[policy]]` of the same name replaces one of them.
//!
//! | name | minimises |
//! |---|---|
//! | `cheap` | money |
//! | `fast` | delay |
//! | `sure` | failures |
//! | `frugal` | energy |
//! | `balanced` | all of them together |
//!
//! Each of the first four also gives a small weight to delay, failures or both, so that, for example, of two paths that
//! are equally cheap the faster one is taken.
//!
//! A publication has no path but a tree. Its policy decides over which of several links to a neighbour in the tree it
//! is sent, and which bearers are not used. Limits that only a whole path can keep (`budget`, `success`, `copies`) are
//! refused for policies with topics, so that nobody relies on them.

use super::policy::BALANCED;
use crate::wire::data::{Class, Policy};
use crate::wire::lsa::Bearer;
use crate::wire::topic;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// The most policies that a node defines itself.
pub const MAX_POLICIES: usize = 64;

/// One `[[policy]]` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NamedPolicy {
    /// The name of the policy.
    pub name: String,
    /// What the policy minimises: `cost`, `delay`, `failures`, `energy` or `all`; or weights from 0 to 255.
    #[serde(default)]
    pub minimise: Minimise,
    /// The most to spend for one message, in units of money.
    #[serde(default)]
    pub budget: Option<f64>,
    /// The least chance of arrival, from 0 to 1.
    #[serde(default)]
    pub success: Option<f64>,
    /// The bearers that are not used.
    #[serde(default)]
    pub avoid: Vec<Bearer>,
    /// 2 to send every message over two paths that share no relay; otherwise 1.
    #[serde(default)]
    pub copies: Option<u8>,
    /// The longest lifetime of a message under this policy.
    #[serde(default, with = "duration")]
    pub deadline: Option<Duration>,
    /// When the deadline comes near and no path keeps the budget: whether to keep the budget nevertheless, or to exceed
    /// it.
    #[serde(default)]
    pub late: Late,
    /// For how long a message waits for a cheaper way, if one will be there in time.
    #[serde(default, with = "duration")]
    pub wait: Option<Duration>,
    /// For how long messages that are to leave at the same time are spread: each waits a random part of it.
    #[serde(default, with = "duration")]
    pub spread: Option<Duration>,
    /// For how long a message of class telemetry or bulk waits for others that share its frame.
    #[serde(default, with = "duration")]
    pub gather: Option<Duration>,
    /// When no path keeps the limits at submission: whether to wait for one, or to refuse the message.
    #[serde(default)]
    pub impossible: Impossible,
    /// Whether all publications of a topic wait when they cannot leave, or only the newest.
    #[serde(default)]
    pub keep: Keep,
    /// Which messages and publications get the policy if they name none.
    #[serde(default, rename = "for")]
    pub applies: Applies,
}

/// See [`NamedPolicy::keep`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// All of them.
    #[default]
    All,
    /// The newest: those before it end as superseded.
    Latest,
}

/// See [`NamedPolicy::minimise`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Minimise {
    /// All criteria together.
    #[default]
    All,
    /// One criterion above all.
    One(One),
    /// Explicit weights.
    Weights(Weights),
}

/// One of the four criteria, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum One {
    /// Money.
    Cost,
    /// Delay.
    Delay,
    /// Failures.
    Failures,
    /// Energy.
    Energy,
    /// All criteria together.
    All,
}

/// The weights of the four criteria.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weights {
    /// The weight of money.
    pub cost: u8,
    /// The weight of delay.
    pub delay: u8,
    /// The weight of failures.
    pub failures: u8,
    /// The weight of energy.
    pub energy: u8,
}

/// See [`NamedPolicy::late`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Late {
    /// The budget is kept, even if the message then expires.
    #[default]
    Keep,
    /// The budget is exceeded, so that the message arrives in time.
    Pay,
}

/// See [`NamedPolicy::impossible`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Impossible {
    /// The message waits, because a path may appear.
    #[default]
    Wait,
    /// The message is refused at once.
    Refuse,
}

/// See [`NamedPolicy::applies`]. Classes and services select messages to one device; if both are given, both must
/// match. Topics select publications.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Applies {
    /// The classes of messages.
    pub classes: Vec<Class>,
    /// The services that messages call.
    pub services: Vec<String>,
    /// Topics, or filters as in subscriptions.
    pub topics: Vec<String>,
}

impl NamedPolicy {
    /// The policy in its wire form.
    pub fn policy(&self) -> Policy {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked: a budget is no negative number"
        )]
        let budget = self.budget.map(|units| (units * 1e6) as u64);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: from 0 to 1")]
        let success = self.success.map(|chance| (chance * f64::from(u16::MAX)) as u16);
        let avoid = self.avoid.iter().fold(0, |avoid, bearer| avoid | 1 << (*bearer as u16));
        Policy {
            weights: self.minimise.weights(),
            budget,
            success,
            avoid: Some(avoid).filter(|avoid| *avoid != 0),
            copies: self.copies.filter(|copies| *copies > 1),
        }
    }

    fn matches(&self, class: Class, service: Option<&str>) -> bool {
        let Applies { classes, services, topics: _ } = &self.applies;
        let class_fits = classes.contains(&class);
        let service_fits = service.is_some_and(|service| services.iter().any(|known| known == service));
        match (classes.is_empty(), services.is_empty()) {
            (true, true) => false,
            (false, true) => class_fits,
            (true, false) => service_fits,
            (false, false) => class_fits && service_fits,
        }
    }

    fn matches_topic(&self, published: &str) -> bool {
        self.applies.topics.iter().any(|filter| topic::matches(filter, published))
    }

    /// The name of the first limit set by the policy that only a message to one device can keep; `None` if it sets
    /// none.
    pub fn limit_of_paths(&self) -> Option<&'static str> {
        let limits = [
            ("budget", self.budget.is_some()),
            ("success", self.success.is_some()),
            ("copies", self.copies.is_some_and(|copies| copies > 1)),
        ];
        limits.into_iter().find(|(_, set)| *set).map(|(limit, _)| limit)
    }

    /// Describes what is wrong with the policy; `None` if it is valid.
    pub fn problem(&self) -> Option<String> {
        let name = &self.name;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Some(format!("a policy's name has letters, digits and hyphens, not {name:?}"));
        }
        if self.budget.is_some_and(|budget| !(0.0..1e12).contains(&budget)) {
            return Some(format!("the budget of policy {name} is no amount of money: 0 to 10^12"));
        }
        if self.success.is_some_and(|success| !(0.0..=1.0).contains(&success)) {
            return Some(format!("`success` of policy {name} is a chance: 0 to 1"));
        }
        if self.copies.is_some_and(|copies| !(1..=2).contains(&copies)) {
            return Some(format!("`copies` of policy {name} is 1 or 2"));
        }
        if let Some(error) = self.applies.topics.iter().find_map(|filter| topic::check_filter(filter).err()) {
            return Some(format!("policy {name} is for a topic that is none: {error}"));
        }
        if let Some(limit) = self.limit_of_paths().filter(|_| !self.applies.topics.is_empty()) {
            return Some(format!(
                "policy {name} is for topics, and `{limit}` can be kept for messages to one device only; \
                 give the topics a policy of their own, without it"
            ));
        }
        None
    }
}

impl Minimise {
    fn weights(self) -> [u8; 4] {
        match self {
            Self::All | Self::One(One::All) => BALANCED,
            Self::One(One::Cost) => [255, 1, 1, 0],
            Self::One(One::Delay) => [0, 255, 1, 0],
            Self::One(One::Failures) => [0, 1, 255, 0],
            Self::One(One::Energy) => [0, 1, 1, 255],
            Self::Weights(Weights { cost, delay, failures, energy }) => [cost, delay, failures, energy],
        }
    }
}

/// All policies of a node.
#[derive(Clone, Debug)]
pub struct Policies {
    all: Vec<NamedPolicy>,
}

impl Default for Policies {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Policies {
    /// Combines a node's own policies with the five that always exist, the own ones first.
    pub fn new(own: &[NamedPolicy]) -> Self {
        let usual = [
            ("balanced", One::All),
            ("cheap", One::Cost),
            ("fast", One::Delay),
            ("sure", One::Failures),
            ("frugal", One::Energy),
        ];
        let usual = usual.map(|(name, one)| NamedPolicy {
            name: name.to_owned(),
            minimise: Minimise::One(one),
            ..NamedPolicy::default()
        });
        let kept = usual.into_iter().filter(|usual| own.iter().all(|own| own.name != usual.name));
        Self { all: own.iter().take(MAX_POLICIES).cloned().chain(kept).collect() }
    }

    /// The policy with this name.
    pub fn get(&self, name: &str) -> Option<&NamedPolicy> {
        self.all.iter().find(|policy| policy.name == name)
    }

    /// The policy of a message that names none.
    pub fn of(&self, class: Class, service: Option<&str>) -> Option<&NamedPolicy> {
        self.all.iter().find(|policy| policy.matches(class, service)).or_else(|| self.get("balanced"))
    }

    /// The policy of a publication that names none.
    pub fn of_topic(&self, topic: &str) -> Option<&NamedPolicy> {
        self.all.iter().find(|policy| policy.matches_topic(topic)).or_else(|| self.get("balanced"))
    }

    /// The name of a policy in its wire form, if it has one.
    pub fn name_of(&self, policy: &Policy) -> Option<&str> {
        self.all.iter().find(|named| named.policy() == *policy).map(|named| named.name.as_str())
    }

    /// All policies.
    pub fn iter(&self) -> impl Iterator<Item = &NamedPolicy> {
        self.all.iter()
    }

    /// The names of all policies.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|policy| policy.name.as_str())
    }
}

/// Durations in settings, such as `6h`.
mod duration {
    use core::time::Duration;
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[expect(clippy::ref_option, reason = "as serde calls it")]
    pub(super) fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(&humantime::format_duration(*value)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        humantime::parse_duration(&text).map(Some).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_gets_the_policy_that_is_for_it() {
        let own: NamedPolicy = NamedPolicy {
            name: "night".into(),
            minimise: Minimise::One(One::Cost),
            budget: Some(0.5),
            success: Some(1.0),
            avoid: vec![Bearer::Satellite, Bearer::Lora],
            applies: Applies { classes: vec![Class::Bulk], ..Applies::default() },
            ..NamedPolicy::default()
        };
        let policies = Policies::new(std::slice::from_ref(&own));
        let of = |class, service| policies.of(class, service).map(|policy| policy.name.clone());
        assert_eq!(of(Class::Bulk, None).as_deref(), Some("night"));
        assert_eq!(of(Class::Alarm, None).as_deref(), Some("balanced"));
        let policy = own.policy();
        assert_eq!((policy.budget, policy.success), (Some(500_000), Some(u16::MAX)));
        assert_eq!((policy.avoid, policy.weights[0]), (Some(0b1_1000), 255));
        assert_eq!(policies.name_of(&policy), Some("night"));
        assert_eq!(policies.names().count(), 6);
    }

    #[test]
    fn a_publication_gets_the_policy_that_is_for_its_topic() {
        let own = |name: &str, topics: &[&str], budget| NamedPolicy {
            name: name.into(),
            budget,
            applies: Applies { topics: topics.iter().map(|topic| (*topic).into()).collect(), ..Applies::default() },
            ..NamedPolicy::default()
        };
        let policies =
            Policies::new(&[own("alarms", &["plant/alarm", "plant/+/alarm"], None), own("rest", &["plant/#"], None)]);
        let of = |topic| policies.of_topic(topic).map(|policy| policy.name.as_str());
        assert_eq!((of("plant/alarm"), of("plant/1/alarm")), (Some("alarms"), Some("alarms")));
        assert_eq!((of("plant/1/2/alarm"), of("site/alarm")), (Some("rest"), Some("balanced")));
        assert_eq!(policies.of(Class::Bulk, Some("plant/alarm")).map(|policy| policy.name.as_str()), Some("balanced"));
        assert_eq!(own("x", &["plant/#"], None).problem(), None);
        let problem = |topics, budget| own("x", topics, budget).problem().unwrap_or_default();
        assert!(problem(&["plant/#", "#"], None).starts_with("policy x is for a topic that is none: the first level"));
        assert!(problem(&["plant/#"], Some(1.0)).contains("`budget` can be kept for messages to one device only"));
        assert_eq!(own("x", &[], Some(1.0)).problem(), None);
    }

    #[test]
    fn an_own_policy_replaces_the_usual_one_of_its_name() {
        let own = NamedPolicy { name: "fast".into(), copies: Some(2), ..NamedPolicy::default() };
        let policies = Policies::new(&[own]);
        assert_eq!(policies.get("fast").and_then(|policy| policy.policy().copies), Some(2));
        assert_eq!(policies.names().count(), 5);
    }
}
