//! What calls cost beside their arguments, and how large their values are.
use super::sizes::{Place, Size, Step};
use super::{Guess, LIST};
use crate::cel::ast::{Call, Form, Literal};
use crate::cel::types::Type;
use crate::structural::Node;

/// For each character that is looked at.
const CHARACTER: f64 = 0.1;
/// For each character of a pattern.
const PATTERN_CHARACTER: f64 = 0.25;
/// What asking an authorizer costs: no more than twice in an expression.
const CHECK: u64 = 350_000;
/// Characters of the pattern behind a named format, and of its name.
const FORMAT_PATTERN: f64 = 128.0;
const FORMAT_NAME: u64 = 64;
/// Bytes of an IP address.
const ADDRESS: Size = Size { min: 4, max: 16 };

/// The cost, and the size if it is known.
pub fn of(call: &Call, arguments: &[Guess<'_>], root: &Node) -> (u64, Option<Size>) {
    let size = |index: usize| arguments.get(index).map_or(Size::ANY, Guess::any_size);
    let ty = |index: usize| arguments.get(index).map_or(&Type::Dyn, |guess| &guess.ty);
    let read = |index: usize| size(index).cost(CHARACTER);
    let count = arguments.len();
    match (call.name.as_str(), call.member) {
        ("check", true) => (CHECK, None),
        ("fieldSelector" | "labelSelector", true) => (read(1), None),
        ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", true) => match ty(0) {
            Type::List(item) => {
                let each = match item.as_ref() {
                    Type::String | Type::Bytes => {
                        item_size(&arguments[0], root).cost(CHARACTER).saturating_add(1)
                    }
                    _ => 1,
                };
                (size(0).max.saturating_mul(each), None)
            }
            _ => (read(0), None),
        },
        ("url" | "jsonpatch.escapeKey", false) => (read(0), Some(size(0))),
        ("lowerAscii" | "upperAscii" | "substring" | "trim", true) => (read(0), Some(size(0))),
        ("replace", true) => (
            size(0).cost(2.0 * CHARACTER),
            Some(replaced(size(0), size(1), size(2))),
        ),
        ("split", true) => {
            let parts = written(call, 2).map_or(size(0).max, |limit| limit as u64);
            (size(0).cost(2.0 * CHARACTER), Some(Size::up_to(parts)))
        }
        ("join", true) => {
            let mut all = size(0).times(item_size(&arguments[0], root));
            if count > 1 {
                let between = Size {
                    min: size(0).min.saturating_sub(1),
                    max: size(0).max.saturating_sub(1),
                };
                all = all.plus(size(1).times(between));
            }
            (all.cost(CHARACTER), Some(all))
        }
        ("find" | "findAll", true) => (searched(size(0), size(1)), Some(Size::up_to(size(0).max))),
        ("matches", _) => (searched(size(0), size(1)), None),
        ("cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver", false) => {
            (read(0), None)
        }
        ("ip.isCanonical", false) => (size(0).cost(2.0 * CHARACTER), None),
        ("containsIP", true) => {
            let parsed = if *ty(1) == Type::String { read(1) } else { 0 };
            (ADDRESS.plus(ADDRESS).cost(CHARACTER).saturating_add(parsed), None)
        }
        ("containsCIDR", true) => {
            let compared = ADDRESS.plus(ADDRESS).cost(CHARACTER) + ADDRESS.cost(CHARACTER) + 1;
            let parsed = if *ty(1) == Type::String { read(1) } else { 0 };
            (compared.saturating_add(parsed), None)
        }
        ("validate", true) => {
            let each = Size::exactly(read(1));
            (each.cost(FORMAT_PATTERN * PATTERN_CHARACTER), None)
        }
        ("contains", true) => (read(0).saturating_mul(read(1)), None),
        ("startsWith" | "endsWith", true) => (read(1), None),
        ("format", true) => (read(0), None),
        ("bytes", false) if *ty(0) == Type::String => (
            read(0),
            Some(Size {
                min: size(0).min,
                max: size(0).max.saturating_mul(4),
            }),
        ),
        ("string", false) if *ty(0) == Type::Bytes => (
            read(0),
            Some(Size {
                min: size(0).min / 4,
                max: size(0).max,
            }),
        ),
        ("strings.quote", false) => (read(0), None),
        ("sets.contains" | "sets.intersects", false) => {
            (size(0).times(size(1)).cost(1.0).saturating_add(1), None)
        }
        ("sets.equivalent", false) => (size(0).times(size(1)).cost(2.0).saturating_add(1), None),
        ("slice", true) => {
            let bound = |index, otherwise| {
                written(call, index).map_or(otherwise, |bound| u64::try_from(bound).unwrap_or(0))
            };
            let length = bound(2, size(0).max).saturating_sub(bound(1, 0));
            (made(length), Some(Size::exactly(length)))
        }
        ("lists.range", false) => match written(call, 0) {
            Some(count) => {
                let count = u64::try_from(count).unwrap_or(0);
                (made(count), Some(Size::exactly(count)))
            }
            _ => (u64::MAX, Some(Size::exactly(u64::MAX))),
        },
        ("reverse" | "flatten", true) => (made(size(0).max), Some(size(0))),
        ("distinct" | "sort", true) => {
            let item = match ty(0) {
                Type::List(item) => item.as_ref().clone(),
                _ => Type::Dyn,
            };
            (sorting(size(0), &item), Some(size(0)))
        }
        ("_in_", false) => match ty(1) {
            Type::Map(..) | Type::Object(_) => (1, None),
            _ => (size(1).cost(1.0), None),
        },
        ("_==_", false) if ty(0) == ty(1) && is_small(ty(0)) => (1, None),
        ("_==_", false) if *ty(0) == Type::Opaque("kubernetes.NamedFormat") => {
            (Size::up_to(FORMAT_NAME).cost(CHARACTER), None)
        }
        ("_==_" | "_!=_", false) => (compared(size(0), size(1)), None),
        ("_<_" | "_<=_" | "_>_" | "_>=_", false) => match (ty(0), ty(1)) {
            (Type::String | Type::Bytes, _) | (_, Type::String | Type::Bytes) => {
                (compared(size(0), size(1)), None)
            }
            (Type::Dyn, Type::Dyn) => (compared(size(0), size(1)).max(1), None),
            _ => (1, None),
        },
        ("_+_", false) => {
            let sum = size(0).plus(size(1));
            let is = |wanted: fn(&Type) -> bool| wanted(ty(0)) || wanted(ty(1));
            if is(|ty| matches!(ty, Type::String | Type::Bytes)) {
                (sum.cost(CHARACTER), Some(sum))
            } else if is(|ty| matches!(ty, Type::List(_))) {
                (1, Some(sum))
            } else if *ty(0) == Type::Dyn && *ty(1) == Type::Dyn {
                (sum.cost(CHARACTER).max(1), Some(sum))
            } else {
                (1, None)
            }
        }
        _ => (1, None),
    }
}

