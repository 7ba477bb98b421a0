//! How large values can be, by the schema of their place.
use super::super::property::unescape;
use crate::structural::{Additional, Kind, Node};

/// Largest request, in bytes: nothing in it is longer.
pub const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// A number, a truth value or an object has no length of its own.
const NONE: u64 = 0;
/// Bytes of the shortest JSON of some kinds.
const TEXT_BYTES_MIN: u64 = 2;
const DURATION_BYTES_MIN: u64 = 3;
const TIME_BYTES_MIN: u64 = 21;
const DATE_BYTES: u64 = 12;
/// Longest duration or time, as JSON has them.
const TIME_BYTES_MAX: u64 = 32;
/// Bytes of a character.
const CHARACTER_BYTES_MAX: u64 = 4;

/// Items, entries or characters, at least and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub min: u64,
    pub max: u64,
}

impl Size {
    /// Nothing is known.
    pub const ANY: Self = Self {
        min: 0,
        max: u64::MAX,
    };

    pub const fn exactly(size: u64) -> Self {
        Self { min: size, max: size }
    }

    pub const fn up_to(max: u64) -> Self {
        Self { min: 0, max }
    }

    pub fn plus(self, other: Self) -> Self {
        Self {
            min: self.min.saturating_add(other.min),
            max: self.max.saturating_add(other.max),
        }
    }

    pub fn times(self, other: Self) -> Self {
        Self {
            min: self.min.saturating_mul(other.min),
            max: self.max.saturating_mul(other.max),
        }
    }

    /// That of either.
    pub fn or(self, other: Self) -> Self {
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }

    /// What looking at all of it costs, at so much for each.
    pub fn cost(self, each: f64) -> u64 {
        let cost = (self.max as f64 * each).ceil();
        // Numbers that large are all the same.
        if cost >= u64::MAX as f64 {
            u64::MAX
        } else {
            cost as u64
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Copy)]
pub enum Place<'n> {
    /// It was made by the expression.
    Made,
    At(&'n Node),
    /// A place of which only the length is known.
    Leaf(u64),
    /// A place that no schema tells of.
    Unknown,
}

/// A step from a value to one of its parts.
#[derive(Clone, Copy)]
pub enum Step<'s> {
    Field(&'s str),
    /// An item of a list, or the value of an entry.
    Item,
    /// The key of an entry, or the number of an item.
    Key,
}

impl<'n> Place<'n> {
    /// Steps from what was made lead, as upstream counts, to `root`.
    pub fn step(self, step: Step<'_>, root: &'n Node) -> Self {
        let node = match self {
            Self::Made => return Self::At(root),
            Self::At(node) => node,
            Self::Leaf(_) | Self::Unknown => return Self::Unknown,
        };
        match step {
            Step::Key => Self::Leaf(NONE),
            Step::Item => match (&node.additional, node.items.as_deref()) {
                (Additional::Each(each), _) => Self::At(each),
                (_, Some(item)) => Self::At(item),
                _ => Self::Unknown,
            },
            Step::Field(name) => match node.properties.get(unescape(name).as_ref()) {
                Some(property) => Self::At(property),
                None if matches!(name, "name" | "generateName" | "kind" | "apiVersion") => {
                    Self::Leaf(REQUEST_BYTES_MAX - TEXT_BYTES_MIN)
                }
                None => Self::Unknown,
            },
        }
    }

    pub fn size(self) -> Option<Size> {
        match self {
            Self::Made | Self::Unknown => None,
            Self::At(node) => Some(Size::up_to(elements_max(node))),
            Self::Leaf(max) => Some(Size::up_to(max)),
        }
    }
}

/// How many items, entries or bytes a value of that place can have.
fn elements_max(node: &Node) -> u64 {
    let limits = &node.limits;
    match node.kind {
        Kind::String => text_max(node),
        Kind::Array => {
            let each = node.items.as_deref().map_or(1, bytes_min) + 1;
            limits.max_items.unwrap_or((REQUEST_BYTES_MAX - 2) / each)
        }
        Kind::Object => match &node.additional {
            // A key of two characters, in quotes, a colon and a comma.
            Additional::Each(each) => limits
                .max_properties
                .unwrap_or((REQUEST_BYTES_MAX - 2) / (bytes_min(each) + 6)),
            _ => NONE,
        },
        Kind::IntOrString => limits.max_length.map_or(REQUEST_BYTES_MAX - 2, bytes_of),
        Kind::Any | Kind::Integer | Kind::Number | Kind::Boolean => NONE,
    }
}

fn bytes_of(characters: u64) -> u64 {
    characters.saturating_mul(CHARACTER_BYTES_MAX)
}

fn text_max(node: &Node) -> u64 {
    let limits = &node.limits;
    let any = REQUEST_BYTES_MAX - TEXT_BYTES_MIN;
    match limits.format.as_str() {
        "byte" => limits.max_length.unwrap_or(any),
        "duration" | "date-time" => TIME_BYTES_MAX,
        "date" => DATE_BYTES,
        _ => match limits.max_length {
            Some(max) => bytes_of(max),
            None if limits.allowed.is_empty() => any,
            None => {
                let texts = limits.allowed.iter().filter_map(|value| value.as_str());
                texts.map(|text| text.len() as u64).max().unwrap_or(0)
            }
        },
    }
}

/// The shortest JSON of a value.
fn bytes_min(node: &Node) -> u64 {
    match node.kind {
        Kind::String => match node.limits.format.as_str() {
            "duration" => DURATION_BYTES_MIN,
            "date" => DATE_BYTES,
            "date-time" => TIME_BYTES_MIN,
            _ => TEXT_BYTES_MIN,
        },
        Kind::Array => 2,
        Kind::Boolean => 4,
        Kind::Object => {
            let required = node.limits.required.iter().filter_map(|name| {
                let property = node.properties.get(name)?;
                // What is filled in need not be sent.
                let is_sent = property.default.is_none();
                is_sent.then(|| name.len() as u64 + 4 + bytes_min(property))
            });
            2 + required.sum::<u64>()
        }
        Kind::Integer | Kind::Number | Kind::Any | Kind::IntOrString => 1,
    }
}

/// How many of a value an object may hold, if nothing bounds the lists and maps around it.
pub fn many(node: &Node) -> u64 {
    REQUEST_BYTES_MAX / (bytes_min(node) + 1)
}

/// How many parts a value of that place may have, if that is bounded.
pub fn parts_max(node: &Node) -> Option<u64> {
    match (node.kind, &node.additional) {
        (Kind::Object, Additional::Each(_)) => node.limits.max_properties,
        (Kind::Array, _) => node.limits.max_items,
        _ => Some(1),
    }
}
