//! Lists whose order doesn't count. Items are found by a number that equal ones share: such a list may have a hundred
//! thousand, and the most usual rule of all compares it with what it was.
use super::value::{List, Map, Value};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Items of a list, to be found among.
pub struct Items<'l, 'a> {
    list: &'l List<'a>,
    /// What tells them apart: fields of each, or, if there are none, all of it.
    keys: &'l [String],
    marks: RandomState,
    by_mark: HashMap<u64, Vec<usize>>,
}

impl<'l, 'a> Items<'l, 'a> {
    /// `keys`: fields that only equal items have the same of; none: any items are compared.
    pub fn of(list: &'l List<'a>, keys: &'l [String]) -> Self {
        let mut items = Self {
            list,
            keys,
            marks: RandomState::new(),
            by_mark: HashMap::with_capacity(list.len()),
        };
        for (place, item) in list.iter().enumerate() {
            let mark = items.mark(&item);
            items.by_mark.entry(mark).or_default().push(place);
        }
        items
    }

    pub fn contain(&self, wanted: &Value<'_>) -> bool {
        let places = self.by_mark.get(&self.mark(wanted)).into_iter().flatten();
        let mut found = places.filter_map(|place| self.list.get(*place));
        found.any(|item| item.equals(wanted))
    }

    fn mark(&self, item: &Value<'_>) -> u64 {
        match item {
            Value::Map(map) if !self.keys.is_empty() => {
                let of_key = |key: &String| map.field(key).map(|value| self.of_whole(&value));
                self.marks
                    .hash_one(self.keys.iter().map(of_key).collect::<Vec<_>>())
            }
            item => self.of_whole(item),
        }
    }

    /// Equal values have the same.
    fn of_whole(&self, value: &Value<'_>) -> u64 {
        let hash = |kind: u8, what: &dyn Fn() -> u64| self.marks.hash_one((kind, what()));
        match value {
            Value::Bool(value) => hash(1, &|| u64::from(*value)),
            // Numbers are equal across their types.
            Value::Int(value) => hash(2, &|| bits(*value as f64)),
            Value::Uint(value) => hash(2, &|| bits(*value as f64)),
            Value::Double(value) => hash(2, &|| bits(*value)),
            Value::String(text) => hash(3, &|| self.marks.hash_one(&**text)),
            Value::Bytes(bytes) => hash(4, &|| self.marks.hash_one(&**bytes)),
            Value::Duration(nanoseconds) => hash(5, &|| self.marks.hash_one(nanoseconds)),
            Value::Timestamp(moment) => hash(6, &|| self.marks.hash_one(moment)),
            // Order may not count in these, either.
            Value::List(list) => hash(7, &|| sum(list.iter().map(|item| self.of_whole(&item)))),
            Value::Map(map) => hash(8, &|| sum(self.entries(map))),
            _ => hash(9, &|| 0),
        }
    }

    fn entries(&self, map: &Map<'_>) -> impl Iterator<Item = u64> {
        map.each()
            .map(move |(key, value)| self.marks.hash_one((key.to_string(), self.of_whole(&value))))
    }
}

fn bits(value: f64) -> u64 {
    // Both zeros are the same.
    (value + 0.0).to_bits()
}

fn sum(marks: impl Iterator<Item = u64>) -> u64 {
    marks.fold(0, u64::wrapping_add)
}

/// Whether all items of a list are in another.
pub fn within(part: &List<'_>, whole: &List<'_>, keys: &[String]) -> bool {
    // Few are found at once.
    if part.len() <= 1 {
        return part.iter().all(|item| whole.contains(&item));
    }
    let whole = Items::of(whole, keys);
    part.iter().all(|item| whole.contain(&item))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    fn list<'a>(json: &'a Json) -> List<'a> {
        match Value::of(json, None) {
            Value::List(list) => list,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn equal_items_are_found_whatever_they_are() {
        let whole = json!([1, 2.0, "a", null, true, [1, [2]], {"a": 1.0, "b": {"c": []}}, -0.0]);
        let whole = list(&whole);
        for (item, is_there) in [
            (json!([1.0, 2]), true),
            (json!([0, 2]), true),
            (json!(["a", null, true]), true),
            (json!([[1, [2]], "a"]), true),
            (json!([[1, [3]], "a"]), false),
            (json!([{"b": {"c": []}, "a": 1}, 1]), true),
            (json!([{"b": {"c": [1]}, "a": 1}, 1]), false),
            (json!(["1", 1]), false),
            (json!([false, 1]), false),
            (json!([]), true),
            (json!([3]), false),
        ] {
            assert_eq!(within(&list(&item), &whole, &[]), is_there, "{item}");
        }
        let made = List::Made(std::sync::Arc::new(vec![Value::Uint(1), Value::string("a")]));
        assert!(within(&made, &whole, &[]));
        let keyed = json!([{"name": "a", "size": 1}, {"name": "b", "size": 2}]);
        let keys = ["name".to_owned()];
        for (item, is_there) in [
            (json!([{"name": "b", "size": 2}, {"name": "a", "size": 1}]), true),
            (json!([{"name": "b", "size": 1}, {"name": "a", "size": 1}]), false),
            (json!([{"name": "c", "size": 1}, {"name": "a", "size": 1}]), false),
        ] {
            assert_eq!(within(&list(&item), &list(&keyed), &keys), is_there, "{item}");
        }
    }

    /// One after the other this would take minutes.
    #[test]
    fn many_items_are_found_soon() {
        let one: Json = (0..200_000).collect::<Vec<i64>>().into();
        let other: Json = (0..200_000).rev().collect::<Vec<i64>>().into();
        assert!(within(&list(&one), &list(&other), &[]));
    }
}
