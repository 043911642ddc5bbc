//! Topics: many topics in one word: `zone-{1..1000}/news` is `zone-1/news`, `zone-2/news` and so on, up to
//! `zone-1000/news`.

use super::topology::Impossible;

/// Returns the topics that a word denotes: itself, if it has no range.
pub(super) fn expand(written: &str) -> Result<Vec<String>, Impossible> {
    let Some((before, rest)) = written.split_once('{') else { return Ok(vec![written.to_owned()]) };
    let hint = "write a range of numbers as \"zone-{1..1000}/news\", or a topic without braces";
    let wrong = || (format!("{written:?} has no sound range of numbers"), hint.to_owned());
    let (range, after) = rest.split_once('}').ok_or_else(wrong)?;
    if after.contains(['{', '}']) {
        return Err((format!("{written:?} has more than one range"), hint.to_owned()));
    }
    let (first, last) = range.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<usize>().ok();
    let (first, last) = number(first).zip(number(last)).filter(|(first, last)| first <= last).ok_or_else(wrong)?;
    if last - first >= MOST {
        let what = format!("{written:?} means {} topics", (last - first).saturating_add(1));
        return Err((what, format!("at most {MOST} can be in one flow: add another flow")));
    }
    Ok((first..=last).map(|number| format!("{before}{number}{after}")).collect())
}

/// The number of topics of one flow.
const MOST: usize = 10_000;
