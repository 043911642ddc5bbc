//! Frames: whole frames of the bytes that are written to a stream, by which a hostile member is modelled without
//! changing its node.
//!
//! A stream begins with two lines of multistream-select, each preceded by its length as a varint. Frames follow, each
//! preceded by 32 bits of length. A hostile member changes only whole frames of data and groups. Control frames pass,
//! so that its links stay up, except those about its own links.

use super::path::{came_from, is_of_others, stretched};
use super::pester::openers;
use super::purpose::{Classifier, Purpose};
use super::{Medium, now};
use crate::plan::Hostility;
use crate::virtual_os::splitmix;
use m2mesh::wire::data::{DataFrame, Form};
use m2mesh::wire::frame::{HEADER, Kind};
use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Duration;

/// A cutter of one stream's bytes into frames, which treats them as its hostile device does at the moment.
pub struct Tamper {
    device: usize,
    /// The device at the stream's other end.
    peer: usize,
    /// The bytes of an incomplete frame.
    partial: Vec<u8>,
    /// The number of lines of negotiation still to come.
    lines: u32,
    chance: u64,
}

impl Tamper {
    /// Returns a cutter for a new stream of a device to another.
    pub fn new(device: usize, peer: usize) -> Self {
        Self { device, peer, partial: Vec::new(), lines: 2, chance: device as u64 }
    }

    /// Returns the pieces that go onto the line for these bytes, each with a delay.
    pub fn handle(&mut self, medium: &Medium, kind: &Classifier, bytes: &[u8]) -> Vec<(Vec<u8>, Duration)> {
        let purpose = kind.known();
        let (hostile, liar) = {
            let device = &medium.lock().devices[self.device];
            (device.hostile, device.liar.clone())
        };
        let tells = purpose == Some(Purpose::Routing) && liar.is_some();
        if !tells && !matches!(purpose, None | Some(Purpose::Payload)) {
            let mut all = std::mem::take(&mut self.partial);
            all.extend_from_slice(bytes);
            return vec![(all, Duration::ZERO)];
        }
        self.partial.extend_from_slice(bytes);
        let mut sent = Vec::new();
        let between = self.lines == 0 && self.partial.len() == bytes.len();
        if between && purpose == Some(Purpose::Payload) {
            let due = {
                let device = &mut medium.lock().devices[self.device];
                let due = device.again.entry(self.peer).or_default().take(now());
                device.misdeeds += due.len() as u64;
                due
            };
            sent.extend(due.into_iter().map(|frame| (frame, Duration::ZERO)));
        }
        if let Some(liar) = liar.as_ref().filter(|_| between && tells) {
            let mut liar = liar.lock().unwrap_or_else(PoisonError::into_inner);
            let lies = hostile == Some(Hostility::Lie);
            if let Some(lie) = liar.begins(self.peer, lies) {
                medium.note_misdeeds(self.device, 1);
                sent.push((lie, Duration::ZERO));
            }
            sent.extend(liar.ends(self.peer, lies).map(|truth| (truth, Duration::ZERO)));
        }
        while let Some(length) = self.length(purpose) {
            let rest = self.partial.split_off(length);
            let frame = std::mem::replace(&mut self.partial, rest);
            if self.lines > 0 {
                self.lines -= 1;
                sent.push((frame, Duration::ZERO));
            } else if let Some(liar) = liar.as_ref().filter(|_| tells) {
                let lies = hostile == Some(Hostility::Lie);
                let mut liar = liar.lock().unwrap_or_else(PoisonError::into_inner);
                let told = liar.told(frame.clone(), lies);
                medium.note_misdeeds(self.device, usize::from(told != frame));
                sent.push((told, Duration::ZERO));
                if let Some(Hostility::Pester(times)) = hostile {
                    let more = liar.pester(times, &mut self.chance);
                    medium.note_misdeeds(self.device, more.len());
                    sent.extend(more.into_iter().map(|frame| (frame, Duration::ZERO)));
                }
            } else {
                self.treat(medium, hostile, purpose, frame, &mut sent);
            }
        }
        sent
    }

