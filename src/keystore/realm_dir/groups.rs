//! Groups with a key of their own: who reads them, and how they get another key.
//!
//! A group that the bulletin does not list has a key that every member can derive. One that it lists has versions of a key of its own,
//! each sealed to those who may read; whoever has the key can publish, too, unless the group is restricted to some of them
//! ([`publishers`](super::publishers)).
//!
//! The bulletin names groups by a tag. Their names, and who is to read them, stand in `DIR/realm/group-readers`, which is not a secret of
//! the realm but is private as all that lies beside it. A group without a list of readers is open to all members but the revoked, also to
//! those that come later; one with a list to these alone, until it gets a new key with another.
//!
//! ```cddl
//! group-readers = [* { 0: text, 1: u32, ? 2: [* device-id] } ]     ; name, last version made, readers
//! ```
//!
//! Invariants
//! 1. No two keys of one group bear one version, not even after it was removed and added again: versions are counted here, and the count
//!    is written before the bulletin.
//! 2. A device that is revoked, or not among the readers, is reached by no version that is made afterwards.

use super::amending::{AmendError, Amended};
use super::publishers::at_once;
use super::{RealmDir, RealmDirError};
use crate::id::{DeviceId, Name, Tag};
use crate::identity::group::name_tag;
use crate::identity::group_tree;
use crate::identity::issuer::publishing_generation;
use crate::identity::ledger::Book;
use crate::identity::ledger::leaves::{self, SealTo};
use crate::identity::realm::Operator;
use crate::identity::seal;
use crate::keystore::private_file::{self, FileError};
use crate::time::Unix;
use crate::wire::bulletin::GroupVersion;
use crate::wire::topic::check_topic;
use crate::wire::{decode, encode};
use core::time::Duration;
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Who may read a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readers {
    /// All members that are not revoked, and those that come later.
    All,
    /// These devices.
    Some(Vec<Name>),
}

/// Which key is to be made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rekey {
    /// The realm's root key, from which the keys of all groups that are not listed derive.
    Root,
    /// A listed group's, for the readers that it has, or for others from now on.
    Group(String, Option<Readers>),
}

/// A version of a key that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its number.
    pub version: u32,
    /// When it begins to be sealed with.
    pub from: Unix,
    /// Seals in its document: one for each subtree that it reaches.
    pub seals: usize,
    /// Bytes of its document.
    pub bytes: usize,
    /// Until when devices hold two leaves of the group key tree, if that is so long that they were numbered anew.
    pub numbered_anew_until: Option<Unix>,
}

/// A listed group as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupEntry {
    /// Its name; absent for the realm's root, and for one that was listed from another directory.
    pub name: Option<String>,
    /// Tag of its name; absent for the realm's root.
    pub tag: Option<Tag>,
    /// The versions that the bulletin names, the newest first: number, time from which it is sealed with, bytes of its
    /// document if that is at hand.
    pub versions: Vec<(u32, Unix, Option<usize>)>,
    /// Who reads it, if that is known here.
    pub readers: Option<Readers>,
    /// Who publishes to it, of those who read it, if that is known here.
    pub publishers: Option<Readers>,
}

/// A group in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) readers: Option<Vec<DeviceId>>,
}

