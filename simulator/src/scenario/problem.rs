//! Problem: an error in a scenario, with its place and the next step, which may name the nearest valid word.

use std::fmt;

/// The reason for which a scenario cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// The error, after the file and line at which it is.
    pub error: String,
    /// The next step for the user.
    pub hint: String,
}

impl Problem {
    /// Returns a problem with a hint.
    pub fn new(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { error: error.into(), hint: hint.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.error, self.hint)
    }
}

/// Returns, of the known words, the one most similar to `word`, if any is similar.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let all = known.into_iter().map(|known| (strsim::damerau_levenshtein(word, known), known));
    all.min().filter(|(distance, known)| *distance <= known.chars().count().div_ceil(2)).map(|(_, known)| known)
}

/// Returns what to write instead of an unknown word: the nearest one, or all if there are few.
pub fn instead<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, known.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if known.is_empty() => "there is none".to_owned(),
        None if known.len() <= FEW => format!("write {}", listed(&known)),
        None => format!("write one of {} and {} more", listed(&known[..FEW]), known.len() - FEW),
    }
}

/// Lists words: `a`, `b` or `c`.
fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.join(""),
    }
}

/// The number of words that a sentence may list.
const FEW: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_one_that_is_like_it() {
        let known = ["delivered", "latency.p50", "latency.p99"];
        assert_eq!(nearest("latency.p9", known), Some("latency.p99"));
        assert_eq!(nearest("xyz", known), None);
        assert_eq!(instead("xyz", ["a-long-word", "another-one"]), "write `a-long-word` or `another-one`");
        assert_eq!(instead("deliverd", known), "did you mean `delivered`?");
    }
}
