//! Invariants: a module numbers what always holds of it, in its documentation below `Invariants`, and who names one by its number
//! (`Invariant 2`) names one of its own module, or of one that it is part of.

/// How a name of an invariant begins, in comments.
const NAMES: [&str; 4] = ["Invariant ", "invariant ", "Invariants ", "invariants "];

/// The numbers that a module gives.
pub fn numbered(text: &str) -> Vec<u32> {
    let lines = text.lines().map_while(|line| line.strip_prefix("//!")).map(|line| line.trim_start_matches(' '));
    let below = lines.skip_while(|line| !line.trim_start_matches(['#', ' ']).starts_with("Invariants")).skip(1);
    let section = below.take_while(|line| !line.starts_with('#'));
    section.filter_map(|line| line.split_once(". ")?.0.parse().ok()).collect()
}

/// What comments name by its number: the line, and the number.
pub fn named(text: &str) -> Vec<(usize, u32)> {
    let comments = (1..).zip(text.lines()).filter(|(_, line)| line.trim_start().starts_with("//"));
    let words = comments.flat_map(|(number, line)| NAMES.iter().map(move |name| (number, line, *name)));
    words.filter_map(|(number, line, name)| Some((number, digits(line.split_once(name)?.1)?))).collect()
}

fn digits(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// The files whose invariants one may name in `path`: itself, and the modules that it is part of.
fn modules(path: &str) -> Vec<String> {
    let mut found = vec![path.to_owned()];
    let mut inner = path;
    while let Some((folder, _)) = inner.rsplit_once('/') {
        found.extend([format!("{folder}/mod.rs"), format!("{folder}.rs"), format!("{folder}/lib.rs")]);
        inner = folder;
    }
    found
}

/// Complaints about names of invariants that there are not.
pub fn problems(sources: &[(String, String)]) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, text) in sources {
        let near = modules(path);
        let known = sources.iter().filter(|(other, _)| near.contains(other)).flat_map(|(_, text)| numbered(text));
        let known: Vec<u32> = known.collect();
        for (line, number) in named(text).into_iter().filter(|(_, number)| !known.contains(number)) {
            problems.push(format!(
                "{path}:{line}: evidence: no module here has an invariant {number}; name it by the number that it has now"
            ));
        }
    }
    problems
}
