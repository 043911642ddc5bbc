//! Spelling: the known name that is most like a given one.

/// Returns the known name that is most like a given one; `None` if none is within a Levenshtein distance of 2.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let near = known.map(|known| (distance(known, name), known)).min();
    near.filter(|(distance, _)| *distance <= 2).map(|(_, known)| known.to_owned())
}

/// Returns the Levenshtein distance of two names, computed row by row.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = core::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
