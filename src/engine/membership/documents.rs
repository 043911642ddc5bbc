//! Documents: how this node gets the documents that the bulletin names by their hash, and gives them to others.
//!
//! ```text
//! bulletin names it ─▶ a neighbour is asked, piece by piece ── all there, right hash ─▶ kept, given to those waiting
//!                        └── 3 s without a piece, link gone, wrong hash ─▶ the next one; after all: 10 s to 10 min
//! a neighbour asks ─▶ here? that piece is sent     being fetched? the first piece is sent when it is here
//! ```
//!
//! So a document follows its bulletin through the mesh. Pieces cannot be judged one by one. A whole document with a
//! wrong hash is the fault of the neighbour that gave it, since every neighbour checks a document before it gives it.
//!
//! Invariants
//! 1. Only a document with the hash that the bulletin names is kept or given.
//! - At most [`MAX_FETCHES`] documents are fetched at a time; of each, one piece is asked for at a time, of one
//!   neighbour.

use crate::counter::Counter;
use crate::engine::Output;
use crate::engine::core::Core;
use crate::engine::membership::Member;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::allowances::Asked;
use crate::id::LinkId;
use crate::identity::kdf;
use crate::time::Time;
use crate::wire;
use crate::wire::document::{DocumentHash, DocumentPiece, DocumentRequest, MAX_PIECES, PIECE};
use crate::wire::frame::Kind;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Most documents that are fetched at a time.
const MAX_FETCHES: usize = 4;
/// How long a neighbour may take for a piece.
const PIECE_TIME: Duration = Duration::from_secs(3);
/// The first and the longest wait after all neighbours were asked in vain; the wait doubles each time.
const RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

#[derive(Debug, Default)]
struct Fetch {
    bytes: Vec<u8>,
    /// How many pieces have come, and how many there will be.
    pieces: u16,
    of: Option<u16>,
    from: Option<LinkId>,
    /// Until when the asked neighbour may answer; if none is being asked, no neighbour is asked again before then.
    until: Time,
    /// The neighbours that have been asked, and whether each may still answer: not if it has given something else.
    tried: BTreeMap<LinkId, bool>,
    /// How often all neighbours have been asked in vain.
    rounds: u32,
    /// The neighbours that have asked for it.
    awaited: BTreeSet<LinkId>,
}

/// The documents that are being fetched.
#[derive(Debug, Default)]
pub(in crate::engine) struct Documents {
    /// The link over which the bulletin came: its neighbour is asked first.
    pub(in crate::engine) told_by: Option<LinkId>,
    fetches: BTreeMap<DocumentHash, Fetch>,
}

impl Documents {
    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        self.fetches.values().map(|fetch| fetch.until).min()
    }
}

impl Member {
    /// Asks for the documents that the bulletin names and that are missing, after the bulletin or the neighbours have
    /// changed.
    pub(in crate::engine) fn fetch_documents(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let missing = core.membership.bulletin().missing();
        let fetches = &mut self.documents.fetches;
        fetches.retain(|hash, _| missing.contains(hash));
        for hash in missing {
            if self.documents.fetches.len() < MAX_FETCHES {
                self.documents.fetches.entry(hash).or_default();
            }
            self.ask_for_document(core, neighbours, hash);
        }
    }

    /// Asks the next neighbour for a document, if none is being asked.
    fn ask_for_document(&mut self, core: &mut Core, neighbours: &mut Neighbours, hash: DocumentHash) {
        let told_by = self.documents.told_by;
        let Some(fetch) = self.documents.fetches.get_mut(&hash).filter(|fetch| fetch.from.is_none()) else {
            return;
        };
        let usable =
            neighbours.links.iter().filter(|(id, link)| link.usable && !fetch.tried.contains_key(id)).map(|(id, _)| id);
        match usable.min_by_key(|link| (Some(*link) != told_by, *link)) {
            Some(link) => {
                (fetch.bytes, fetch.pieces, fetch.of) = (Vec::new(), 0, None);
                (fetch.from, fetch.until) = (Some(link), core.now.time + PIECE_TIME);
                fetch.tried.insert(link, true);
                neighbours.send_control(core, link, Kind::DocumentRequest, &DocumentRequest { hash, piece: 0 });
            }
            None if fetch.until <= core.now.time => {
                let (first, longest) = RETRY;
                fetch.until = core.now.time + first.saturating_mul(1 << fetch.rounds.min(6)).min(longest);
                fetch.rounds = fetch.rounds.saturating_add(1);
            }
            None => {}
        }
    }

