//! Evidence: that a test which a document names is there, and that what is counted is counted in some test.
//!
//! A test is a function under `#[test]` or `#[tokio::test]`. Documents name it in backticks, whole or by a part, with or
//! without the module before it: `engine: a_message_is_delivered`. Words of fewer than four parts are no names of tests.
//! A counter is in a test where test code has its variant or its name.

/// Parts of the shortest name of a test.
const LEAST_PARTS: usize = 4;

/// Names of the tests in a source.
pub fn tests_of(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let Some((_, rest)) = line.split_once("fn ").filter(|_| marked && !line.starts_with("//")) else { continue };
        found.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        marked = false;
    }
    found
}

/// Complaints about tests and files that a document names and that are not there.
pub fn document(path: &str, text: &str, tests: &[String], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for quoted in line.split('`').skip(1).step_by(2) {
            let name = quoted.rsplit(": ").next().unwrap_or(quoted);
            let parts = name.split('_').collect::<Vec<_>>();
            let word =
                |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            if parts.len() >= LEAST_PARTS && parts.iter().all(word) && !tests.iter().any(|test| test.contains(name)) {
                problems.push(format!("{path}:{number}: evidence: no test is called {name}; name one that holds this"));
            }
            let place = ["src/", "tests/", "simulator/"].iter().any(|place| name.starts_with(place));
            if place && !name.contains('{') && !exists(name) {
                problems.push(format!("{path}:{number}: evidence: {name} is not there; name where it is"));
            }
        }
    }
    problems
}

/// What of a source is test code: all of it below `tests`, elsewhere from its module of tests on.
pub fn test_code<'a>(path: &str, text: &'a str) -> &'a str {
    let file = path.rsplit('/').next().unwrap_or(path);
    if path.split('/').any(|part| part == "tests") || file == "tests.rs" || file.ends_with("_tests.rs") {
        return text;
    }
    text.find("#[cfg(test)]\nmod ").map_or("", |from| &text[from..])
}

/// Complaints about counters that no test has, and about those that are `excused` and need not be.
pub fn counters(names: &[(String, String)], code: &[&str], excused: &[&str]) -> Vec<String> {
    let whole = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    let has = |text: &str, word: &str| {
        text.match_indices(word)
            .any(|(at, _)| whole(text[..at].chars().next_back()) && whole(text[at + word.len()..].chars().next()))
    };
    let mut problems = Vec::new();
    for (variant, name) in names {
        let tested = code.iter().any(|text| has(text, &format!("Counter::{variant}")) || has(text, name));
        match (tested, excused.contains(&name.as_str())) {
            (false, false) => problems.push(format!(
                "src/counter.rs: evidence: no test counts {name}; let the test of what it counts look at it"
            )),
            (true, true) => {
                problems.push(format!("tests/it/tidy.rs: evidence: a test counts {name}; excuse it no more"))
            }
            _ => {}
        }
    }
    let unknown = excused.iter().filter(|excused| !names.iter().any(|(_, name)| name == *excused));
    problems
        .extend(unknown.map(|name| format!("tests/it/tidy.rs: evidence: nothing is counted as {name}; leave it out")));
    problems
}
