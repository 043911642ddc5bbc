//! Choice: values that can be written in several forms: a name or a list of names, a word or a table, a truth value or
//! a number.
//!
//! Each type states the forms that it takes ([`Forms`]); a value in another form is an error that names the accepted
//! ones. The forms are distinguished by their TOML type alone, so that an error within a table keeps its line.

use super::model::Sleep;
use super::quantity::{Quantity, Share};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;
use toml::Spanned;

/// Names of groups and devices; `all` for all devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members(pub Vec<String>);

/// The devices whose addresses are known from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// None.
    No,
    /// All with which a device can link.
    All,
    /// This number of those, drawn for each device.
    Some(usize),
}

/// The positions of devices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Placement {
    /// Random positions in the area.
    Random,
    /// In rows and columns.
    Grid,
    /// In a line.
    Line,
    /// All at one point.
    At([f64; 2]),
}

/// The devices that a fault strikes.
#[derive(Clone, Debug)]
pub enum Struck {
    /// By name or group.
    Named(Members),
    /// Drawn, or by position.
    Drawn(StruckTable),
}

/// The table of [`Struck`], with one of `any`, `share` and `within`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StruckTable {
    pub any: Option<usize>,
    pub share: Option<Share>,
    /// A circle: east, north and radius, in metres.
    pub within: Option<[f64; 3]>,
    /// The groups or devices from which they are taken; all devices if it is absent.
    pub of: Option<Spanned<Members>>,
}

/// The links that a fault strikes.
#[derive(Clone, Debug)]
pub enum StruckLinks {
    /// All links.
    All,
    /// The links between the two names of each pair.
    Pairs(Vec<Spanned<[String; 2]>>),
    /// Drawn links.
    Drawn(StruckLinksTable),
}

/// The table of [`StruckLinks`], with one of `any` and `share`, or neither for all links.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StruckLinksTable {
    pub any: Option<usize>,
    pub share: Option<Share>,
    /// Only links between the two names; all links if it is absent.
    pub between: Option<Spanned<[String; 2]>>,
}

/// A side of a partition.
#[derive(Clone, Debug)]
pub enum Side {
    /// By name.
    Named(Members),
    /// This share of the devices that are on no side by name, drawn.
    Share(Share),
}

/// An expectation, or several of which one has to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected(pub Vec<String>);

/// The times at which devices are awake: one pattern, or several, of which each has them awake.
#[derive(Clone, Debug)]
pub struct Sleeps(pub Vec<Sleep>);

/// A speed in metres a second, or a range from which it is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// The least speed.
    pub least: f64,
    /// The greatest speed.
    pub most: f64,
}

/// The forms in which a type is written.
trait Forms: Sized {
    /// The text after "expected …" in errors.
    const WANTED: &str;
    /// The type as which a list is read.
    type List: for<'de> Deserialize<'de>;
    /// The type as which a table is read.
    type Table: for<'de> Deserialize<'de>;

    fn text(_text: &str) -> Option<Self> {
        None
    }
    fn number(_number: f64) -> Option<Self> {
        None
    }
    fn truth(_truth: bool) -> Option<Self> {
        None
    }
    fn list(_list: Self::List) -> Option<Self> {
        None
    }
    fn table(_table: Self::Table) -> Option<Self> {
        None
    }
}

/// The type for a form in which a value is never written.
struct Never;

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl Forms for Members {
    const WANTED: &str = "the name of a group or device, or a list of them";
    type List = Vec<String>;
    type Table = Never;

    fn text(text: &str) -> Option<Self> {
        Some(Self(vec![text.to_owned()]))
    }
    fn list(list: Vec<String>) -> Option<Self> {
        (!list.is_empty()).then_some(Self(list))
    }
}

impl Forms for Known {
    const WANTED: &str = "true, false, or how many of those with whom a device can link it knows";
    type List = Never;
    type Table = Never;

