//! Document: a scenario's TOML with its settings, and the place of each value in it.
//!
//! Values keep the byte range of their place in the file. A value that came from a setting has a range beyond the
//! file's end instead, one byte for each setting, so that an error about it names the setting. [`Document::place`]
//! turns a range into words; [`Document::problem`] makes an error of it.
//!
//! A setting `key.path=value` is a path of keys, in which an element of an array is named by its number from 0 or by
//! its `name`. The value is read as TOML, or as text if it is not TOML. Keys that the file leaves out may be set;
//! groups, bearers and elements of arrays that it does not have may not, since a mistyped name would go unnoticed.
//! `policy=cheap` is short for the policy of every flow that sends to one device at a time.
//!
//! Invariants
//! 1. Every error about the document states its file and line, or its setting.
//! - Settings are applied in their order; the last of the same key is in force.

use super::problem::{Problem, instead, nearest};
use std::borrow::Cow;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A document to which errors refer: see the module's documentation.
#[derive(Clone, Debug)]
pub struct Document<'a> {
    /// The name of the file, as shown.
    pub file: &'a str,
    /// The text of the file.
    pub text: &'a str,
    /// The settings, as `key=value`.
    pub set: &'a [String],
}

impl<'a> Document<'a> {
    /// Reads the document as a `T`, with its settings.
    pub fn read<T: serde::Deserialize<'a>>(&self) -> Result<T, Problem> {
        let mut root = DeTable::parse(self.text).map_err(|error| self.explain(&error))?;
        for (number, setting) in self.set.iter().enumerate() {
            self.apply(root.get_mut(), setting, self.text.len() + 1 + number)?;
        }
        T::deserialize(toml::de::Deserializer::from(root)).map_err(|error| self.explain(&error))
    }

    /// Returns an error about the value at `span`.
    pub fn problem(&self, span: &Range<usize>, what: impl AsRef<str>, hint: impl Into<String>) -> Problem {
        Problem::new(format!("{}: {}", self.place(span), what.as_ref()), hint)
    }

    /// Returns an error about the document as a whole.
    pub fn whole(&self, what: impl AsRef<str>, hint: impl Into<String>) -> Problem {
        Problem::new(format!("{}: {}", self.file, what.as_ref()), hint)
    }

    /// Returns the place of a range: `meters.toml:12`, or `--set devices.meter.count=0`.
    fn place(&self, span: &Range<usize>) -> String {
        match span.start.checked_sub(self.text.len() + 1).and_then(|number| self.set.get(number)) {
            Some(setting) => format!("--set {setting}"),
            None => {
                let before = self.text.get(..span.start.min(self.text.len())).unwrap_or(self.text);
                format!("{}:{}", self.file, before.matches('\n').count() + 1)
            }
        }
    }

    /// Sets this policy for every flow that can have one.
    fn set_policies(&self, root: &mut DeTable<'a>, name: &'a str, span: &Range<usize>) -> Result<(), Problem> {
        let name = name.trim_matches('"');
        let flows = match root.get_mut("traffic").map(Spanned::get_mut) {
            Some(DeValue::Array(flows)) => flows.iter_mut().map(Spanned::get_mut).collect(),
            _ => Vec::new(),
        };
        let mut given = false;
        for flow in flows {
            let DeValue::Table(flow) = flow else { continue };
            if flow.get("kind").is_some_and(|kind| kind.get_ref().as_str() == Some("publish")) {
                continue;
            }
            flow.remove("policy");
            let value = Spanned::new(span.clone(), DeValue::String(Cow::Borrowed(name)));
            flow.insert(Spanned::new(span.clone(), Cow::Borrowed("policy")), value);
            given = true;
        }
        let none = || self.problem(span, "there is no flow that could have a policy", "add one of kind = \"send\"");
        if given { Ok(()) } else { Err(none()) }
    }

    fn explain(&self, error: &toml::de::Error) -> Problem {
        let full = error.to_string();
        let key = full.lines().find_map(|line| line.strip_prefix("in `")).and_then(|line| line.strip_suffix('`'));
        // The messages of this crate's own types end with the next step, after a semicolon.
        let (what, said) = match error.message().split_once("; ") {
            Some((what, said)) => (what, Some(said.to_owned())),
            None => (error.message(), None),
        };
        let what = what.replace('\n', ", ");
        let keyed = |what: String| key.map_or(what.clone(), |key| format!("`{key}`: {what}"));
        let (what, known) = match (unknown(&what), mistyped(&what)) {
            (Some((what, hint)), _) => (what, Some(hint)),
            (None, Some((what, hint))) => (keyed(what), Some(hint)),
            (None, None) => (keyed(what), None),
        };
        let missing = || error.message().starts_with("missing field").then(|| "add it".to_owned());
        let hint = said
            .or(known)
            .or_else(missing)
            .unwrap_or_else(|| "correct it; `m2mesh-sim new` prints a scenario with every key".to_owned());
        match error.span() {
            Some(span) => self.problem(&span, what, hint),
            None => self.whole(what, hint),
        }
    }

    fn apply(&self, root: &mut DeTable<'a>, setting: &'a str, at: usize) -> Result<(), Problem> {
        let span = at..at;
        let wrong = |(what, hint): (String, String)| self.problem(&span, what, hint);
        let none = || (format!("{setting:?} is no setting"), "write KEY=VALUE, as devices.meter.count=10".to_owned());
        let Some((path, value)) = setting.split_once('=') else {
            return Err(wrong(none()));
        };
        let keys: Vec<&str> = path.trim().split('.').collect();
        let (Some((last, way)), false) = (keys.split_last(), keys.iter().any(|key| key.is_empty())) else {
            return Err(wrong(none()));
        };
        let value = value.trim();
        if (*last, way) == ("policy", &[]) {
            return self.set_policies(root, value, &span);
        }
        let value = match DeValue::parse(value) {
            Ok(parsed) => moved(parsed.into_inner(), &span),
            Err(_) => DeValue::String(Cow::Borrowed(value)),
        };
        let mut here = Here::Table(root);
        for (depth, key) in way.iter().enumerate() {
            here = here.enter(key, depth == 1 && NAMED.contains(&keys[0]), &span).map_err(wrong)?;
        }
        here.put(last, Spanned::new(span.clone(), value), way.len() == 1 && NAMED.contains(&keys[0])).map_err(wrong)
    }
}