impl RealmDir {
    /// What the bulletin lists: the root first, then the groups by their names.
    ///
    /// # Errors
    /// The ledger, the bulletin or the list of readers cannot be read.
    pub fn group_list(&mut self) -> Result<Vec<GroupEntry>, RealmDirError> {
        self.refresh()?;
        let stored = self.stored_groups()?;
        let body = self.bulletin.body();
        let tags: BTreeSet<Option<Tag>> = body.groups.iter().map(|named| named.group).collect();
        let mut entries = Vec::new();
        for tag in tags {
            let mut versions: Vec<_> = body.groups.iter().filter(|named| named.group == tag).collect();
            versions.sort_by_key(|named| core::cmp::Reverse(named.version));
            let bytes = |hash: &[u8; 32]| self.bulletin.document(hash).map(|document| document.len());
            let version = |named: &&crate::wire::bulletin::GroupReference| {
                (named.version, Unix::from_seconds(named.from), bytes(&named.hash))
            };
            let versions: Vec<(u32, Unix, Option<usize>)> = versions.iter().map(version).collect();
            let known = stored.iter().find(|group| Some(name_tag(body.realm, &group.name)) == tag);
            let readers = match known {
                Some(Stored { readers: Some(readers), .. }) => Some(readers.clone()),
                _ => None,
            };
            let open = tag.is_none() || known.is_some();
            entries.push((known.map(|group| group.name.clone()), tag, versions, open.then_some(readers)));
        }
        let bulletin = self.bulletin.clone();
        let book = self.ledger.book()?;
        let named = |ids: Vec<DeviceId>| {
            let names = ids.iter().filter_map(|id| book.get(id)).map(|device| device.name.clone());
            Readers::Some(names.collect())
        };
        let mut entries: Vec<_> = entries
            .into_iter()
            .map(|(name, tag, versions, readers)| {
                let readers = readers.map(|readers| readers.map_or(Readers::All, named));
                let known = versions.first().is_some_and(|(.., bytes)| bytes.is_some());
                let restricted = tag.filter(|tag| publishing_generation(&bulletin, *tag).is_some());
                let may = |tag: Tag| book.publishers(tag).into_iter().collect::<Vec<_>>();
                let publishers = known.then(|| restricted.map_or(Readers::All, |tag| named(may(tag))));
                GroupEntry { name, tag, versions, readers, publishers }
            })
            .collect();
        entries.sort_by(|a, b| (a.tag.is_some(), &a.name, a.tag).cmp(&(b.tag.is_some(), &b.name, b.tag)));
        Ok(entries)
    }

    /// Gives a group a key of its own, sealed with after a while.
    ///
    /// # Errors
    /// The name is no group's, is listed already, or names readers that are not there; or the bulletin cannot be written.
    pub fn add_group(
        &mut self,
        operator: &Operator,
        (name, readers): (&str, Readers),
        (now, after): (Unix, Duration),
        rng: &mut ChaCha20Rng,
    ) -> Result<Made, AmendError> {
        self.add_group_for(operator, (name, readers, Readers::All), (now, after), rng)
    }

    /// The same for a group to which only these devices publish, of those who read it. It is restricted at once, by every clock, if they are
    /// not all.
    ///
    /// # Errors
    /// Those of [`Self::add_group`]; or a publisher is not there, does not read it, or has the right for too many groups.
    pub fn add_group_for(
        &mut self,
        operator: &Operator,
        (name, readers, publishers): (&str, Readers, Readers),
        (now, after): (Unix, Duration),
        rng: &mut ChaCha20Rng,
    ) -> Result<Made, AmendError> {
        check_topic(name).map_err(|error| AmendError::Refused(error.to_string()))?;
        if name.contains('/') {
            let group = crate::wire::topic::group(name);
            return Err(AmendError::Refused(format!("{name} is a topic; its group is the first level, {group}")));
        }
        let amended = self.amend(operator, now, |realm, body| {
            let tag = name_tag(body.realm, name);
            if body.groups.iter().any(|named| named.group == Some(tag)) {
                let hint = format!("give it another with `m2mesh realm group DIR rekey {name}`");
                return Err(AmendError::Refused(format!("the group {name} has a key of its own already; {hint}")));
            }
            let readers = realm.reader_ids(readers)?;
            let publishers = realm.reader_ids(publishers)?;
            realm.check_publishers(name, publishers.as_deref().unwrap_or_default(), readers.as_deref())?;
            let mut stored = realm.stored_groups()?;
            let group = entry(&mut stored, name);
            group.version += 1;
            group.readers.clone_from(&readers);
            let version = group.version;
            realm.store_groups(&stored)?;
            let may = publishers.iter().flatten().copied().collect();
            realm.ledger.assign_publishers(tag, &may)?;
            let generation = publishers.is_some().then_some(version);
            let document = realm.seal((Some(tag), version), readers.as_deref(), generation, now, rng)?;
            let from = if generation.is_some() { at_once(body, now) } else { now + after };
            Ok(put(body, &document, from))
        });
        Ok(made_of(amended?))
    }

