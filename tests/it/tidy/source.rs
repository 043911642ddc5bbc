//! A Rust source as tokens with lines, and the full paths it names.

use std::collections::BTreeMap;

/// A word or a mark, and the line it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// A path that the source names, resolved: `super` and `self` to `crate::…`, imported names to what they stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub path: Vec<String>,
    pub line: usize,
    /// Whether it stands in code that only tests compile.
    pub test: bool,
}

/// Words, `::` and single marks; comments, strings, characters and lifetimes are left out.
pub fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let (mut at, mut line, mut found) = (0, 1, Vec::new());
    while at < bytes.len() {
        let start = at;
        let rest = &bytes[at..];
        match rest[0] {
            b'/' if rest.starts_with(b"//") => at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with(b"/*") => at += block_comment(rest),
            b'"' => at += string(rest),
            b'r' | b'b' | b'c' if literal_prefix(rest) > 0 => {
                let prefix = literal_prefix(rest);
                at += prefix
                    + if rest[..prefix].contains(&b'r') {
                        raw_string(&rest[prefix..])
                    } else {
                        string(&rest[prefix..])
                    };
            }
            b'\'' => at += character_or_lifetime(rest),
            b if b.is_ascii_alphanumeric() || b == b'_' => {
                at += rest.iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'_')).unwrap_or(rest.len());
                found.push(Token { text: text[start..at].to_owned(), line });
            }
            b':' if rest.starts_with(b"::") => {
                at += 2;
                found.push(Token { text: "::".to_owned(), line });
            }
            b if b.is_ascii_whitespace() || !b.is_ascii() => at += 1,
            b => {
                at += 1;
                found.push(Token { text: char::from(b).to_string(), line });
            }
        }
        line += bytes[start..at.min(bytes.len())].iter().filter(|b| **b == b'\n').count();
    }
    found
}

/// Every path named in the source that is module `module` (`["crate", "wire", "codec"]`).
pub fn paths(tokens: &[Token], module: &[String], all_test: bool) -> Vec<Named> {
    let mut walk = Walk { tokens, at: 0, module: module.to_vec(), aliases: BTreeMap::new(), found: Vec::new() };
    // Imports first, wherever they stand, so that what comes before them in the file resolves too.
    while walk.at < tokens.len() {
        if walk.is("use") && !walk.is_capture() {
            walk.at += 1;
            let mut leaves = Vec::new();
            walk.use_tree(&mut Vec::new(), &mut leaves);
            for (path, name) in leaves {
                walk.aliases.insert(name, path);
            }
        } else {
            walk.at += 1;
        }
    }
    walk.at = 0;
    walk.items(all_test);
    walk.found
}

struct Walk<'a> {
    tokens: &'a [Token],
    at: usize,
    module: Vec<String>,
    aliases: BTreeMap<String, Vec<String>>,
    found: Vec<Named>,
}