    pub(in crate::engine) fn handle_document_request(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
        body: &[u8],
    ) {
        let Ok(request) = wire::decode::<DocumentRequest>(body) else {
            return neighbours.note_malformed(core, link, Counter::ControlMalformed);
        };
        if !neighbours.may_ask(core, link, Asked::Document) {
            return;
        }
        if let Some(document) = core.membership.bulletin().document(&request.hash).cloned() {
            return self.send_piece(core, neighbours, link, request.hash, request.piece, &document);
        }
        if let Some(fetch) = self.documents.fetches.get_mut(&request.hash) {
            fetch.awaited.insert(link);
        }
    }

    fn send_piece(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
        hash: DocumentHash,
        piece: u16,
        document: &[u8],
    ) {
        let pieces = u16::try_from(document.len().div_ceil(PIECE)).unwrap_or(u16::MAX);
        if let Some(bytes) = document.chunks(PIECE).nth(usize::from(piece)) {
            neighbours.send_control(core, link, Kind::DocumentPiece, &DocumentPiece { hash, piece, pieces, bytes });
        }
    }

    /// Handles pieces that do not form the document: another neighbour is asked.
    fn fail_document(&mut self, core: &mut Core, neighbours: &mut Neighbours, hash: DocumentHash) {
        core.count(Counter::DocumentsRefused, 1);
        if let Some(fetch) = self.documents.fetches.get_mut(&hash)
            && let Some(from) = fetch.from.take()
        {
            fetch.tried.insert(from, false);
        }
        self.ask_for_document(core, neighbours, hash);
    }

    pub(in crate::engine) fn forget_link_in_documents(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
    ) {
        let mut lost = Vec::new();
        for (hash, fetch) in &mut self.documents.fetches {
            fetch.awaited.remove(&link);
            fetch.tried.remove(&link);
            if fetch.from == Some(link) {
                fetch.from = None;
                lost.push(*hash);
            }
        }
        for hash in lost {
            self.ask_for_document(core, neighbours, hash);
        }
    }

    pub(in crate::engine) fn timeout_documents(&mut self, core: &mut Core, neighbours: &mut Neighbours) {
        let now = core.now.time;
        let late = |(hash, fetch): (&DocumentHash, &Fetch)| (fetch.until <= now).then_some(*hash);
        let late: Vec<DocumentHash> = self.documents.fetches.iter().filter_map(late).collect();
        for hash in late {
            if let Some(fetch) = self.documents.fetches.get_mut(&hash) {
                // All have been asked: they are asked once more, except those that gave something else.
                if fetch.from.take().is_none() {
                    fetch.tried.retain(|_, may| !*may);
                }
            }
            self.ask_for_document(core, neighbours, hash);
        }
    }
}

impl Member {
    /// Handles a piece of a document that was asked for. Returns whether it was the last one and the document is in
    /// force now.
    pub(in crate::engine) fn handle_document_piece(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
        body: &[u8],
    ) -> bool {
        let Ok(piece) = wire::decode::<DocumentPiece<'_>>(body) else {
            neighbours.note_malformed(core, link, Counter::ControlMalformed);
            return false;
        };
        let Some(fetch) = self.documents.fetches.get_mut(&piece.hash) else { return false };
        // A neighbour that gets the document after it was asked sends the first piece without another request.
        if fetch.from.is_none() && piece.piece == 0 && fetch.tried.get(&link) == Some(&true) {
            (fetch.bytes, fetch.pieces, fetch.of, fetch.from) = (Vec::new(), 0, None, Some(link));
        }
        if fetch.from != Some(link) || piece.piece != fetch.pieces {
            return false;
        }
        let last = piece.piece.saturating_add(1) == piece.pieces;
        let sound = piece.piece < piece.pieces
            && piece.pieces <= MAX_PIECES
            && fetch.of.is_none_or(|of| of == piece.pieces)
            && if last { (1..=PIECE).contains(&piece.bytes.len()) } else { piece.bytes.len() == PIECE };
        if !sound {
            self.fail_document(core, neighbours, piece.hash);
            return false;
        }
        fetch.bytes.extend_from_slice(piece.bytes);
        (fetch.pieces, fetch.of, fetch.until) = (piece.piece + 1, Some(piece.pieces), core.now.time + PIECE_TIME);
        if !last {
            let request = DocumentRequest { hash: piece.hash, piece: piece.piece + 1 };
            neighbours.send_control(core, link, Kind::DocumentRequest, &request);
            return false;
        }
        let bytes = core::mem::take(&mut fetch.bytes);
        if kdf::sha256(&[&bytes]) != piece.hash || core.membership.accept_document(&bytes) != Ok(true) {
            self.fail_document(core, neighbours, piece.hash);
            return false;
        }
        let awaited = self.documents.fetches.remove(&piece.hash).map(|fetch| fetch.awaited).unwrap_or_default();
        for link in awaited {
            self.send_piece(core, neighbours, link, piece.hash, 0, &bytes);
        }
        core.outputs.push_back(Output::MembershipChanged { save: true });
        true
    }
}
