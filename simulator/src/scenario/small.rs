//! Small: the small forms of the shipped scenarios, which are settings that let each answer its question in seconds.
//!
//! They are run where every scenario is to be run: in tests, and for the comparison with kept figures. The list is a
//! file of its own, which is part of the program, as the scenarios are.

use super::problem::{Problem, instead};
use serde::Deserialize;

/// The small form of a shipped scenario.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Small {
    /// The name of the scenario.
    pub scenario: String,
    /// The settings that make it small, as `key=value`.
    pub set: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    small: Vec<Small>,
}

/// Returns the small forms of the scenarios of these names, in the order of the list; of all if none is named.
pub fn small(names: &[String]) -> Result<Vec<Small>, Problem> {
    let list: List = toml::from_str(LIST)
        .map_err(|error| Problem::new(format!("the list of small forms cannot be read: {error}"), "mend small.toml"))?;
    let known = || list.small.iter().map(|small| small.scenario.as_str());
    if let Some(unknown) = names.iter().find(|name| !known().any(|known| known == name.as_str())) {
        return Err(Problem::new(format!("no shipped scenario is called {unknown}"), instead(unknown, known())));
    }
    Ok(list.small.into_iter().filter(|small| names.is_empty() || names.contains(&small.scenario)).collect())
}

const LIST: &str = include_str!("../../tests/small.toml");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{SHIPPED, load};
    use std::path::Path;

    #[test]
    fn every_shipped_scenario_has_a_small_form_that_can_be() {
        let all = small(&[]).expect("the list is sound");
        let mut named: Vec<&str> = all.iter().map(|small| small.scenario.as_str()).collect();
        let mut shipped: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        named.sort_unstable();
        shipped.sort_unstable();
        assert_eq!(named, shipped);
        for Small { scenario, set } in &all {
            let planned = load(Path::new(scenario), set).and_then(|loaded| loaded.plan(None));
            assert!(planned.is_ok(), "{scenario}: {planned:?}");
        }
        let wrong = small(&["grid-94".to_owned()]).expect_err("there is none");
        assert!(wrong.hint.contains("grid-49"), "{}", wrong.hint);
    }
}
