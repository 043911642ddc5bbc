//! Invariants: a module numbers what always holds of it and a test holds, in its documentation below `Invariants`; what no test holds is
//! an item without a number.
//!
//! A test names the invariant that it holds by its number, in a comment of its own: one of the module that the test stands in or of a module
//! around that, or, with `of` and a path behind the number, one of that module.

use std::collections::BTreeSet;

/// How the name of an invariant begins, in comments.
const NAMES: [&str; 4] = ["Invariant ", "invariant ", "Invariants ", "invariants "];

/// A comment that names invariants by their numbers.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    /// The line of the comment, from 1 on.
    pub line: usize,
    /// The numbers that it names.
    pub numbers: Vec<u32>,
    /// The module that it names, or `None` for the one around it.
    pub module: Option<String>,
    /// Whether it stands among tests.
    pub of_test: bool,
}

/// The numbers that a module gives.
pub fn numbered(text: &str) -> Vec<u32> {
    let lines = text.lines().map_while(|line| line.strip_prefix("//!")).map(|line| line.trim_start_matches(' '));
    let below = lines.skip_while(|line| !line.trim_start_matches(['#', ' ']).starts_with("Invariants")).skip(1);
    let section = below.take_while(|line| !line.starts_with('#'));
    section.filter_map(|line| line.split_once(". ")?.0.parse().ok()).collect()
}

/// What the comments of a file name.
pub fn named(path: &str, text: &str) -> Vec<Named> {
    let all_tests = path.starts_with("tests/") || path.contains("/tests") || path.ends_with("_tests.rs");
    let first_test = text.lines().position(|line| line.trim() == "#[cfg(test)]").map_or(usize::MAX, |at| at + 1);
    let comments = (1..).zip(text.lines()).filter(|(_, line)| line.trim_start().starts_with("//"));
    let found = comments.filter_map(|(line, comment)| {
        let rest = NAMES.iter().find_map(|name| Some(comment.split_once(name)?.1))?;
        let (numbers, rest) = list(rest);
        let module = rest.strip_prefix(" of ").map(|rest| rest.trim_start_matches('`')).map(|rest| {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            rest[..end].trim_end_matches(':').to_owned()
        });
        let module = module.filter(|module| !module.is_empty());
        Some(Named { line, numbers, module, of_test: all_tests || line > first_test })
    });
    found.filter(|named| !named.numbers.is_empty()).collect()
}

/// The numbers at the beginning of `2`, `2 and 4`, `1, 2 and 4`, and what follows them.
fn list(mut text: &str) -> (Vec<u32>, &str) {
    let mut numbers = Vec::new();
    loop {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let Ok(number) = text[..end].parse() else { return (numbers, text) };
        numbers.push(number);
        text = &text[end..];
        let more = [", and ", ", ", " and "].iter().find_map(|between| text.strip_prefix(between));
        match more.filter(|more| more.starts_with(|c: char| c.is_ascii_digit())) {
            Some(more) => text = more,
            None => return (numbers, text),
        }
    }
}

/// The files whose invariants one may name in `path`: itself, and the modules that it is part of, the nearest first.
fn around(path: &str) -> Vec<String> {
    // The tests of `a.rs` may stand beside it, in `a_tests.rs`.
    let beside = path.strip_suffix("_tests.rs").map(|module| format!("{module}.rs"));
    let mut found: Vec<String> = [path.to_owned()].into_iter().chain(beside).collect();
    let mut inner = path;
    while let Some((folder, _)) = inner.rsplit_once('/') {
        found.extend([format!("{folder}/mod.rs"), format!("{folder}.rs"), format!("{folder}/lib.rs")]);
        inner = folder;
    }
    found
}

/// The files that a module's path may mean.
fn files_of(module: &str) -> Vec<String> {
    let path = module.replace("::", "/");
    let roots = ["src", "simulator/src"];
    roots.iter().flat_map(|root| [format!("{root}/{path}.rs"), format!("{root}/{path}/mod.rs")]).collect()
}

/// Complaints about names of invariants that there are not, and about invariants that no test names.
pub fn problems(sources: &[(String, String)]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut held: BTreeSet<(&str, u32)> = BTreeSet::new();
    for (path, text) in sources {
        for Named { line, numbers, module, of_test } in named(path, text) {
            let files = module.as_ref().map_or_else(|| around(path), |module| files_of(module));
            for number in numbers {
                let known = files.iter().find_map(|file| {
                    sources.iter().find(|(other, text)| other == file && numbered(text).contains(&number))
                });
                match known {
                    Some((file, _)) if of_test => drop(held.insert((file, number))),
                    Some(_) => {}
                    None => problems.push(format!(
                        "{path}:{line}: evidence: there is no invariant {number} in {}; name it by the number that it has now",
                        module.as_deref().unwrap_or("the modules around it"),
                    )),
                }
            }
        }
    }
    for (path, text) in sources {
        for number in numbered(text).into_iter().filter(|number| !held.contains(&(path.as_str(), *number))) {
            problems.push(format!(
                "{path}:1: evidence: no test names invariant {number}; name it at the test that holds it, or make it an item without a number"
            ));
        }
    }
    problems
}