/// The result of a step of a path.
enum Here<'t, 'a> {
    Table(&'t mut DeTable<'a>),
    Array(&'t mut toml::de::DeArray<'a>),
}

impl<'t, 'a> Here<'t, 'a> {
    /// Goes one step further. A key that is absent is created, unless it is a name that only the file gives.
    fn enter(self, key: &'a str, named: bool, span: &Range<usize>) -> Result<Self, (String, String)> {
        let value = match self {
            Self::Table(table) => {
                if named && !table.contains_key(key) {
                    return Err(absent(table, key));
                }
                table
                    .entry(Spanned::new(span.clone(), Cow::Borrowed(key)))
                    .or_insert_with(|| Spanned::new(span.clone(), DeValue::Table(DeTable::new())))
            }
            Self::Array(array) => element(array, key)?,
        };
        match value.get_mut() {
            DeValue::Table(table) => Ok(Self::Table(table)),
            DeValue::Array(array) => Ok(Self::Array(array)),
            other => Err((
                format!("`{key}` is a {}, with nothing below", other.type_str()),
                format!("end the path with `{key}`"),
            )),
        }
    }

    fn put(self, key: &'a str, value: Spanned<DeValue<'a>>, named: bool) -> Result<(), (String, String)> {
        match self {
            Self::Table(table) => {
                if named && !table.contains_key(key) {
                    return Err(absent(table, key));
                }
                table.remove(key);
                table.insert(Spanned::new(value.span(), Cow::Borrowed(key)), value);
            }
            Self::Array(array) => *element(array, key)? = value,
        }
        Ok(())
    }
}

fn absent(table: &DeTable<'_>, key: &str) -> (String, String) {
    let known = table.keys().map(|known| known.get_ref().as_ref());
    (format!("the scenario has no `{key}` here"), instead(key, known))
}

/// Returns an element of an array by its number or its name.
fn element<'t, 'a>(
    array: &'t mut toml::de::DeArray<'a>,
    key: &str,
) -> Result<&'t mut Spanned<DeValue<'a>>, (String, String)> {
    let name = |value: &Spanned<DeValue<'a>>| Some(value.get_ref().get("name")?.get_ref().as_str()?.to_owned());
    let names: Vec<Option<String>> = array.iter().map(name).collect();
    let place = match key.parse::<usize>() {
        Ok(number) => Some(number),
        Err(_) => names.iter().position(|name| name.as_deref() == Some(key)),
    };
    let count = names.len();
    place.filter(|place| *place < count).and_then(|place| array.get_mut(place)).ok_or_else(|| {
        let known = names.iter().flatten().map(String::as_str);
        let hint = match nearest(key, known) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None if count == 0 => "there is none".to_owned(),
            None => format!("write a number from 0 to {}, or the `name` of an element", count - 1),
        };
        (format!("the scenario has no element `{key}` here"), hint)
    })
}

/// Returns the value with everything in it at `span`.
fn moved<'a>(value: DeValue<'a>, span: &Range<usize>) -> DeValue<'a> {
    let moved_one = |value: Spanned<DeValue<'a>>| Spanned::new(span.clone(), moved(value.into_inner(), span));
    match value {
        DeValue::Array(array) => DeValue::Array(array.into_iter().map(moved_one).collect()),
        DeValue::Table(table) => {
            let all = table.into_iter();
            DeValue::Table(
                all.map(|(key, value)| (Spanned::new(span.clone(), key.into_inner()), moved_one(value))).collect(),
            )
        }
        other => other,
    }
}

/// Extracts, from serde's message about an unknown key or word, the error and the nearest of the known ones.
fn unknown(message: &str) -> Option<(String, String)> {
    let kind = match message {
        _ if message.starts_with("unknown field") => "key",
        _ if message.starts_with("unknown variant") => "word",
        _ => return None,
    };
    let mut quoted = message.split('`').skip(1).step_by(2);
    let word = quoted.next()?;
    Some((format!("unknown {kind} `{word}`"), instead(word, quoted)))
}

/// Extracts, from serde's message about a value of the wrong type, the error and what to write.
fn mistyped(message: &str) -> Option<(String, String)> {
    let found = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    let (found, wanted) = found?.split_once(", expected ")?;
    let wanted = match wanted {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0 on",
        "f64" => "a number",
        "a boolean" => "true or false",
        table if table.starts_with("struct ") => "a table",
        other => other,
    };
    Some((format!("{found} does not do here"), format!("write {wanted}")))
}

/// The tables whose keys are names that the file gives.
const NAMED: [&str; 2] = ["devices", "bearers"];
