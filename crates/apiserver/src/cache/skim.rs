//! Reads a few places of a JSON object and skips the rest: what the cache remembers of an object beside its bytes is a
//! small part of it.
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// The object with nothing in it but what is at these JSON pointers. Below a list, what isn't wanted is null.
pub fn skim(json: &[u8], pointers: &[&str]) -> Result<Value, serde_json::Error> {
    let mut input = serde_json::Deserializer::from_slice(json);
    let value = Place { wanted: pointers }.deserialize(&mut input)?;
    input.end()?;
    Ok(value)
}

/// A place in the object; `wanted` are pointers from here.
struct Place<'p, 'l> {
    wanted: &'l [&'p str],
}

/// The pointers that go on through the member or item `name`, from there.
fn through<'p>(wanted: &[&'p str], name: &str) -> Vec<&'p str> {
    wanted
        .iter()
        .filter_map(|pointer| pointer.strip_prefix('/')?.strip_prefix(name))
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
        .collect()
}

impl<'de> DeserializeSeed<'de> for Place<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Value, D::Error> {
        if self.wanted.is_empty() {
            return input.deserialize_ignored_any(IgnoredAny).map(|_| Value::Null);
        }
        if self.wanted.contains(&"") {
            return serde::Deserialize::deserialize(input);
        }
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut found = Map::new();
        while let Some(member) = map.next_key_seed(Member { wanted: self.wanted })? {
            match member {
                Some((name, wanted)) => {
                    found.insert(name, map.next_value_seed(Place { wanted: &wanted })?);
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Value::Object(found))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut found = Vec::new();
        loop {
            let wanted = through(self.wanted, &found.len().to_string());
            match items.next_element_seed(Place { wanted: &wanted })? {
                Some(item) => found.push(item),
                None => return Ok(Value::Array(found)),
            }
        }
    }

    // Scalars on the way to something wanted: there is nothing below them.
    fn visit_bool<E: Error>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// The name of a member: with the pointers through it if there are any.
struct Member<'p, 'l> {
    wanted: &'l [&'p str],
}

impl<'de, 'p> DeserializeSeed<'de> for Member<'p, '_> {
    type Value = Option<(String, Vec<&'p str>)>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_str(self)
    }
}

impl<'p> Visitor<'_> for Member<'p, '_> {
    type Value = Option<(String, Vec<&'p str>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        let wanted = through(self.wanted, name);
        Ok((!wanted.is_empty()).then(|| (name.to_owned(), wanted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const POINTERS: &[&str] = &[
        "/metadata/labels",
        "/metadata/name",
        "/spec/node",
        "/status/ips/0/ip",
        "/a",
    ];

    #[test]
    fn only_what_is_wanted_is_read() {
        let object = json!({"metadata": {"name": "n", "labels": {"a": {"deep": 1}}, "uid": "u"}, "spec": {"node": "x", "z": [1]},
            "status": {"ips": [{"ip": "1", "other": 2}, {"ip": "2"}]}, "data": {"a": "b"}});
        assert_eq!(
            skim(object.to_string().as_bytes(), POINTERS).unwrap(),
            json!({"metadata": {"name": "n", "labels": {"a": {"deep": 1}}}, "spec": {"node": "x"},
                "status": {"ips": [{"ip": "1"}, null]}})
        );
        assert_eq!(
            skim(br#"{"spec": "text", "status": null}"#, POINTERS).unwrap(),
            json!({"spec": null, "status": null})
        );
        assert!(skim(b"{\"a\": ", POINTERS).is_err());
        assert!(skim(b"{} x", POINTERS).is_err());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z\"\\\\]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let names = prop_oneof![
                "metadata",
                "labels",
                "name",
                "spec",
                "node",
                "status",
                "ips",
                "ip",
                "a",
                "[a-z]{1,2}"
            ]
            .prop_map(|name| name.to_string());
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map(names, inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// A place that is wanted reads as it would from the whole.
        #[test]
        fn wanted_places_are_as_in_the_whole(object in any_json()) {
            let part = skim(object.to_string().as_bytes(), POINTERS).unwrap();
            for pointer in POINTERS {
                prop_assert_eq!(part.pointer(pointer), object.pointer(pointer), "{}", pointer);
            }
        }
    }
}
