//! GML: keys with values; a value is a number, a text in quotes, or a list of such pairs in brackets.
//!
//! Nodes are the lists called `node` within one called `graph`, with an `id`; edges are those called `edge`, with a
//! `source` and a `target`.

use super::attributes::Attributes;
use super::{Raw, RawEdge, RawNode};
use crate::scenario::problem::Problem;

pub(super) fn read(name: &str, text: &str) -> Result<Raw, Problem> {
    let all = Reader { name, text, at: 0, line: 1 }.list()?;
    let graphs = all.iter().filter(|pair| pair.key.eq_ignore_ascii_case("graph"));
    let mut raw = Raw::default();
    let mut found = false;
    for pair in graphs.flat_map(|graph| {
        found = true;
        graph.list()
    }) {
        let place = format!("{name}:{}", pair.line);
        let kind = pair.key.to_ascii_lowercase();
        if !matches!(kind.as_str(), "node" | "edge") {
            continue;
        }
        let needed = |key: &str| {
            let found = pair.list().iter().find(|own| own.key.eq_ignore_ascii_case(key)).and_then(Pair::text);
            found.map(str::to_owned).ok_or_else(|| {
                Problem::new(format!("{place}: the {kind} has no `{key}`"), format!("add a line `{key} …` to it"))
            })
        };
        let mut attributes = Attributes::new(&place);
        pair.list().iter().for_each(|own| attributes.add(&own.key, own.text().unwrap_or_default()));
        if kind == "node" {
            let id = needed("id")?;
            let label = attributes.label().unwrap_or(&id).to_owned();
            let node = attributes.node(label)?;
            raw.nodes.push(RawNode { id, node });
        } else {
            let ends = [needed("source")?, needed("target")?];
            let properties = attributes.edge()?;
            raw.edges.push(RawEdge { ends, place, properties });
        }
    }
    if !found {
        return Err(Problem::new(format!("{name}: this is no GML"), "name a file that has `graph [ … ]`"));
    }
    Ok(raw)
}

/// A key with its value, and its line.
#[derive(Debug)]
struct Pair {
    key: String,
    line: usize,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Text(String),
    List(Vec<Pair>),
}

impl Pair {
    fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::List(_) => None,
        }
    }

    fn list(&self) -> &[Pair] {
        match &self.value {
            Value::Text(_) => &[],
            Value::List(list) => list,
        }
    }
}

struct Reader<'t> {
    name: &'t str,
    text: &'t str,
    at: usize,
    line: usize,
}

#[derive(Debug)]
enum Token<'t> {
    Open,
    Close,
    Quoted(String),
    Word(&'t str),
}

impl<'t> Reader<'t> {
    /// Reads the outermost list, which ends with the text.
    fn list(mut self) -> Result<Vec<Pair>, Problem> {
        // The open lists, the outermost first, each with the key and line to which it belongs.
        let mut open = vec![(String::new(), 1, Vec::new())];
        while let Some(token) = self.token()? {
            let key = match token {
                Token::Word(word) if word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') => word.to_owned(),
                Token::Close if open.len() > 1 => {
                    let (key, line, list) = open.pop().unwrap_or_default();
                    if let Some((_, _, outer)) = open.last_mut() {
                        outer.push(Pair { key, line, value: Value::List(list) });
                    }
                    continue;
                }
                other => {
                    return Err(self.wrong(format!("{} is no key", shown(&other)), "write pairs of a key and a value"));
                }
            };
            let line = self.line;
            let value = match self.token()? {
                Some(Token::Open) if open.len() < DEEPEST => {
                    open.push((key, line, Vec::new()));
                    continue;
                }
                Some(Token::Open) => {
                    return Err(self.wrong("lists lie too deep within each other".into(), "write it flatter"));
                }
                Some(Token::Quoted(text)) => text,
                Some(Token::Word(word)) => word.to_owned(),
                Some(Token::Close) | None => {
                    return Err(self.wrong(format!("`{key}` has no value"), "write one behind it"));
                }
            };
            if let Some((_, _, list)) = open.last_mut() {
                list.push(Pair { key, line, value: Value::Text(value) });
            }
        }
        match open.pop() {
            Some((_, _, list)) if open.is_empty() => Ok(list),
            Some((key, line, _)) => {
                let what = format!("{}:{line}: the list `{key}` is never closed", self.name);
                Err(Problem::new(what, "add `]`; perhaps the file was cut off"))
            }
            None => Ok(Vec::new()),
        }
    }

    fn wrong(&self, what: String, hint: &str) -> Problem {
        Problem::new(format!("{}:{}: {what}", self.name, self.line), hint)
    }

    fn token(&mut self) -> Result<Option<Token<'t>>, Problem> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                None => return Ok(None),
                Some(b'\n') => self.line += 1,
                Some(b'#') => {
                    let rest = self.text.get(self.at..).unwrap_or_default();
                    self.at += rest.find('\n').unwrap_or(rest.len());
                    continue;
                }
                Some(byte) if byte.is_ascii_whitespace() => {}
                Some(_) => break,
            }
            self.at += 1;
        }
        let rest = self.text.get(self.at..).unwrap_or_default();
        let (token, length) = match bytes[self.at] {
            b'[' => (Token::Open, 1),
            b']' => (Token::Close, 1),
            b'"' => {
                let Some(length) = rest[1..].find('"') else {
                    return Err(
                        self.wrong("a text in quotes never ends".into(), "add `\"`; perhaps the file was cut off")
                    );
                };
                (Token::Quoted(plain(&rest[1..=length])), length + 2)
            }
            _ => {
                let end = rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '[' | ']' | '"'));
                let length = end.unwrap_or(rest.len());
                (Token::Word(&rest[..length]), length)
            }
        };
        self.line += rest[..length].matches('\n').count();
        self.at += length;
        Ok(Some(token))
    }
}

fn shown(token: &Token<'_>) -> String {
    match token {
        Token::Open => "`[`".to_owned(),
        Token::Close => "`]`".to_owned(),
        Token::Quoted(text) => format!("{text:?}"),
        Token::Word(word) => format!("`{word}`"),
    }
}

/// Decodes characters that are written as `&#233;` or `&amp;`.
fn plain(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('&') {
        made.push_str(before);
        let known = behind.split_once(';').and_then(|(word, behind)| Some((character(word)?, behind)));
        let (character, behind) = known.unwrap_or(('&', behind));
        made.push(character);
        rest = behind;
    }
    made.push_str(rest);
    made
}

fn character(word: &str) -> Option<char> {
    match word {
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "lt" => Some('<'),
        "gt" => Some('>'),
        _ => word.strip_prefix('#')?.parse::<u32>().ok().and_then(char::from_u32),
    }
}

/// The greatest depth of nested lists.
const DEEPEST: usize = 32;
