//! Layout: the realm's segments with their devices, and the groups of topics with their readers.

use super::Planning;
use crate::plan::{Keyed, Layout, Segment};
use crate::scenario::problem::{Problem, instead};
use std::collections::BTreeSet;

impl Planning<'_> {
    /// Returns the segments and the groups with keys of their own.
    pub(super) fn plan_layout(&self) -> Result<Layout, Problem> {
        Ok(Layout { segments: self.plan_segments()?, groups: self.plan_keyed()? })
    }

    fn plan_segments(&self) -> Result<Vec<Segment>, Problem> {
        let model = &self.model.segments;
        let mut names: Vec<&str> = vec![DEFAULT];
        for segment in model {
            let name = &segment.get_ref().name;
            match m2mesh::id::Name::new(name.get_ref().clone()) {
                Ok(_) if !names[1..].contains(&name.get_ref().as_str()) => {}
                Ok(_) => {
                    let what = format!("there is a segment `{}` already", name.get_ref());
                    return Err(self.document.problem(&name.span(), what, "choose another name"));
                }
                Err(error) => {
                    let hint = "write a name of a device's kind, as \"ot\"";
                    return Err(self.document.problem(&name.span(), error.to_string(), hint));
                }
            }
            if name.get_ref() != DEFAULT {
                names.push(name.get_ref());
            }
        }
        if names.len() > MOST_SEGMENTS {
            let what = format!("a realm has at most {MOST_SEGMENTS} segments");
            return Err(self.document.problem(&model[MOST_SEGMENTS - 1].span(), what, "leave out some"));
        }
        let bit = |name: &str| names.iter().position(|known| *known == name).and_then(|at| u8::try_from(at).ok());
        let mut segments = Vec::new();
        for segment in model {
            let segment = segment.get_ref();
            let mut reaches = 0;
            for reached in segment.reaches.iter().flatten() {
                let bit = bit(reached.get_ref()).ok_or_else(|| {
                    let what = format!("no segment is called `{}`", reached.get_ref());
                    self.document.problem(&reached.span(), what, instead(reached.get_ref(), names.iter().copied()))
                })?;
                reaches |= 1 << bit;
            }
            let devices = match &segment.devices {
                Some(devices) => self.spanned_members(devices)?.into_iter().collect(),
                None => BTreeSet::new(),
            };
            let name = segment.name.get_ref().clone();
            segments.push(Segment { bit: bit(&name).unwrap_or_default(), name, devices, reaches });
        }
        Ok(segments)
    }

    fn plan_keyed(&self) -> Result<Vec<Keyed>, Problem> {
        let mut groups = Vec::<Keyed>::new();
        for keyed in &self.model.readers {
            let keyed = keyed.get_ref();
            let group = keyed.topics.get_ref();
            let plain = m2mesh::wire::topic::check_topic(group).is_ok() && !group.contains('/');
            if !plain || groups.iter().any(|known| known.group == *group) {
                let what = format!("`{group}` is not the first level of topics, or is listed already");
                return Err(self.document.problem(&keyed.topics.span(), what, "write it once, as topics = \"plant\""));
            }
            let readers = match &keyed.devices {
                Some(devices) => Some(self.spanned_members(devices)?.into_iter().collect()),
                None => None,
            };
            groups.push(Keyed { group: group.clone(), readers });
        }
        Ok(groups)
    }
}

/// The name of the segment of devices that are in no other.
const DEFAULT: &str = "default";
/// The number of segments of a realm.
const MOST_SEGMENTS: usize = 64;