impl Walk<'_> {
    fn text(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |token| token.text.as_str())
    }

    fn is(&self, text: &str) -> bool {
        self.text(0) == text
    }

    /// `use<'a>` in a return type is no import.
    fn is_capture(&self) -> bool {
        self.text(1) == "<"
    }

    /// Until the brace that closes this block.
    fn items(&mut self, test: bool) {
        let (mut next_is_test, mut brackets) = (false, 0usize);
        while self.at < self.tokens.len() {
            match self.text(0) {
                "}" => return,
                "(" | "[" => {
                    brackets += 1;
                    self.at += 1;
                }
                ")" | "]" => {
                    brackets = brackets.saturating_sub(1);
                    self.at += 1;
                }
                "#" if self.is_cfg_test() => {
                    next_is_test = true;
                    self.skip_attribute();
                }
                "use" if !self.is_capture() => {
                    let line = self.tokens[self.at].line;
                    self.at += 1;
                    let mut leaves = Vec::new();
                    self.use_tree(&mut Vec::new(), &mut leaves);
                    for (path, _) in leaves {
                        let path = self.resolve(path, false);
                        self.found.push(Named { path, line, test: test || next_is_test });
                    }
                    next_is_test = false;
                }
                "mod" if self.text(2) == "{" => {
                    self.module.push(self.text(1).to_owned());
                    self.at += 3;
                    self.items(test || next_is_test);
                    self.module.pop();
                    self.at += 1;
                    next_is_test = false;
                }
                "{" => {
                    self.at += 1;
                    self.items(test || next_is_test);
                    self.at += 1;
                    next_is_test = false;
                }
                ";" if brackets == 0 => {
                    next_is_test = false;
                    self.at += 1;
                }
                word if is_word(word) => self.path(test || next_is_test),
                _ => self.at += 1,
            }
        }
    }

    fn path(&mut self, test: bool) {
        let line = self.tokens[self.at].line;
        let rooted = self.at > 0 && self.tokens[self.at - 1].text == "::";
        let mut path = vec![self.text(0).to_owned()];
        self.at += 1;
        while self.is("::") && is_word(self.text(1)) {
            path.push(self.text(1).to_owned());
            self.at += 2;
        }
        let path = self.resolve(path, !rooted);
        self.found.push(Named { path, line, test });
    }

    /// Reads one tree up to `;`, `,` or `}` and adds its leaves with the names they get.
    fn use_tree(&mut self, prefix: &mut Vec<String>, leaves: &mut Vec<(Vec<String>, String)>) {
        let base = prefix.len();
        loop {
            match self.text(0) {
                "::" => self.at += 1,
                "{" => {
                    self.at += 1;
                    while self.at < self.tokens.len() && !self.is("}") {
                        self.use_tree(prefix, leaves);
                        if self.is(",") {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    break;
                }
                word if is_word(word) || word == "*" => {
                    let word = word.to_owned();
                    self.at += 1;
                    // `{self}` names what stands before it.
                    if word != "self" || prefix.is_empty() {
                        prefix.push(word);
                    }
                    if self.is("::") {
                        continue;
                    }
                    let mut name = prefix.last().cloned().unwrap_or_default();
                    if self.is("as") {
                        name = self.text(1).to_owned();
                        self.at += 2;
                    }
                    leaves.push((prefix.clone(), name));
                    break;
                }
                _ => break,
            }
        }
        prefix.truncate(base);
    }

    fn resolve(&self, path: Vec<String>, through_imports: bool) -> Vec<String> {
        let mut path = path;
        if through_imports
            && let Some(full) = self.aliases.get(&path[0])
            && *full != path[..1]
        {
            path.splice(..1, full.iter().cloned());
        }
        let mut module = self.module.clone();
        let mut steps = 0;
        while let Some(step @ ("super" | "self")) = path.get(steps).map(String::as_str) {
            if step == "super" {
                module.pop();
            }
            steps += 1;
        }
        if steps > 0 {
            path.splice(..steps, module);
        }
        if path[0] == "m2mesh" {
            path[0] = "crate".to_owned();
        }
        path
    }

    fn is_cfg_test(&self) -> bool {
        let words = ["[", "cfg", "(", "test", ")"];
        words.iter().enumerate().all(|(ahead, word)| self.text(ahead + 1) == *word)
    }

    fn skip_attribute(&mut self) {
        while self.at < self.tokens.len() && !self.is("]") {
            self.at += 1;
        }
        self.at += 1;
    }
}

fn is_word(text: &str) -> bool {
    text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
}

fn block_comment(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// Length of `b`, `c`, `r`, `br`, `cr` before a string; 0 where no string follows.
fn literal_prefix(bytes: &[u8]) -> usize {
    let length = bytes.iter().take_while(|b| matches!(b, b'b' | b'c' | b'r')).count();
    let raw = bytes[..length].contains(&b'r');
    match bytes.get(length) {
        Some(b'"') if length <= 2 => length,
        Some(b'#') if raw && length <= 2 && bytes[length..].iter().find(|b| **b != b'#') == Some(&b'"') => length,
        _ => 0,
    }
}

fn string(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string(bytes: &[u8]) -> usize {
    let hashes = bytes.iter().take_while(|b| **b == b'#').count();
    let end = [vec![b'"'], vec![b'#'; hashes]].concat();
    let body = hashes + 1;
    bytes[body..].windows(end.len()).position(|window| window == end).map_or(bytes.len(), |at| body + at + end.len())
}

fn character_or_lifetime(bytes: &[u8]) -> usize {
    if bytes.get(1) == Some(&b'\\') {
        return 3 + bytes[3.min(bytes.len())..].iter().position(|b| *b == b'\'').map_or(0, |at| at + 1);
    }
    let width = std::str::from_utf8(&bytes[1..bytes.len().min(5)])
        .or_else(|error| std::str::from_utf8(&bytes[1..1 + error.valid_up_to()]))
        .ok()
        .and_then(|text| text.chars().next())
        .map_or(1, char::len_utf8);
    if bytes.get(1 + width) == Some(&b'\'') { width + 2 } else { 1 }
}