    fn truth(truth: bool) -> Option<Self> {
        Some(if truth { Self::All } else { Self::No })
    }
    fn number(number: f64) -> Option<Self> {
        (number >= 0.0 && number.fract() == 0.0 && number < 1e6).then_some(match number as usize {
            0 => Self::No,
            count => Self::Some(count),
        })
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PlacementTable {
    at: [f64; 2],
}

impl Forms for Placement {
    const WANTED: &str = "\"random\", \"grid\", \"line\" or { at = [x, y] }";
    type List = Never;
    type Table = PlacementTable;

    fn text(text: &str) -> Option<Self> {
        match text {
            "random" => Some(Self::Random),
            "grid" => Some(Self::Grid),
            "line" => Some(Self::Line),
            _ => None,
        }
    }
    fn table(table: PlacementTable) -> Option<Self> {
        Some(Self::At(table.at))
    }
}

impl Forms for Struck {
    const WANTED: &str =
        "the name of a group or device, a list of them, { any = 2 }, { share = 0.1 } or { within = [x, y, radius] }";
    type List = Vec<String>;
    type Table = StruckTable;

    fn text(text: &str) -> Option<Self> {
        Members::text(text).map(Self::Named)
    }
    fn list(list: Vec<String>) -> Option<Self> {
        Members::list(list).map(Self::Named)
    }
    fn table(table: StruckTable) -> Option<Self> {
        let given = [table.any.is_some(), table.share.is_some(), table.within.is_some()];
        (given.into_iter().filter(|given| *given).count() == 1).then_some(Self::Drawn(table))
    }
}

impl Forms for StruckLinks {
    const WANTED: &str =
        "\"all\", { any = 2 }, { share = 0.1 }, { between = [\"a\", \"b\"] } or a list of pairs [\"a\", \"b\"]";
    type List = Vec<Spanned<[String; 2]>>;
    type Table = StruckLinksTable;

    fn text(text: &str) -> Option<Self> {
        (text == "all").then_some(Self::All)
    }
    fn list(list: Self::List) -> Option<Self> {
        (!list.is_empty()).then_some(Self::Pairs(list))
    }
    fn table(table: StruckLinksTable) -> Option<Self> {
        (table.any.is_none() || table.share.is_none()).then_some(Self::Drawn(table))
    }
}

impl Forms for Side {
    const WANTED: &str = "the name of a group or device, a list of them, or a share as 0.5 or \"50%\"";
    type List = Vec<String>;
    type Table = Never;

    fn text(text: &str) -> Option<Self> {
        match text.ends_with('%') {
            true => Share::from_text(text).map(Self::Share),
            false => Members::text(text).map(Self::Named),
        }
    }
    fn number(number: f64) -> Option<Self> {
        Share::from_number(number).map(Self::Share)
    }
    fn list(list: Vec<String>) -> Option<Self> {
        Members::list(list).map(Self::Named)
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedTable {
    any: Vec<String>,
}

impl Forms for Expected {
    const WANTED: &str =
        "a comparison as \"delivered >= 0.999\", or { any = [\"cost.total <= 1\", \"delivered == 1\"] }";
    type List = Never;
    type Table = ExpectedTable;

    fn text(text: &str) -> Option<Self> {
        Some(Self(vec![text.to_owned()]))
    }
    fn table(table: ExpectedTable) -> Option<Self> {
        (!table.any.is_empty()).then_some(Self(table.any))
    }
}

impl Forms for Sleeps {
    const WANTED: &str =
        "{ every = \"10m\", awake = \"20s\" }, { at = \"06:00, 18:00\", awake = \"5m\" } or a list of them";
    type List = Vec<Sleep>;
    type Table = Sleep;

    fn list(list: Vec<Sleep>) -> Option<Self> {
        (!list.is_empty()).then_some(Self(list))
    }
    fn table(table: Sleep) -> Option<Self> {
        Some(Self(vec![table]))
    }
}

impl Forms for Speed {
    const WANTED: &str = "metres a second above zero, as 1.5, or [from, to]";
    type List = [f64; 2];
    type Table = Never;

    fn number(number: f64) -> Option<Self> {
        Self::list([number, number])
    }
    fn list([least, most]: [f64; 2]) -> Option<Self> {
        (least >= 0.001 && least <= most && most <= 100_000.0).then_some(Self { least, most })
    }
}

struct Reader<T>(PhantomData<T>);

impl<T: Forms> Reader<T> {
    fn taken<E: de::Error>(value: Option<T>, what: impl fmt::Display) -> Result<T, E> {
        value.ok_or_else(|| E::custom(format_args!("{what} does not do here; write {}", T::WANTED)))
    }
}

impl<'de, T: Forms> Visitor<'de> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WANTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        Self::taken(T::text(text), format_args!("{text:?}"))
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<T, E> {
        Self::taken(T::truth(truth), truth)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        Self::taken(T::number(number as f64), number)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        Self::taken(T::number(number as f64), number)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        Self::taken(T::number(number), number)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        let list = T::List::deserialize(SeqAccessDeserializer::new(list))?;
        Self::taken(T::list(list), "this list")
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<T, A::Error> {
        let table = T::Table::deserialize(MapAccessDeserializer::new(table))?;
        Self::taken(T::table(table), "this table")
    }
}

macro_rules! read {
    ($($choice:ty),*) => {$(
        impl<'de> Deserialize<'de> for $choice {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Reader(PhantomData))
            }
        }
    )*};
}

read!(Expected, Members, Known, Placement, Struck, StruckLinks, Side, Sleeps, Speed);
