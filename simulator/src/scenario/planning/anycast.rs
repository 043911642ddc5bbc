//! Anycast: flows to any one of the devices that offer a service, and to all devices.
//!
//! A flow goes to any if it is `to = "any:SERVICE"`, and groups say which services their devices `offers`. Only devices with the role
//! `broadcast` send to all.

use super::Planning;
use super::reach::Reach;
use crate::plan::{FlowKind, Traced};
use crate::scenario::model::{Group, Traffic, TrafficKind};
use crate::scenario::problem::{Problem, instead};
use m2mesh::wire::credential::Role;
use std::collections::BTreeSet;
use toml::Spanned;

impl Planning<'_> {
    /// Returns the services that a group's devices offer.
    pub(super) fn offers(&self, group: &Group) -> Result<Vec<String>, Problem> {
        let Some(offers) = &group.offers else { return Ok(Vec::new()) };
        let mut seen = BTreeSet::new();
        let wrong = |name: &&String| name.is_empty() || name.contains(':') || !seen.insert((*name).clone());
        match offers.get_ref().iter().find(wrong) {
            Some(name) => {
                let what = format!("{name:?} is no service, or is there twice");
                Err(self.document.problem(&offers.span(), what, "write names, as offers = [\"billing\"]"))
            }
            None => Ok(offers.get_ref().clone()),
        }
    }

    /// Returns a flow to any device that offers a service, if it is one.
    pub(super) fn to_any(
        &self,
        traffic: &Traffic,
        from: &[usize],
        traced: Option<&[Traced]>,
        reach: &Reach,
    ) -> Result<Option<FlowKind>, Problem> {
        let request = traffic.kind == TrafficKind::Request;
        let service = traffic.to.as_ref().and_then(|to| match &to.get_ref().0[..] {
            [one] => Some((one.strip_prefix(ANY)?, to.span())),
            _ => None,
        });
        let Some((service, span)) = service else {
            return match &traffic.repeat {
                Some(repeat) => {
                    let what = "`repeat` says whether another device may execute a request";
                    Err(self.document.problem(&repeat.span(), what, "remove it, or write to = \"any:SERVICE\""))
                }
                None => Ok(None),
            };
        };
        let wrong = |what: String, hint: &str| Err(self.document.problem(&span, what, hint));
        let servers: Vec<usize> = (0..self.devices.len()).filter(|device| self.offer(*device, service)).collect();
        if servers.is_empty() {
            let known: BTreeSet<&str> =
                self.devices.iter().flat_map(|device| device.offers.iter().map(String::as_str)).collect();
            return wrong(format!("no device offers `{service}`"), &instead(service, known));
        }
        if traffic.partners.is_some() || traced.is_some_and(|lines| lines.iter().any(|line| line.to.is_some())) {
            return wrong("a flow to any device names none".into(), "remove `partners`, and receivers from the trace");
        }
        let repeat = match &traffic.repeat {
            Some(repeat) if !request => {
                let what = "a message goes to one device only";
                return Err(self.document.problem(
                    &repeat.span(),
                    what,
                    "remove `repeat`, or write kind = \"request\"",
                ));
            }
            repeat => repeat.as_ref().is_some_and(|repeat| *repeat.get_ref()),
        };
        let lost =
            from.iter().find(|from| !servers.iter().any(|server| *server != **from && reach.can(**from, *server)));
        match lost {
            Some(lost) => {
                let what =
                    format!("there is no way from {} to a device that offers `{service}`", self.devices[*lost].name);
                wrong(what, "add [[links]] that lead to one, or leave the sender out of `from`")
            }
            None => Ok(Some(FlowKind::Any { service: service.to_owned(), servers, request, repeat })),
        }
    }

    fn offer(&self, device: usize, service: &str) -> bool {
        self.devices[device].offers.iter().any(|offered| offered == service)
    }

    /// Returns a flow to all, if its senders may send that.
    pub(super) fn to_all(&self, traffic: &Traffic, from: &[usize]) -> Result<FlowKind, Problem> {
        let span = || traffic.from.as_ref().map_or_else(|| traffic.name.span(), Spanned::span);
        match from.iter().find(|from| self.devices[**from].roles & Role::Broadcast as u16 == 0) {
            Some(lacking) => {
                let device = &self.devices[*lacking];
                let what = format!("{} may not send to all", device.name);
                let hint = format!("give [devices.{}] roles = [\"broadcast\"]", device.group);
                Err(self.document.problem(&span(), what, hint))
            }
            None => Ok(FlowKind::Broadcast),
        }
    }
}

/// The beginning of the word for any device that offers a service.
const ANY: &str = "any:";