    fn treat(
        &mut self,
        medium: &Medium,
        hostile: Option<Hostility>,
        purpose: Option<Purpose>,
        frame: Vec<u8>,
        sent: &mut Vec<(Vec<u8>, Duration)>,
    ) {
        match hostile {
            Some(Hostility::BlackHole) if purpose == Some(Purpose::Payload) && is_of_others(&frame) => {
                medium.note_misdeeds(self.device, 1);
            }
            None | Some(Hostility::BlackHole | Hostility::Lie) => sent.push((frame, Duration::ZERO)),
            Some(Hostility::Drop(share)) => {
                let drawn = (splitmix(&mut self.chance) >> 11) as f64 / (1u64 << 53) as f64;
                if drawn >= share {
                    sent.push((frame, Duration::ZERO));
                } else {
                    medium.note_misdeeds(self.device, 1);
                }
            }
            Some(Hostility::Return) => {
                let before = came_from(&frame).and_then(|relay| medium.witness(|witness| witness.device_of(&relay)));
                if let Some(before) = before {
                    let again = &mut medium.lock().devices[self.device].again;
                    again.entry(before).or_default().keep(&frame, now(), 0);
                }
                sent.push((frame, Duration::ZERO));
            }
            Some(Hostility::Stretch) => match stretched(&frame) {
                Some(stretched) => {
                    medium.note_misdeeds(self.device, 1);
                    sent.push((stretched, Duration::ZERO));
                }
                None => sent.push((frame, Duration::ZERO)),
            },
            Some(Hostility::Delay(delay)) => {
                medium.note_misdeeds(self.device, 1);
                sent.push((frame, delay));
            }
            Some(Hostility::Replay(after)) => {
                let again = &mut medium.lock().devices[self.device].again;
                again.entry(self.peer).or_default().keep(&frame, now(), super::super::nanos(after));
                sent.push((frame, Duration::ZERO));
            }
            Some(Hostility::Pester(times)) => {
                let more = openers(&frame, times, &mut self.chance);
                medium.note_misdeeds(self.device, more.len());
                sent.push((frame, Duration::ZERO));
                sent.extend(more.into_iter().map(|frame| (frame, Duration::ZERO)));
            }
            Some(Hostility::Flood(times)) => {
                medium.note_misdeeds(self.device, times.saturating_sub(1) as usize);
                sent.extend((0..times.max(1)).map(|_| (frame.clone(), Duration::ZERO)));
            }
        }
    }

    /// Returns the length of the first frame including its length field, if it is complete.
    fn length(&self, purpose: Option<Purpose>) -> Option<usize> {
        let whole = match purpose {
            Some(Purpose::Payload | Purpose::Routing) if self.lines == 0 => {
                4 + u32::from_be_bytes(*self.partial.first_chunk::<4>()?) as usize
            }
            _ => {
                let (mut value, mut shift, mut place) = (0usize, 0, 0);
                loop {
                    let byte = *self.partial.get(place)?;
                    value |= usize::from(byte & 0x7f) << shift;
                    place += 1;
                    shift += 7;
                    if byte & 0x80 == 0 || shift > 28 {
                        break place + value;
                    }
                }
            }
        };
        (whole <= self.partial.len()).then_some(whole)
    }
}

/// The data frames that a member keeps to send again to one neighbour, even after either of them was restarted.
#[derive(Default)]
pub struct Again(VecDeque<Kept>);

struct Kept {
    /// The time at which it is sent, in nanoseconds.
    at: u64,
    after: u64,
    /// The number of times that it is still to be sent.
    times: u32,
    frame: Vec<u8>,
}

impl Again {
    fn keep(&mut self, frame: &[u8], now: u64, after: u64) {
        if self.0.len() < MOST_KEPT {
            // An opener is sent again several times: it may open a session once more when the receiver has forgotten
            // it.
            let times = if after > 0 && opens(frame) { OPENER_TIMES } else { 1 };
            self.0.push_back(Kept { at: now + after, after, times, frame: frame.to_vec() });
        }
    }

    fn take(&mut self, now: u64) -> Vec<Vec<u8>> {
        let mut due = Vec::new();
        while let Some(kept) = self.0.pop_front_if(|kept| kept.at <= now) {
            due.push(kept.frame.clone());
            if kept.times > 1 {
                self.0.push_back(Kept { at: now + kept.after, times: kept.times - 1, ..kept });
            }
        }
        due
    }
}

/// Returns whether a frame is data that opens a session.
fn opens(frame: &[u8]) -> bool {
    let data = frame.get(HEADER..).filter(|_| frame[4] == Kind::Data as u8);
    data.and_then(|body| DataFrame::parse(body).ok()).is_some_and(|data| data.header.form == Form::Opener)
}

/// The number of frames that a hostile member keeps of one stream, or for one neighbour, to send again. Drop policy:
/// frames beyond it are not kept.
const MOST_KEPT: usize = 1_024;
/// The number of times that it sends an opener.
const OPENER_TIMES: u32 = 8;