    /// Gives a group, or the root, another key, sealed with after a while: one document, for whoever is to read from then on.
    ///
    /// # Errors
    /// The group is not listed, or the readers are not there; or the bulletin cannot be written.
    pub fn rekey(
        &mut self,
        operator: &Operator,
        rekey: Rekey,
        (now, after): (Unix, Duration),
        rng: &mut ChaCha20Rng,
    ) -> Result<Made, AmendError> {
        let amended = self.amend(operator, now, |realm, body| {
            let newest = |tag: Option<Tag>| {
                body.groups.iter().filter(|named| named.group == tag).map(|named| named.version).max()
            };
            let (tag, version, readers, generation) = match rekey {
                Rekey::Root => (None, newest(None).unwrap_or(0) + 1, None, None),
                Rekey::Group(name, readers) => {
                    let tag = name_tag(body.realm, &name);
                    let listed = newest(Some(tag)).ok_or_else(|| not_listed(&name))?;
                    let mut stored = realm.stored_groups()?;
                    // Listed from another directory: who was to read it is not known here.
                    if readers.is_none() && !stored.iter().any(|group| group.name == name) {
                        let hint = "say it with --readers NAME…, or --all";
                        return Err(AmendError::Refused(format!("who reads {name} is not known here; {hint}")));
                    }
                    let readers = readers.map(|readers| realm.reader_ids(readers)).transpose()?;
                    let generation = realm.generation(&name)?;
                    if let Some(readers) = readers.as_ref().filter(|_| generation.is_some()) {
                        let may: Vec<DeviceId> = realm.ledger.book()?.publishers(tag).into_iter().collect();
                        realm.check_publishers(&name, &may, readers.as_deref())?;
                    }
                    let group = entry(&mut stored, &name);
                    group.version = group.version.max(listed) + 1;
                    if let Some(readers) = readers {
                        group.readers = readers;
                    }
                    let made = (Some(tag), group.version, group.readers.clone(), generation);
                    realm.store_groups(&stored)?;
                    made
                }
            };
            let document = realm.seal((tag, version), readers.as_deref(), generation, now, rng)?;
            Ok(put(body, &document, now + after))
        });
        Ok(made_of(amended?))
    }

    /// Takes a group's own key from it: it has the one that every member derives from the root's, at once.
    ///
    /// # Errors
    /// The group is not listed, or the bulletin cannot be written.
    pub fn remove_group(&mut self, operator: &Operator, name: &str, now: Unix) -> Result<(), AmendError> {
        let amended = self.amend(operator, now, |realm, body| {
            let tag = name_tag(body.realm, name);
            let newest = body.groups.iter().filter(|named| named.group == Some(tag)).map(|named| named.version).max();
            let newest = newest.ok_or_else(|| not_listed(name))?;
            let mut stored = realm.stored_groups()?;
            let group = entry(&mut stored, name);
            (group.version, group.readers) = (group.version.max(newest), None);
            realm.store_groups(&stored)?;
            realm.ledger.assign_publishers(tag, &BTreeSet::new())?;
            body.groups.retain(|named| named.group != Some(tag));
            Ok(((), Vec::new()))
        });
        amended.map(drop)
    }

