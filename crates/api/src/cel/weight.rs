//! How much work it is to look at values: characters, items.
use super::value::{List, Map, Value};
use serde_json::Value as Json;
use std::borrow::Cow;

/// What of two values is looked at first to find the lighter one.
const FIRST_LIMIT: u64 = 64;

impl Value<'_> {
    /// How much work it is to look at all of it.
    pub fn weight(&self) -> u64 {
        self.weight_up_to(u64::MAX)
    }

    /// The weight of the lighter one, which is what a comparison may look at. Finding it takes no more than that: one may
    /// be a whole object, and the other null.
    pub fn lighter(&self, other: &Self) -> u64 {
        let mut limit = FIRST_LIMIT;
        loop {
            let weight = self.weight_up_to(limit).min(other.weight_up_to(limit));
            if weight < limit {
                return weight;
            }
            limit = limit.saturating_mul(4);
        }
    }

    /// The weight, or something that is no less than the limit.
    fn weight_up_to(&self, limit: u64) -> u64 {
        let mut scale = Scale { weight: 0, limit };
        scale.value(self);
        scale.weight
    }

    /// Bytes that are copied with the value: those of text that is no part of an object or expression.
    pub fn copied_bytes(&self) -> usize {
        match self {
            Self::String(Cow::Owned(text)) => text.len(),
            Self::Bytes(Cow::Owned(bytes)) => bytes.len(),
            _ => 0,
        }
    }
}

struct Scale {
    weight: u64,
    limit: u64,
}

impl Scale {
    /// Adds weight; whether there may be more.
    fn add(&mut self, weight: u64) -> bool {
        self.weight = self.weight.saturating_add(weight);
        self.weight < self.limit
    }

    fn value(&mut self, value: &Value<'_>) -> bool {
        match value {
            Value::String(text) => self.add(text.len() as u64),
            Value::Bytes(bytes) => self.add(bytes.len() as u64),
            Value::List(List::Json(items, ..)) => self.items(items),
            Value::List(List::Made(items)) => items.iter().all(|item| self.add(1) && self.value(item)),
            Value::Map(Map::Json(map, _)) => self.members(map),
            Value::Map(Map::Made(map)) => map.values().all(|value| self.add(2) && self.value(value)),
            Value::Optional(Some(value)) => self.value(value),
            _ => self.add(1),
        }
    }

    fn json(&mut self, json: &Json) -> bool {
        match json {
            Json::String(text) => self.add(text.len() as u64),
            Json::Array(items) => self.items(items),
            Json::Object(map) => self.members(map),
            _ => self.add(1),
        }
    }

    fn items(&mut self, items: &[Json]) -> bool {
        items.iter().all(|item| self.add(1) && self.json(item))
    }

    fn members(&mut self, map: &serde_json::Map<String, Json>) -> bool {
        map.values().all(|value| self.add(2) && self.json(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_lighter_one_is_found_without_looking_at_all_of_the_other() {
        let small = json!({"a": [1, "text"]});
        let (small, null) = (Value::of(&small, None), Value::Null);
        assert_eq!(small.weight(), 2 + 1 + 1 + 1 + 4);
        let made = Value::list((0..1000).map(Value::Int).collect());
        assert_eq!(made.weight(), 2000);
        let large: Json = (0..1000).map(|n| format!("{n:04}")).collect();
        let large = Value::of(&large, None);
        assert_eq!(large.weight(), 5000);
        assert!(large.weight_up_to(100) < 110);
        for (one, other, lighter) in [
            (&large, &null, 1),
            (&null, &large, 1),
            (&large, &made, 2000),
            (&large, &small, 9),
            (&large, &large, 5000),
        ] {
            assert_eq!(one.lighter(other), lighter);
        }
        assert_eq!(Value::string("text").copied_bytes(), 4);
        assert_eq!(Value::String(Cow::Borrowed("text")).copied_bytes(), 0);
    }
}
