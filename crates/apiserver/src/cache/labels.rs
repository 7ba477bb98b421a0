//! Objects by the value of a label, for the labels that lists of large collections select by.
//!
//! An index is made at the first list that needs it and kept up to date from then on: nobody pays for labels that nobody
//! selects by.
use super::Object;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// In smaller collections looking at every object is as quick.
pub const OBJECTS_MIN: usize = 200;
/// Indexes of one collection; lists by further labels look at every object.
const INDEXES_MAX: usize = 4;

/// The indexes of one collection.
#[derive(Default)]
pub struct LabelIndexes(Vec<Index>);

/// Keys of objects by the value of one label.
pub struct Index {
    label: Box<str>,
    by_value: HashMap<Box<str>, BTreeSet<Arc<str>>>,
}

impl LabelIndexes {
    /// The index of a label, if there is one.
    pub fn get(&self, label: &str) -> Option<&Index> {
        self.0.iter().find(|index| &*index.label == label)
    }

    pub fn has_room(&self) -> bool {
        self.0.len() < INDEXES_MAX
    }

    /// Indexes a label of all objects.
    pub fn build(&mut self, label: &str, objects: &BTreeMap<Arc<str>, Arc<Object>>) {
        let mut index = Index {
            label: label.into(),
            by_value: HashMap::new(),
        };
        objects.values().for_each(|object| index.put(object));
        self.0.push(index);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn put(&mut self, object: &Object) {
        self.0.iter_mut().for_each(|index| index.put(object));
    }

    pub fn forget(&mut self, object: &Object) {
        self.0.iter_mut().for_each(|index| index.forget(object));
    }
}

impl Index {
    /// Keys of the objects whose label has one of these values, in no particular order.
    pub fn keys<'i>(&'i self, values: &'i [String]) -> impl Iterator<Item = &'i Arc<str>> {
        let distinct: BTreeSet<&str> = values.iter().map(String::as_str).collect();
        distinct
            .into_iter()
            .filter_map(|value| self.by_value.get(value))
            .flatten()
    }

    fn put(&mut self, object: &Object) {
        if let Some(value) = object.label(&self.label) {
            let keys = self.by_value.entry(value.into()).or_default();
            keys.insert(object.key.clone());
        }
    }

    fn forget(&mut self, object: &Object) {
        if let Some(value) = object.label(&self.label)
            && let Some(keys) = self.by_value.get_mut(value)
        {
            keys.remove(&object.key);
            if keys.is_empty() {
                self.by_value.remove(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources;

    fn object(name: &str, labels: &str) -> Arc<Object> {
        let resource = resources::find("", "v1", "configmaps").unwrap();
        let stored = format!(
            r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{name}","labels":{labels}}}}}"#
        );
        Arc::new(
            Object::from_stored(resource, format!("d/{name}").into(), stored.as_bytes(), 1, true).unwrap(),
        )
    }

    #[test]
    fn an_index_follows_the_objects() {
        let found = |indexes: &LabelIndexes, values: &[&str]| -> Vec<String> {
            let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
            let mut keys: Vec<String> = indexes
                .get("app")
                .unwrap()
                .keys(&values)
                .map(|k| k.to_string())
                .collect();
            keys.sort();
            keys
        };
        let (a, b) = (
            object("a", r#"{"app":"x"}"#),
            object("b", r#"{"app":"y","n":"1"}"#),
        );
        let objects = [&a, &b].map(|o| (o.key.clone(), o.clone())).into_iter().collect();
        let mut indexes = LabelIndexes::default();
        assert!(indexes.get("app").is_none());
        indexes.build("app", &objects);
        assert_eq!(found(&indexes, &["x"]), ["d/a"]);
        assert_eq!(found(&indexes, &["x", "y", "x"]), ["d/a", "d/b"]);
        let moved = object("a", r#"{"app":"y"}"#);
        indexes.forget(&a);
        indexes.put(&moved);
        assert_eq!(found(&indexes, &["y"]), ["d/a", "d/b"]);
        indexes.forget(&b);
        assert_eq!(found(&indexes, &["x", "y"]), ["d/a"]);
        assert_eq!(indexes.get("app").unwrap().by_value.len(), 1);
    }
}
