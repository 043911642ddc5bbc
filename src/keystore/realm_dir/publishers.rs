//! Who may publish to a group, of those who may read it.
//!
//! The ledger says for each device to which restricted groups it may publish; the issuer gives it its permits. A group is
//! restricted by a version of its key, as `identity::permit` says. Whoever publishes has the group's key, so it has to be a reader.
//!
//! A right that is given needs no new key: a new bulletin has devices ask for permits. A right that is taken needs another
//! generation, and so a version of the key, that is in force at once: its beginning lies so far back that it has come by every clock that
//! the mesh accepts.
//!
//! Invariants
//! 1. Whoever has a right taken is given no permit of the generation that follows: the ledger says so before the bulletin does.
//! 2. A change that a crash has interrupted between ledger and bulletin is finished by the next one.

use super::RealmDir;
use super::amending::{AmendError, Amended};
use super::groups::{Made, Readers, entry, not_listed, put};
use crate::id::{DeviceId, Name};
use crate::identity::group::name_tag;
use crate::identity::issuer::publishing_generation;
use crate::identity::realm::Operator;
use crate::time::Unix;
use crate::wire::bulletin::Bulletin;
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeSet;

/// Who is to publish to a group from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Whoever reads it: it is not restricted.
    All,
    /// Those who may, and of these devices the first list too, the second no more. A group that is not restricted is from then on.
    Some(Vec<Name>, Vec<Name>),
}

/// What has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Who publishes.
    pub publishers: Readers,
    /// Whether that is news; otherwise the bulletin is as it was.
    pub new: bool,
    /// The version of the key that was made, if one was needed.
    pub made: Option<Made>,
}

impl RealmDir {
    /// Changes who may publish to a group.
    ///
    /// # Errors
    /// The group is not listed, a device is not there, does not read the group or has the right for too many groups; or the bulletin cannot
    /// be written.
    pub fn set_publishers(
        &mut self,
        operator: &Operator,
        (name, change): (&str, Change),
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<Changed, AmendError> {
        self.refresh()?;
        let planned = self.plan_publishers(name, &change)?;
        if !planned.new {
            return Ok(Changed {
                publishers: self.publishers_of(planned.restricted, &planned.may)?,
                new: false,
                made: None,
            });
        }
        let amended = self.amend(operator, now, |realm, body| {
            // Again, now that nobody else changes the bulletin.
            let planned = realm.plan_publishers(name, &change)?;
            let tag = name_tag(body.realm, name);
            let listed = body.groups.iter().filter(|named| named.group == Some(tag)).map(|named| named.version).max();
            let mut stored = realm.stored_groups()?;
            let group = entry(&mut stored, name);
            if planned.raises {
                group.version = group.version.max(listed.unwrap_or(0)) + 1;
            }
            let (version, readers) = (group.version, group.readers.clone());
            realm.check_publishers(name, &planned.may.iter().copied().collect::<Vec<_>>(), readers.as_deref())?;
            // First of all: who finds this version counted and in no bulletin makes it.
            realm.store_groups(&stored)?;
            realm.ledger.assign_publishers(tag, &planned.may)?;
            let publishers = realm.publishers_of(planned.restricted, &planned.may)?;
            if !planned.raises {
                return Ok((Changed { publishers, new: true, made: None }, Vec::new()));
            }
            let generation = planned.restricted.then_some(version);
            let document = realm.seal((Some(tag), version), readers.as_deref(), generation, now, rng)?;
            let (made, documents) = put(body, &document, at_once(body, now));
            Ok((Changed { publishers, new: true, made: Some(made) }, documents))
        });
        let Amended { mut changed, numbered_anew_until } = amended?;
        if let Some(made) = &mut changed.made {
            made.numbered_anew_until = numbered_anew_until;
        }
        Ok(changed)
    }

    fn plan_publishers(&mut self, name: &str, change: &Change) -> Result<Planned, AmendError> {
        let body = self.bulletin.body();
        let tag = name_tag(body.realm, name);
        let listed = body.groups.iter().filter(|named| named.group == Some(tag)).map(|named| named.version).max();
        let listed = listed.ok_or_else(|| not_listed(name))?;
        let was_restricted = self.generation(name)?.is_some();
        let counted = self.stored_groups()?.into_iter().find(|group| group.name == name).map(|group| group.version);
        let counted = counted.ok_or_else(|| {
            let hint = format!("say it with `m2mesh realm group DIR rekey {name} --readers NAME…`, or --all");
            AmendError::Refused(format!("who reads {name} is not known here; {hint}"))
        })?;
        let before = self.ledger.book()?.publishers(tag);
        let mut may = before.clone();
        let restricted = match change {
            Change::All => {
                may.clear();
                false
            }
            Change::Some(add, remove) => {
                may.extend(self.device_ids(add)?);
                for id in self.device_ids(remove)? {
                    may.remove(&id);
                }
                true
            }
        };
        let raises = restricted != was_restricted || !may.is_superset(&before) || counted > listed;
        Ok(Planned { new: raises || may != before, may, restricted, raises })
    }

    fn device_ids(&mut self, names: &[Name]) -> Result<Vec<DeviceId>, AmendError> {
        Ok(self.reader_ids(Readers::Some(names.to_vec()))?.unwrap_or_default())
    }

    fn publishers_of(&mut self, restricted: bool, may: &BTreeSet<DeviceId>) -> Result<Readers, AmendError> {
        if !restricted {
            return Ok(Readers::All);
        }
        let book = self.ledger.book()?;
        let names = may.iter().filter_map(|id| book.get(id)).map(|device| device.name.clone());
        Ok(Readers::Some(names.collect()))
    }

    /// The generation of the right to publish to a listed group; `None` if the group is not restricted.
    pub(super) fn generation(&self, name: &str) -> Result<Option<u32>, AmendError> {
        let body = self.bulletin.body();
        let tag = name_tag(body.realm, name);
        let newest = body.groups.iter().filter(|named| named.group == Some(tag)).max_by_key(|named| named.version);
        if newest.is_some_and(|newest| self.bulletin.document(&newest.hash).is_none()) {
            return Err(AmendError::Refused(format!(
                "the document of the key of {name} is not at hand, so it is not known who publishes; bring it back from a copy of realm/groups"
            )));
        }
        Ok(publishing_generation(&self.bulletin, tag))
    }

    /// Whether all who are to publish to a group read it.
    pub(super) fn check_publishers(
        &mut self,
        name: &str,
        publishers: &[DeviceId],
        readers: Option<&[DeviceId]>,
    ) -> Result<(), AmendError> {
        let Some(readers) = readers else { return Ok(()) };
        let Some(one) = publishers.iter().find(|one| !readers.contains(one)) else { return Ok(()) };
        let book = self.ledger.book()?;
        let who = book.get(one).map_or_else(|| one.to_string(), |device| device.name.to_string());
        Err(AmendError::Refused(format!(
            "{who} would publish to {name} without reading it, and who publishes needs the key; make it a reader, or take the right from it with `m2mesh realm group DIR publishers {name} --remove {who}`"
        )))
    }
}

/// A change, as it follows from what holds now.
struct Planned {
    may: BTreeSet<DeviceId>,
    restricted: bool,
    /// Whether it takes another generation.
    raises: bool,
    new: bool,
}

/// A time that has come by every clock that the mesh accepts.
pub(super) fn at_once(body: &Bulletin, now: Unix) -> Unix {
    now - body.epoch_length.skew() * 2
}

#[cfg(test)]
mod tests;
