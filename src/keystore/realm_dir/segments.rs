//! The realm's segments: their names and bits, which may reach which, and the devices that are in them.
//!
//! Names, bits and what each reaches stand in the bulletin, so that every node judges alike. Which segments a device is in stands in
//! the ledger, and from there in the credentials that it is granted from then on; those that it has already keep
//! theirs until they end.
//!
//! Invariants
//! 1. A bit is given to one name and never to another: the credentials that carry it outlast a bulletin. No segment is ever removed.
//! 2. `default` is bit 0, whether or not the bulletin lists it.

use super::amending::AmendError;
use super::{RealmDir, RealmDirError};
use crate::id::Name;
use crate::identity::realm::Operator;
use crate::time::Unix;
use crate::wire::bulletin::{Bulletin, Segment};

/// A segment as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentEntry {
    /// Its bit in credentials.
    pub bit: u8,
    /// Its name.
    pub name: String,
    /// Names of the segments that it reaches besides itself.
    pub reaches: Vec<String>,
    /// Devices in force that are in it.
    pub devices: Vec<Name>,
}

/// A device whose segments were changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// Its name.
    pub device: Name,
    /// Whether they were others before.
    pub changed: bool,
    /// Unix seconds when the last credential that it may have with the segments of before ends.
    pub until: u64,
}

impl RealmDir {
    /// The realm's segments by bit, the default one first.
    ///
    /// # Errors
    /// The ledger or the bulletin cannot be read.
    pub fn segment_list(&mut self) -> Result<Vec<SegmentEntry>, RealmDirError> {
        self.refresh()?;
        let listed = self.bulletin.body().segments.clone();
        let name_of = |bit: u8| {
            let known = listed.iter().find(|segment| segment.bit == bit).map(|segment| segment.name.clone());
            known.unwrap_or_else(|| if bit == 0 { DEFAULT.to_owned() } else { format!("#{bit}") })
        };
        let reaches = |bit: u8| listed.iter().find(|segment| segment.bit == bit).map_or(0, Segment::reach);
        let book = self.ledger.book()?;
        let devices = book.devices();
        let used = devices.iter().fold(1, |used, device| used | device.segments);
        let used = listed.iter().fold(used, |used, segment| used | mask(segment.bit));
        let entry = |bit: u8| SegmentEntry {
            bit,
            name: name_of(bit),
            reaches: bits(reaches(bit)).map(&name_of).collect(),
            devices: devices
                .iter()
                .filter(|device| !device.revoked && device.segments & mask(bit) != 0)
                .map(|device| device.name.clone())
                .collect(),
        };
        Ok(bits(used).map(entry).collect())
    }

    /// Adds a segment; returns its bit.
    ///
    /// # Errors
    /// The name is taken, no bit is free, or the bulletin cannot be written.
    pub fn add_segment(&mut self, operator: &Operator, name: &Name, now: Unix) -> Result<u8, AmendError> {
        let amended = self.amend(operator, now, |realm, body| {
            if name.as_str() == DEFAULT || body.segments.iter().any(|segment| segment.name == name.as_str()) {
                return Err(AmendError::Refused(format!("there is a segment {name} already; choose another name")));
            }
            let used = realm.ledger.book()?.devices().iter().fold(1, |used, device| used | device.segments);
            let used = body.segments.iter().fold(used, |used, segment| used | mask(segment.bit));
            let free = (1..=LAST).find(|bit| used & mask(*bit) == 0);
            let bit = free.ok_or_else(|| {
                AmendError::Refused(format!(
                    "all {LAST} segments are given; a realm has no more, and a bit is never given again"
                ))
            })?;
            body.segments.push(Segment { bit, name: name.to_string(), reaches: [0; 8] });
            body.segments.sort_by_key(|segment| segment.bit);
            Ok((bit, Vec::new()))
        });
        Ok(amended?.changed)
    }

    /// Lets a segment reach another, or no more; says whether that is news. Without news the bulletin stays as it is.
    ///
    /// # Errors
    /// There is no such segment, or the bulletin cannot be written.
    pub fn set_reach(
        &mut self,
        operator: &Operator,
        (from, to): (&str, &str),
        reaches: bool,
        now: Unix,
    ) -> Result<bool, AmendError> {
        self.refresh()?;
        let (from_bit, to_bit) = (self.segment_bit(from)?, self.segment_bit(to)?);
        if from_bit == to_bit {
            return Err(AmendError::Refused(format!("{from} is itself, and always reaches itself; name two segments")));
        }
        let now_reaches = |body: &Bulletin| {
            let listed = body.segments.iter().find(|segment| segment.bit == from_bit);
            listed.map_or(0, Segment::reach) & mask(to_bit) != 0
        };
        if now_reaches(self.bulletin.body()) == reaches {
            return Ok(false);
        }
        let amended = self.amend(operator, now, |_, body| {
            if !body.segments.iter().any(|segment| segment.bit == from_bit) {
                body.segments.insert(0, Segment { bit: from_bit, name: from.to_owned(), reaches: [0; 8] });
            }
            for segment in body.segments.iter_mut().filter(|segment| segment.bit == from_bit) {
                let other = segment.reach() & !mask(to_bit);
                segment.reaches = (if reaches { other | mask(to_bit) } else { other }).to_be_bytes();
            }
            Ok((true, Vec::new()))
        });
        Ok(amended?.changed)
    }

    /// Puts a device into these segments and no others, from its next credentials on.
    ///
    /// # Errors
    /// There is no such device or segment, or the ledger cannot be written.
    pub fn assign_segments(&mut self, device: &Name, segments: &[String]) -> Result<Assigned, RealmDirError> {
        self.refresh()?;
        let segments = self.segments(segments)?;
        let (changed, record) = self.ledger.assign_segments(device, segments)?;
        Ok(Assigned { device: device.clone(), changed, until: record.until })
    }

    /// The bit of a segment.
    pub(super) fn segment_bit(&self, name: &str) -> Result<u8, RealmDirError> {
        let listed = self.bulletin.body().segments.iter().find(|segment| segment.name == name);
        match listed {
            Some(segment) => Ok(segment.bit),
            None if name == DEFAULT => Ok(0),
            None => Err(RealmDirError::NoSegment(name.to_owned())),
        }
    }
}

/// A bit as a bit map has it; none of those beyond its end.
pub(super) fn mask(bit: u8) -> u64 {
    1u64.checked_shl(bit.into()).unwrap_or(0)
}

fn bits(map: u64) -> impl Iterator<Item = u8> {
    (0..=LAST).filter(move |bit| map & mask(*bit) != 0)
}

/// Name of the segment of devices that were put into no other.
pub const DEFAULT: &str = "default";
/// The last bit.
const LAST: u8 = 63;

#[cfg(test)]
mod tests;
