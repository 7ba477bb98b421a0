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

    fn add(&mut self, other: Self) {
        self.written.add(&other.written);
        self.removed.add(&other.removed);
    }

    /// The place itself was written, or taken away.
    fn whole(mut self, old: Option<&Value>, new: Option<&Value>) -> Self {
        self.written.member = new.is_some();
        self.removed.member = old.is_some() && new.is_none();
        self
    }

    /// The place itself came or went with its parts.
    fn unless_both(self, old: Option<&Value>, new: Option<&Value>) -> Self {
        if old.is_some() && new.is_some() {
            self
        } else {
            self.whole(old, new)
        }
    }
}

/// `standing`: the place is there in either value, filled or not.
fn at(old: Option<&Value>, new: Option<&Value>, ty: Type<'_>, standing: bool) -> Changes {
    if old == new {
        return Changes::default();
    }
    // Null takes the form of what stands on the other side; it is there, but holds nothing.
    let (was, is) = (form(old, ty), form(new, ty));
    if hollow(was.as_ref()) && hollow(is.as_ref()) {
        // Types that are always written may stand for themselves or be left out.
        let lists = [old, new].into_iter().flatten().any(Value::is_array);
        return if standing && !lists {
            Changes::default()
        } else {
            Changes::default().whole(old, new)
        };
    }
    let changes = match (was, is) {
        (Some(Form::Object(_)), None | Some(Form::Object(_))) | (None, Some(Form::Object(_))) => {
            objects(old, new, ty)
        }
        (Some(Form::List(_, items)), None | Some(Form::List(..))) | (None, Some(Form::List(_, items))) => {
            lists(old, new, ty, items)
        }
        (was, is) => {
            // One form gives way to another, with all its parts.
            let mut changes = parts(old, None, ty, was.as_ref());
            changes.add(parts(None, new, ty, is.as_ref()));
            return changes.whole(old, new);
        }
    };
    // A whole that is there before and after is written through its parts.
    if standing {
        changes
    } else {
        changes.unless_both(old, new)
    }
}

fn form<'v, 's>(value: Option<&'v Value>, ty: Type<'s>) -> Option<Form<'v, 's>> {
    value.filter(|v| !v.is_null()).map(|v| ty.form(v))
}

/// Whether a value holds no fields: it is absent, null or empty.
fn hollow(form: Option<&Form<'_, '_>>) -> bool {
    match form {
        None => true,
        Some(Form::Object(members)) => members.is_empty(),
        Some(Form::List(items, _)) => items.is_empty(),
        Some(Form::Leaf) => false,
    }
}

/// What comes or goes with all parts of a value.
fn parts(old: Option<&Value>, new: Option<&Value>, ty: Type<'_>, form: Option<&Form<'_, '_>>) -> Changes {
    match form {
        Some(Form::Object(_)) => objects(old, new, ty),
        Some(Form::List(_, items)) => lists(old, new, ty, *items),
        Some(Form::Leaf) | None => Changes::default(),
    }
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
