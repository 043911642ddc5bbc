//! Which keys go with which `kind`.

use super::Planning;
use crate::scenario::problem::Problem;
use std::ops::Range;
use toml::Spanned;

/// A key that not every kind takes, where it stands if it is given, and whether it goes with the kind at hand.
pub(super) struct Key {
    name: &'static str,
    given: Option<Range<usize>>,
    fits: bool,
    /// The kinds that it goes with, for the error.
    kinds: &'static str,
}

impl Key {
    pub(super) fn new<T>(name: &'static str, given: &Option<Spanned<T>>, fits: bool, kinds: &'static str) -> Self {
        Self { name, given: given.as_ref().map(Spanned::span), fits, kinds }
    }
}

impl Planning<'_> {
    /// None of the keys is given that does not go with the kind.
    pub(super) fn only(&self, kind: &str, keys: &[Key]) -> Result<(), Problem> {
        match keys.iter().find_map(|key| key.given.clone().filter(|_| !key.fits).map(|span| (key, span))) {
            Some((Key { name, kinds, .. }, span)) => {
                let what = format!("`{name}` does not go with {kind}");
                Err(self.document.problem(&span, what, format!("remove it; it goes with {kinds}")))
            }
            None => Ok(()),
        }
    }

    /// A key that the kind needs.
    pub(super) fn needed<'v, T>(
        &self,
        value: &'v Option<Spanned<T>>,
        kind: &str,
        span: &Range<usize>,
        example: &str,
    ) -> Result<&'v Spanned<T>, Problem> {
        value.as_ref().ok_or_else(|| {
            let key = example.split(" =").next().unwrap_or(example);
            self.document.problem(span, format!("{kind} needs `{key}`"), format!("add {example}"))
        })
    }
}
