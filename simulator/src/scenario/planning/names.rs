//! Names: the groups, devices and bearers to which a scenario refers.

use super::Planning;
use crate::scenario::choice::Members;
use crate::scenario::problem::{Problem, instead};
use std::collections::BTreeSet;
use std::ops::Range;
use toml::Spanned;

impl Planning<'_> {
    /// Returns the devices of a group, the one device, or all devices, by name.
    pub(super) fn named(&self, name: &str, span: &Range<usize>) -> Result<Vec<usize>, Problem> {
        if name == ALL {
            return Ok((0..self.devices.len()).collect());
        }
        if let Some((_, range)) = self.groups.iter().find(|(group, _)| group == name) {
            return Ok(range.clone().collect());
        }
        self.device(name).map(|device| vec![device]).ok_or_else(|| self.nobody(name, span, None))
    }

    /// Returns the error for an unknown name; `also` is another word that is allowed there.
    pub(super) fn nobody(&self, name: &str, span: &Range<usize>, also: Option<&str>) -> Problem {
        let numbered = self
            .groups
            .iter()
            .find(|(group, _)| name.strip_prefix(group.as_str()).and_then(|rest| rest.strip_prefix('-')).is_some());
        let hint = match numbered {
            Some((group, range)) if self.device(&format!("{group}-1")) == Some(range.start) => {
                format!("the devices of that group are {group}-1 to {group}-{}", range.len())
            }
            _ => instead(name, self.groups.iter().map(|(group, _)| group.as_str()).chain([ALL]).chain(also)),
        };
        self.document.problem(span, format!("no group and no device is called `{name}`"), hint)
    }

    /// Returns the devices that the names denote, each once, in the order of the names.
    pub(super) fn members(&self, members: &Members, span: &Range<usize>) -> Result<Vec<usize>, Problem> {
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        for name in &members.0 {
            all.extend(self.named(name, span)?.into_iter().filter(|device| seen.insert(*device)));
        }
        Ok(all)
    }

    pub(super) fn spanned_members(&self, members: &Spanned<Members>) -> Result<Vec<usize>, Problem> {
        self.members(members.get_ref(), &members.span())
    }

    /// Returns the index of a bearer; of the only one if none is named.
    pub(super) fn bearer(&self, name: Option<&Spanned<String>>, span: &Range<usize>) -> Result<usize, Problem> {
        let known = || self.bearers.iter().map(|bearer| bearer.name.as_str());
        match name {
            None if self.bearers.len() == 1 => Ok(0),
            None => {
                let hint = format!("add `bearer`; {}", instead("", known()));
                Err(self.document.problem(span, "there are several bearers, and none is named", hint))
            }
            Some(name) => known().position(|known| known == name.get_ref()).ok_or_else(|| {
                let what = format!("no bearer is called `{}`", name.get_ref());
                self.document.problem(&name.span(), what, instead(name.get_ref(), known()))
            }),
        }
    }

    /// Returns a device by its name.
    pub(super) fn device(&self, name: &str) -> Option<usize> {
        // A name consists of its group's and a number, so that not all of twenty thousand devices have to be searched.
        let in_group = self.groups.iter().flat_map(|(group, range)| {
            let number = name.strip_prefix(group.as_str()).and_then(|rest| rest.strip_prefix('-'));
            let number = number.and_then(|number| number.parse::<usize>().ok()).filter(|number| *number > 0);
            number.map(|number| range.start + number - 1).filter(|device| range.contains(device))
        });
        let numbered = in_group.into_iter().find(|device| self.devices[*device].name.as_str() == name);
        numbered.or_else(|| self.by_name.get(name).copied())
    }
}

/// The word for all devices.
const ALL: &str = "all";