    /// A fresh key, sealed to all members in force, or to those of these that are; restricted to who has a permit of the generation, if
    /// there is one.
    pub(super) fn seal(
        &mut self,
        version: (Option<Tag>, u32),
        readers: Option<&[DeviceId]>,
        generation: Option<u32>,
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<GroupVersion, AmendError> {
        let key = seal::random(rng);
        let book = self.ledger.book()?;
        let mut document = match readers {
            Some(readers) => {
                let in_force = readers.iter().filter_map(|id| book.get(id)).filter(|device| !device.revoked);
                self.issuer.seal_group_to(rng, version, &key, &leaves::leaves_of(in_force, SealTo::At(now)))
            }
            None => {
                let (given, excluded) = assigned(book, now);
                self.issuer.seal_group(rng, version, &key, given, &excluded)
            }
        };
        if let Some(generation) = generation {
            self.issuer.restrict_group(&mut document, &key, generation);
        }
        Ok(document)
    }

    pub(super) fn reader_ids(&mut self, readers: Readers) -> Result<Option<Vec<DeviceId>>, AmendError> {
        let Readers::Some(names) = readers else { return Ok(None) };
        let book = self.ledger.book()?;
        let id = |name: Name| match book.named(&name) {
            Some(device) => Ok(device.device),
            None => Err(RealmDirError::NoDevice(name).into()),
        };
        names
            .into_iter()
            .map(id)
            .collect::<Result<BTreeSet<_>, AmendError>>()
            .map(|ids| Some(ids.into_iter().collect()))
    }

    pub(super) fn stored_groups(&self) -> Result<Vec<Stored>, RealmDirError> {
        let path = self.readers_path();
        match private_file::read(&path) {
            Err(FileError::Missing { .. }) => Ok(Vec::new()),
            read => decode(&read?).map_err(|source| RealmDirError::Damaged { path, source }),
        }
    }

    pub(super) fn store_groups(&self, groups: &[Stored]) -> Result<(), FileError> {
        private_file::write(&self.readers_path(), &encode(&groups))
    }

    fn readers_path(&self) -> PathBuf {
        self.place.join(READERS)
    }
}

/// What is stored of a group, which may be nothing yet.
pub(super) fn entry<'a>(stored: &'a mut Vec<Stored>, name: &str) -> &'a mut Stored {
    let at = stored.iter().position(|group| group.name == name).unwrap_or(stored.len());
    if at == stored.len() {
        stored.push(Stored { name: name.to_owned(), version: 0, readers: None });
    }
    &mut stored[at]
}

/// How many leaves are assigned, at least one, and which of them no device in force holds.
fn assigned(book: &Book, now: Unix) -> (u32, BTreeSet<u32>) {
    let devices = book.devices();
    let held = leaves::leaves_of(devices.iter().filter(|device| !device.revoked).copied(), SealTo::At(now));
    let given = leaves::given(devices);
    (given, (0..given).filter(|leaf| !held.contains(leaf)).collect())
}

/// A version as it was made, with what has become of leaves for its length.
fn made_of(amended: Amended<Made>) -> Made {
    let Amended { changed, numbered_anew_until } = amended;
    Made { numbered_anew_until, ..changed }
}

/// Names a document in the bulletin.
pub(super) fn put(
    body: &mut crate::wire::bulletin::Bulletin,
    document: &GroupVersion,
    from: Unix,
) -> (Made, Vec<Vec<u8>>) {
    body.groups.push(group_tree::reference(document, from.seconds()));
    let encoded = encode(document);
    let from = Unix::from_seconds(from.seconds());
    let (seals, bytes) = (document.cover.len(), encoded.len());
    let made = Made { version: document.version, from, seals, bytes, numbered_anew_until: None };
    (made, vec![encoded])
}

pub(super) fn not_listed(name: &str) -> AmendError {
    AmendError::Refused(format!(
        "the group {name} has no key of its own; give it one with `m2mesh realm group DIR add {name}`"
    ))
}

const READERS: &str = "group-readers";

#[cfg(test)]
mod tests;
