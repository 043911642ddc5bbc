//! Parents: the devices that keep the mail of others while these sleep.
//!
//! A group names groups or devices as `parents`; of these, those are a device's parents with which it can link.

use super::Planning;
use crate::plan::{LEAST_AWAKE, MOST_TOLD, wakings};
use crate::scenario::model::Group;
use crate::scenario::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;

impl Planning<'_> {
    /// Finds the parents of each device, once it is known with which it can link.
    pub(super) fn plan_parents(&mut self) -> Result<(), Problem> {
        let mut near = BTreeMap::<usize, BTreeSet<usize>>::new();
        for edge in &self.edges {
            near.entry(edge.a).or_default().insert(edge.b);
            near.entry(edge.b).or_default().insert(edge.a);
        }
        for (name, group) in &self.model.devices {
            if group.parents.is_some() {
                self.plan_parents_of(name, group, &near)?;
            }
        }
        Ok(())
    }

    fn plan_parents_of(
        &mut self,
        name: &Spanned<String>,
        group: &Group,
        near: &BTreeMap<usize, BTreeSet<usize>>,
    ) -> Result<(), Problem> {
        let Some(named) = &group.parents else { return Ok(()) };
        let wrong = |document: &crate::scenario::document::Document<'_>, what: String, hint: &str| {
            Err(document.problem(&named.span(), what, hint))
        };
        let parents = self.spanned_members(named)?;
        if let Some(parent) = parents.iter().map(|parent| &self.devices[*parent]).find(|parent| !parent.is_mailbox()) {
            let what = format!("{} keeps no mail", parent.name);
            let hint = "give its group roles = [\"mailbox\"], and let it forward, or name others";
            return wrong(self.document, what, hint);
        }
        let members = self.named(name.get_ref(), &name.span())?;
        for device in members {
            let own =
                parents.iter().copied().filter(|parent| near.get(&device).is_some_and(|near| near.contains(parent)));
            self.devices[device].post.parents = own.collect();
            let device = &self.devices[device];
            if device.post.parents.is_empty() {
                let what = format!("{} can link with none of these", device.name);
                return wrong(self.document, what, "add [[links]] to one of them, or name others");
            }
            let times = wakings(&device.schedules, self.duration());
            if times.len() > MOST_TOLD {
                let what = format!("{} would wake {} times", device.name, times.len());
                let hint = format!(
                    "at most {MOST_TOLD} times can be told to a node: lengthen `every`, or leave `parents` out"
                );
                return wrong(self.document, what, &hint);
            }
            if times.iter().any(|(from, to)| *to - *from < LEAST_AWAKE) {
                let what = format!("{} would be awake for less than {} s", device.name, LEAST_AWAKE.as_secs());
                return wrong(self.document, what, "lengthen `awake`: it has to come to its links, and to leave them");
            }
        }
        Ok(())
    }

    /// Returns the most bytes that the devices of a group keep for one receiver.
    pub(super) fn mail_quota(&self, group: &Group) -> Result<Option<u64>, Problem> {
        let Some(quota) = &group.mail_quota else { return Ok(None) };
        let keeps = group.roles.iter().flatten().any(|role| *role == crate::scenario::model::RoleName::Mailbox);
        if !keeps {
            let hint = "add roles = [\"mailbox\"], or remove `mail_quota`";
            return Err(self.document.problem(&quota.span(), "these devices keep no mail", hint));
        }
        Ok(Some(quota.get_ref().0))
    }
}
