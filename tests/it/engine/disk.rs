//! A disk in memory.

use m2mesh::engine::store::{Commit, Read, ReadError, Table, Write};
use std::collections::BTreeMap;

/// What a disk holds: only what was flushed.
#[derive(Clone, Default)]
pub struct Disk(pub BTreeMap<(u8, Vec<u8>), Vec<u8>>);

impl Disk {
    pub fn apply(&mut self, commit: Commit) {
        for write in commit.writes {
            match write {
                Write::Put { table, key, value } => self.0.insert((table as u8, key), value),
                Write::Delete { table, key } => self.0.remove(&(table as u8, key)),
            };
        }
    }
}

impl Read for Disk {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.0.get(&(table as u8, key.to_vec())).cloned())
    }
    fn scan(&self, table: Table, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), ReadError> {
        for ((_, key), value) in self.0.range((table as u8, from.to_vec())..(table as u8 + 1, Vec::new())) {
            if !each(key, value) {
                break;
            }
        }
        Ok(())
    }
    fn last(&self, table: Table) -> Result<Option<(Vec<u8>, Vec<u8>)>, ReadError> {
        let range = self.0.range((table as u8, Vec::new())..(table as u8 + 1, Vec::new()));
        Ok(range.last().map(|((_, key), value)| (key.clone(), value.clone())))
    }
}