/// An argument that is written out as a number.
fn written(call: &Call, index: usize) -> Option<i64> {
    match call.arguments.get(index)?.form {
        Form::Literal(Literal::Int(number)) => Some(number),
        _ => None,
    }
}

/// The size of the items of a list.
fn item_size(list: &Guess<'_>, root: &Node) -> Size {
    match list.place {
        Place::Made => Size::ANY,
        place => place.step(Step::Item, root).size().unwrap_or(Size::ANY),
    }
}

/// Whether values of a type are compared at once.
fn is_small(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Opaque("net.IP" | "net.CIDR" | "kubernetes.Quantity" | "kubernetes.Semver")
    )
}

fn compared(first: Size, second: Size) -> u64 {
    Size::up_to(first.max.min(second.max)).cost(CHARACTER)
}

/// One more than the text, so that a search in nothing costs something.
fn searched(text: Size, pattern: Size) -> u64 {
    let text = text.plus(Size::exactly(1)).cost(CHARACTER);
    text.saturating_mul(pattern.cost(PATTERN_CHARACTER))
}

/// A list of that length.
fn made(length: u64) -> u64 {
    length.saturating_add(LIST + 1)
}

/// Each item is compared with each other, twice.
pub fn sorting(list: Size, item: &Type) -> u64 {
    let each = match item {
        Type::String | Type::Bytes => 2.0 + CHARACTER,
        _ => 2.0,
    };
    list.times(list).cost(each).saturating_add(LIST + 1)
}

/// What a text can become in which another one is replaced.
fn replaced(text: Size, from: Size, to: Size) -> Size {
    let times = |text: u64, part: u64| text.div_ceil(part.max(1));
    let (count_max, kept_max) = if from.min == 0 {
        (text.max.saturating_add(1), text.max)
    } else if to.max <= from.min {
        (0, text.max)
    } else {
        (times(text.max, from.min), 0)
    };
    let (count_min, kept_min) = if from.max == 0 {
        (text.min.saturating_add(1), text.min)
    } else if from.max <= to.min {
        (0, text.min)
    } else {
        (times(text.min, from.max), 0)
    };
    let count = Size {
        min: count_min,
        max: count_max,
    };
    count.times(to).plus(Size {
        min: kept_min,
        max: kept_max,
    })
}
