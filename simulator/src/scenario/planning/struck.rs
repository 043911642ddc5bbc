//! Struck: the devices that a fault strikes, by name, at random or by position, and the links that it strikes.

use super::Planning;
use super::draw::Draw;
use crate::plan::place;
use crate::scenario::choice::{Side, Struck, StruckLinks, StruckTable};
use crate::scenario::model::Fault;
use crate::scenario::problem::Problem;
use crate::scenario::quantity::Share;
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;

impl Planning<'_> {
    /// Returns the devices that a fault strikes at a time after the warm-up.
    pub(super) fn struck(
        &self,
        struck: &Spanned<Struck>,
        at: Duration,
        draw: &mut Draw,
    ) -> Result<Vec<usize>, Problem> {
        let span = struck.span();
        let table = match struck.get_ref() {
            Struck::Named(members) => return self.members(members, &span),
            Struck::Drawn(table) => table,
        };
        let StruckTable { any, share, within, of } = table;
        let candidates = match of {
            Some(of) => self.spanned_members(of)?,
            None => (0..self.devices.len()).collect(),
        };
        let Some([x, y, radius]) = *within else {
            return self.drawn(&candidates, (*any, *share), "devices", &span, draw);
        };
        let time = self.model.warmup.0 + at;
        let inside = |device: &usize| {
            let (east, north) = place(&self.devices[*device].track, time);
            (east - x).hypot(north - y) <= radius
        };
        let found: Vec<usize> = candidates.into_iter().filter(inside).collect();
        if found.is_empty() {
            let what = format!("nobody is within {radius} m of [{x}, {y}] then");
            return Err(self.document.problem(&span, what, "raise the radius, or move the middle"));
        }
        Ok(found)
    }

    /// Returns the links that a fault strikes, each with whether it runs from its `a` to its `b` as it is named.
    pub(super) fn struck_links(
        &self,
        fault: &Fault,
        span: &Range<usize>,
        draw: &mut Draw,
    ) -> Result<Vec<(usize, bool)>, Problem> {
        let bearer = match &fault.bearer {
            Some(bearer) => Some(self.bearer(Some(bearer), &bearer.span())?),
            None => None,
        };
        let on = |edge: &usize| bearer.is_none_or(|bearer| self.tariffs.scenarios(self.edges[*edge].bearer) == bearer);
        let every: Vec<(usize, bool)> = (0..self.edges.len()).filter(on).map(|edge| (edge, true)).collect();
        let Some(links) = &fault.links else {
            return if every.is_empty() { Err(self.nothing(span)) } else { Ok(every) };
        };
        let found = match links.get_ref() {
            StruckLinks::All => every,
            StruckLinks::Pairs(pairs) => {
                let mut found = Vec::new();
                for pair in pairs {
                    found.extend(self.links_between(pair, &every)?);
                }
                found
            }
            StruckLinks::Drawn(table) => {
                let candidates = match &table.between {
                    Some(pair) => self.links_between(pair, &every)?,
                    None => every,
                };
                match (table.any, table.share) {
                    (None, None) => candidates,
                    how => self.drawn(&candidates, how, "links", &links.span(), draw)?,
                }
            }
        };
        if found.is_empty() { Err(self.nothing(&links.span())) } else { Ok(found) }
    }

    fn nothing(&self, span: &Range<usize>) -> Problem {
        self.document.problem(span, "there is no such link to strike", "name a bearer or devices that have links")
    }

    fn links_between(
        &self,
        pair: &Spanned<[String; 2]>,
        candidates: &[(usize, bool)],
    ) -> Result<Vec<(usize, bool)>, Problem> {
        let [from, to] = pair.get_ref();
        let sides = [self.named(from, &pair.span())?, self.named(to, &pair.span())?];
        let [one, other] = sides.map(|side| side.into_iter().collect::<BTreeSet<_>>());
        let direction = |(edge, _): &(usize, bool)| {
            let (a, b) = (self.edges[*edge].a, self.edges[*edge].b);
            match (one.contains(&a) && other.contains(&b), one.contains(&b) && other.contains(&a)) {
                (true, _) => Some((*edge, true)),
                (_, true) => Some((*edge, false)),
                _ => None,
            }
        };
        let found: Vec<_> = candidates.iter().filter_map(direction).collect();
        if found.is_empty() {
            let what = format!("there is no link between `{from}` and `{to}`");
            return Err(self.document.problem(&pair.span(), what, "name two that have one, or add it to [[links]]"));
        }
        Ok(found)
    }

    fn drawn<T: Clone>(
        &self,
        candidates: &[T],
        how: (Option<usize>, Option<Share>),
        what: &str,
        span: &Range<usize>,
        draw: &mut Draw,
    ) -> Result<Vec<T>, Problem> {
        let count = match how {
            (Some(any), _) => any,
            (None, share) => (share.map_or(1.0, |share| share.0) * candidates.len() as f64).round() as usize,
        };
        if count == 0 || count > candidates.len() {
            let error = format!("of {} {what}, {count} cannot be struck", candidates.len());
            return Err(self.document.problem(span, error, format!("let it come to 1 to {}", candidates.len())));
        }
        Ok(draw.choose(candidates, count))
    }

    /// Returns the edges between the sides of a partition. Devices on no side by name are distributed by shares, and
    /// the remaining ones are on a last side.
    pub(super) fn parted(&self, sides: &Spanned<Vec<Spanned<Side>>>, draw: &mut Draw) -> Result<Vec<usize>, Problem> {
        let mut side_of = vec![None; self.devices.len()];
        for (number, side) in sides.get_ref().iter().enumerate() {
            let Side::Named(members) = side.get_ref() else { continue };
            for device in self.members(members, &side.span())? {
                if side_of[device].replace(number).is_some_and(|before| before != number) {
                    let what = format!("`{}` would be on two sides", self.devices[device].name);
                    return Err(self.document.problem(&side.span(), what, "name it on one side only"));
                }
            }
        }
        let mut rest: Vec<usize> = (0..self.devices.len()).filter(|device| side_of[*device].is_none()).collect();
        draw.shuffle(&mut rest);
        let mut left = rest.into_iter();
        let whole = left.len() as f64;
        let mut share_of_all = 0.0;
        for (number, side) in sides.get_ref().iter().enumerate() {
            let Side::Share(share) = side.get_ref() else { continue };
            share_of_all += share.0;
            if share_of_all > 1.0 + 1e-9 {
                let what = "the shares of the sides come to more than all";
                return Err(self.document.problem(&side.span(), what, "let them come to 1 at most"));
            }
            let count = (share.0 * whole).round() as usize;
            left.by_ref().take(count).for_each(|device| side_of[device] = Some(number));
        }
        let between = |edge: &usize| side_of[self.edges[*edge].a] != side_of[self.edges[*edge].b];
        let cut: Vec<usize> = (0..self.edges.len()).filter(between).collect();
        if cut.is_empty() {
            let what = "no link runs between these sides, so nothing would be parted";
            let hint = "name sides that are linked, as sides = [\"meter\", \"gateway\"], or shares, as sides = [0.5]";
            return Err(self.document.problem(&sides.span(), what, hint));
        }
        Ok(cut)
    }
}
