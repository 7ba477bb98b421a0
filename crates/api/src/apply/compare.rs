//! The fields in which two values differ.
use super::form::{Form, Items, Type};
use super::set::{Element, FieldSet};
use serde_json::Value;
use std::collections::BTreeMap;

/// What became of the fields between an old and a new value.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// New or different.
    pub written: FieldSet,
    pub removed: FieldSet,
}

pub(super) fn compare(old: &Value, new: &Value, ty: Type<'_>) -> Changes {
    let mut changes = at(Some(old), Some(new), ty, true);
    changes.written.member = false;
    changes.removed.member = false;
    changes
}

impl Changes {
    /// Takes in what became of the fields below an element.
    fn put(&mut self, element: impl Fn() -> Element, below: Self) {
        self.written.put(&element, below.written);
        self.removed.put(&element, below.removed);
    }
}

/// `standing`: the place is there in either value, filled or not.
fn at(old: Option<&Value>, new: Option<&Value>, ty: Type<'_>, standing: bool) -> Changes {
    if old == new {
        return Changes::default();
    }
    // Types that are always written are null when they are empty.
    let standing = standing || old.is_some_and(Value::is_null) && new.is_some();
    let (old, new) = (old.filter(|v| !v.is_null()), new.filter(|v| !v.is_null()));
    let (mut changes, divided) = match (old.map(|v| ty.form(v)), new.map(|v| ty.form(v))) {
        (None, None) => return Changes::default(),
        (Some(Form::Leaf), _)
        | (_, Some(Form::Leaf))
        | (Some(Form::Object(_)), Some(Form::List(..)))
        | (Some(Form::List(..)), Some(Form::Object(_))) => (Changes::default(), false),
        (Some(Form::List(_, items)), _) | (_, Some(Form::List(_, items))) => {
            (lists(old, new, ty, items), true)
        }
        _ => (objects(old, new, ty), true),
    };
    // A whole that is there before and after is written through its parts.
    let whole = divided && (standing || (old.is_some() && new.is_some()));
    changes.written.member = !whole && new.is_some();
    changes.removed.member = !whole && new.is_none();
    changes
}

fn objects(old: Option<&Value>, new: Option<&Value>, ty: Type<'_>) -> Changes {
    let (old, new) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    let is = |name: &str| new?.get(name);
    let mut changes = Changes::default();
    let gone = old.into_iter().flatten().filter(|(name, _)| is(name).is_none());
    for (name, _) in new.into_iter().flatten().chain(gone) {
        let child = ty.child(name);
        let standing = child.is_always() && old.is_some() && new.is_some();
        let was = old.and_then(|old| old.get(name));
        let below = at(was, is(name), child.ty(), standing);
        changes.put(|| child.element(name), below);
    }
    changes
}

fn lists(old: Option<&Value>, new: Option<&Value>, ty: Type<'_>, items: Items<'_>) -> Changes {
    let (old, new) = (by_element(old, items), by_element(new, items));
    let mut changes = Changes::default();
    let gone = old.keys().filter(|element| !new.contains_key(*element));
    for element in new.keys().chain(gone) {
        let (was, is) = (old.get(element), new.get(element));
        let below = match (was.map(Vec::as_slice), is.map(Vec::as_slice)) {
            // Items that cannot be told apart are compared as one.
            (Some([_, _, ..]), _) | (_, Some([_, _, ..])) => {
                let mut below = Changes::default();
                below.written.member = was != is && is.is_some();
                below.removed.member = was != is && is.is_none();
                below
            }
            (was, is) => at(
                was.and_then(|v| v.first().copied()),
                is.and_then(|v| v.first().copied()),
                ty.item(),
                false,
            ),
        };
        changes.put(|| element.clone().into(), below);
    }
    changes
}

/// The items of a list by their path elements.
pub(super) fn by_element<'v>(list: Option<&'v Value>, items: Items<'_>) -> BTreeMap<String, Vec<&'v Value>> {
    let mut found: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for item in list.and_then(Value::as_array).into_iter().flatten() {
        found.entry(items.element(item)).or_default().push(item);
    }
    found
}
