//! What README shows of a terminal: the commands of a section, and what they print.
//!
//! In what is printed `…` stands for anything, and so does a line that is nothing else, for lines. Times are compared as
//! times, and long hexadecimal numbers as such.

/// A line of a console block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// `# …`
    Comment(String),
    /// `$ …`, and what follows it.
    Command { line: String, prints: Vec<String> },
}

/// The console block of the section with that heading.
pub fn console(heading: &str) -> Vec<Line> {
    let readme = include_str!("../../../README.md");
    let section = readme.split(&format!("\n## {heading}\n")).nth(1).expect("README has the section");
    let block = section.split("```console\n").nth(1).and_then(|rest| rest.split("\n```").next()).expect("a block");
    let mut lines = Vec::new();
    for text in block.lines() {
        if let Some(comment) = text.strip_prefix("# ") {
            lines.push(Line::Comment(comment.to_owned()));
        } else if let Some(command) = text.strip_prefix("$ ") {
            lines.push(Line::Command { line: command.to_owned(), prints: Vec::new() });
        } else if let Some(Line::Command { prints, .. }) = lines.last_mut()
            && !text.is_empty()
        {
            prints.push(text.to_owned());
        }
    }
    lines
}

/// Whether what was printed is what README shows.
pub fn is_shown(shown: &[String], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line.trim() == "…" => (0..=printed.len()).any(|from| is_shown(rest, &printed[from..])),
        Some((line, rest)) => printed
            .split_first()
            .is_some_and(|(first, others)| fits(&normal(line), &normal(first)) && is_shown(rest, others)),
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('…') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.any(|at| fits(rest, &text[at..]))
        }),
    }
}

/// The text with what varies from run to run replaced.
fn normal(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let is_unit = |word: &&str| ["µs", "ms", "s"].contains(&word.trim_end_matches(','));
    let kinds = words.iter().enumerate().map(|(at, word)| {
        let hex = word.trim_end_matches('…');
        if word.parse::<f64>().is_ok() && words.get(at + 1).is_some_and(is_unit) {
            "TIME"
        } else if at > 0 && is_unit(word) && words[at - 1].parse::<f64>().is_ok() {
            "UNIT"
        } else if hex.len() >= 12 && hex.chars().all(|c| c.is_ascii_hexdigit()) {
            "HEX"
        } else if word.starts_with("m2m1") {
            "TICKET"
        } else {
            word
        }
    });
    kinds.collect::<Vec<_>>().join(" ")
}

#[test]
fn what_varies_does_not_count_and_the_rest_does() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let shown = lines("realm ffe70d86a289ce92… with gateway\n…\ndelivered in 17.1 ms, 1 hop");
    let fits = |text: &str| is_shown(&shown, &lines(text));
    assert!(fits("realm 00d70d86a289ce92aaaa with gateway\nmore\nand more\ndelivered in 940 µs, 1 hop"));
    assert!(fits("realm 00d70d86a289ce92aaaa with gateway\ndelivered in 1.4 s, 1 hop"));
    assert!(!fits("realm 00d70d86a289ce92aaaa with meter\ndelivered in 9.4 µs, 1 hop"));
    assert!(!fits("realm 00d70d86a289ce92aaaa with gateway\ndelivered in 9.4 µs, 2 hops"));
    assert!(!fits("realm 00d70d86a289ce92aaaa with gateway\ndelivered in 9.4 µs, 1 hop\nmore"));
}
