//! Declared: what a declaration of events expands to.
//!
//! A declaration reads
//!
//! ```text
//! /// What it means.
//! Variant = "kind" {
//!     /// What the field is.
//!     field: Type,
//!     /// A number that is read as a time.
//!     other: u64 as Seconds,
//! } => "the line, with {field} and {extra}", extra = an expression over the fields;
//! ```
//!
//! The type of a field, or of the wrapper after `as`, determines how the field is shown, what it is in JSON and how it
//! is bounded; see [`Value`](super::text::Value).

/// One kind of event, as data. `docs/events.md` is written from these.
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    /// The name of the kind.
    pub kind: &'static str,
    /// What the kind means, in sentences; one item per line of the source.
    pub about: &'static [&'static str],
    /// The line that it is shown as, with its fields in braces.
    pub text: &'static str,
    /// The fields, in order.
    pub fields: &'static [Detail],
}

/// A field of a kind of event.
#[derive(Clone, Copy, Debug)]
pub struct Detail {
    /// The name of the field.
    pub name: &'static str,
    /// The JSON names and forms of a field of this name; normally one.
    pub json: fn(&'static str) -> Vec<(&'static str, &'static str)>,
    /// What the field means; one item per line of the source.
    pub about: &'static [&'static str],
}

/// A field as it is shown: by itself, or within the wrapper that its declaration names.
macro_rules! shown {
    ($field:expr) => {
        $field
    };
    ($field:expr, $style:ident) => {
        &$style(*$field)
    };
}

/// The type that determines how a field is shown.
macro_rules! style {
    ($type:ty) => {
        $type
    };
    ($type:ty, $style:ident) => {
        $style
    };
}

macro_rules! events {
    ($(
        $(#[doc = $about:literal])+
        $event:ident = $kind:literal $({$(
            $(#[doc = $what:literal])+
            $(#[serde($serde:meta)])?
            $field:ident: $type:ty $(as $style:ident)?,
        )+})? => $text:literal $(, $extra:ident = $value:expr)*;
    )+) => {
        /// An event.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Event {
            $(
                $(#[doc = $about])+
                $event $({$(
                    $(#[doc = $what])+
                    $(#[serde($serde)])?
                    $field: $type,
                )+})?,
            )+
        }

        impl Event {
            /// The number of kinds that this version knows; greater numbers are of later versions.
            pub const KINDS: u64 = Self::DECLARED.len() as u64;

            /// The names that [`Self::kind`] returns, in the order of the numbers.
            pub const NAMES: [&'static str; Self::KINDS as usize] = [$($kind,)+];

            /// All kinds, in the order of the numbers.
            pub const DECLARED: &'static [$crate::event_log::declared::Declaration] = &[$(
                $crate::event_log::declared::Declaration {
                    kind: $kind,
                    about: &[$($about,)+],
                    text: $text,
                    fields: &[$($(
                        $crate::event_log::declared::Detail {
                            name: stringify!($field),
                            json: <$crate::event_log::declared::style!($type $(, $style)?)
                                as $crate::event_log::text::Value>::described,
                            about: &[$($what,)+],
                        },
                    )+)?],
                },
            )+];

            /// The kind as shown by `log --kind`: the variant's name in kebab case.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$event { .. } => $kind,)+
                }
            }

            /// The fields by name. Identifiers are hexadecimal.
            pub fn fields(&self) -> std::collections::BTreeMap<&'static str, $crate::event_log::text::Field> {
                use $crate::event_log::text::Value;
                let mut fields = std::collections::BTreeMap::new();
                match self {
                    $(Self::$event { $($($field,)+)? } => {
                        $($(
                            $crate::event_log::declared::shown!($field $(, $style)?)
                                .put(stringify!($field), &mut fields);
                        )+)?
                    })+
                }
                fields
            }

            /// The same event with its texts cut at [`MAX_TEXT`] and its lists at [`MAX_COUNTS`], which bounds a
            /// record.
            pub(crate) fn bounded(mut self) -> Self {
                use $crate::event_log::text::Value;
                match &mut self {
                    $(Self::$event { $($($field,)+)? } => {
                        $($($field.bound();)+)?
                    })+
                }
                self
            }
        }

        impl core::fmt::Display for Event {
            /// Formats the event as one line, whatever its texts hold: control characters are escaped.
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                use $crate::event_log::text::Shown;
                match self {
                    $(Self::$event { $($($field,)+)? } => {
                        $(let $extra = $value;)*
                        // A field that the line does not name is shown by an extra value that is made from it.
                        $($(let $field = Shown($crate::event_log::declared::shown!($field $(, $style)?)); let _ = &$field;)+)?
                        write!(f, $text)
                    })+
                }
            }
        }
    };
}

pub(super) use {events, shown, style};
