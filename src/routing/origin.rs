//! stub
use crate::id::{CredentialHash, Handle, Tag};
use crate::time::Time;
use crate::wire::lsa::{Lsa, LsaLink};
use core::time::Duration;
/// Claims.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Claims {
    /// .
    pub area: u32,
    /// .
    pub leaving: bool,
    /// .
    pub links: Vec<LsaLink>,
    /// .
    pub leaves: Vec<Handle>,
    /// .
    pub groups: Vec<Tag>,
    /// .
    pub services: Vec<Tag>,
    /// .
    pub borders: Vec<u32>,
}
/// Origin.
#[derive(Debug, Default)]
pub struct Origin { claims: Option<Claims>, told: Option<(CredentialHash, Claims)>, sequence: u64, at: Option<Time>, last: Option<Time> }
impl Origin {
    /// .
    pub fn new() -> Self { Self::default() }
    /// .
    pub fn note(&mut self, claims: Claims, now: Time) {
        if self.claims.as_ref() != Some(&claims) {
            let at = self.last.map_or(now, |l| now.max(l + Duration::from_millis(200)));
            self.at.get_or_insert(at);
            self.claims = Some(claims);
        }
    }
    /// .
    pub fn next_wake(&self) -> Option<Time> { self.at }
    /// .
    pub fn jump_past(&mut self, s: u64) { self.sequence = self.sequence.max(s); self.told = None; }
    /// .
    pub fn due(&mut self, own: CredentialHash, now: Time) -> Option<Lsa> {
        let claims = self.claims.clone()?;
        let fresh = self.told.as_ref().is_none_or(|(h, _)| *h != own);
        if !fresh && self.at.is_none_or(|at| at > now) { return None; }
        self.at = None;
        if self.told.as_ref().is_some_and(|(h, c)| *h == own && *c == claims) { return None; }
        if self.told.as_ref().is_some_and(|(h, _)| *h != own) { self.sequence = 0; }
        self.told = Some((own, claims.clone()));
        self.last = Some(now);
        self.sequence += 1;
        let Claims { area, leaving, links, leaves, groups, services, borders } = claims;
        Some(Lsa { origin: own, sequence: self.sequence, area, leaving, links, leaves, groups, services, borders })
    }
}
