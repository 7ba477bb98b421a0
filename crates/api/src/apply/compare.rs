//! The fields in which two values differ.
use super::form::{Child, Form, Items, Type, field_element};
use super::set::FieldSet;
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
    let mut walk = Walk::default();
    walk.at(Some(old), Some(new), ty, true);
    walk.changes
}

#[derive(Default)]
struct Walk {
    path: Vec<String>,
    changes: Changes,
}

impl Walk {
    /// `standing`: the place is there in either value, filled or not.
    fn at(&mut self, old: Option<&Value>, new: Option<&Value>, ty: Type<'_>, standing: bool) {
        if old == new {
            return;
        }
        // Types that are always written are null when they are empty.
        let standing = standing || old.is_some_and(Value::is_null) && new.is_some();
        let (old, new) = (old.filter(|v| !v.is_null()), new.filter(|v| !v.is_null()));
        let divided = match (old.map(|v| ty.form(v)), new.map(|v| ty.form(v))) {
            (None, None) => return,
            (Some(Form::Leaf), _) | (_, Some(Form::Leaf)) => false,
            (Some(Form::Object(_)), Some(Form::List(..))) | (Some(Form::List(..)), Some(Form::Object(_))) => {
                false
            }
            (Some(Form::List(_, items)), _) | (_, Some(Form::List(_, items))) => {
                self.lists(old, new, ty, items);
                true
            }
            _ => {
                self.objects(old, new, ty);
                true
            }
        };
        // A whole that is there before and after is written through its parts.
        let whole = divided && (standing || (old.is_some() && new.is_some()));
        if whole || self.path.is_empty() {
            return;
        }
        match new {
            Some(_) => self.changes.written.insert(&self.path),
            None => self.changes.removed.insert(&self.path),
        }
    }

    fn objects(&mut self, old: Option<&Value>, new: Option<&Value>, ty: Type<'_>) {
        let empty = serde_json::Map::new();
        let old_members = old.and_then(Value::as_object).unwrap_or(&empty);
        let new_members = new.and_then(Value::as_object).unwrap_or(&empty);
        let gone = old_members.keys().filter(|name| !new_members.contains_key(*name));
        for name in new_members.keys().chain(gone) {
            let child = ty.child(name);
            let always = matches!(child, Child::Declared { always: true, .. });
            self.path.push(field_element(name));
            self.at(
                old_members.get(name),
                new_members.get(name),
                child.ty(),
                always && old.is_some() && new.is_some(),
            );
            self.path.pop();
        }
    }

    fn lists(&mut self, old: Option<&Value>, new: Option<&Value>, ty: Type<'_>, items: Items<'_>) {
        let (old, new) = (by_element(old, items), by_element(new, items));
        let gone = old.keys().filter(|element| !new.contains_key(*element));
        for element in new.keys().chain(gone) {
            let (was, is) = (old.get(element), new.get(element));
            self.path.push(element.clone());
            match (was.map(Vec::as_slice), is.map(Vec::as_slice)) {
                // Items that cannot be told apart are compared as one.
                (Some([_, _, ..]), _) | (_, Some([_, _, ..])) => match is {
                    _ if was == is => {}
                    Some(_) => self.changes.written.insert(&self.path),
                    None => self.changes.removed.insert(&self.path),
                },
                (was, is) => self.at(
                    was.and_then(|v| v.first().copied()),
                    is.and_then(|v| v.first().copied()),
                    ty.item(),
                    false,
                ),
            }
            self.path.pop();
        }
    }
}

fn by_element<'v>(list: Option<&'v Value>, items: Items<'_>) -> BTreeMap<String, Vec<&'v Value>> {
    let mut found: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for item in list.and_then(Value::as_array).into_iter().flatten() {
        found.entry(items.element(item)).or_default().push(item);
    }
    found
}
