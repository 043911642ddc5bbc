//! Kinds: the keys that belong to each `kind`.

use super::Planning;
use crate::scenario::problem::Problem;
use std::ops::Range;
use toml::Spanned;

/// A key that only some kinds take: its name, its place if it is given, and whether the present kind takes it.
pub(super) struct Key {
    name: &'static str,
    given: Option<Range<usize>>,
    fits: bool,
    /// The kinds that take it, for the error.
    kinds: &'static str,
}

impl Key {
    pub(super) fn new<T>(name: &'static str, given: &Option<Spanned<T>>, fits: bool, kinds: &'static str) -> Self {
        Self { name, given: given.as_ref().map(Spanned::span), fits, kinds }
    }
}

impl Planning<'_> {
    /// Checks that no key is given that the kind does not take.
    pub(super) fn only(&self, kind: &str, keys: &[Key]) -> Result<(), Problem> {
        match keys.iter().find_map(|key| key.given.clone().filter(|_| !key.fits).map(|span| (key, span))) {
            Some((Key { name, kinds, .. }, span)) => {
                let what = format!("`{name}` does not go with {kind}");
                Err(self.document.problem(&span, what, format!("remove it; it goes with {kinds}")))
            }
            None => Ok(()),
        }
    }

    /// Returns a key that the kind requires.
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
