//! OpenAPI documents as protobuf: the messages of gnostic.
pub mod v2;
pub mod v3;

use serde_json::{Map, Value};

/// The message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(&mut self, number: u64, bytes: &[u8]) {
        self.varint(number << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn nested(&mut self, number: u64, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(number, &inner.0);
    }

    /// An entry of a map: name and value.
    fn named(&mut self, number: u64, name: &str, write: impl FnOnce(&mut Self)) {
        self.nested(number, |entry| {
            entry.bytes(1, name.as_bytes());
            entry.nested(2, write);
        });
    }

    fn text(&mut self, number: u64, value: &Value) {
        if let Some(text) = value.as_str() {
            self.bytes(number, text.as_bytes());
        }
    }

    fn texts(&mut self, number: u64, values: &Value) {
        for value in items(values) {
            self.text(number, value);
        }
    }

    fn flag(&mut self, number: u64, value: &Value) {
        if value.as_bool() == Some(true) {
            self.varint(number << 3);
            self.varint(1);
        }
    }

    fn integer(&mut self, number: u64, value: &Value) {
        if let Some(integer) = value.as_i64() {
            self.varint(number << 3);
            self.varint(integer as u64);
        }
    }

    fn double(&mut self, number: u64, value: &Value) {
        if let Some(double) = value.as_f64() {
            self.varint(number << 3 | 1);
            self.0.extend_from_slice(&double.to_le_bytes());
        }
    }

    /// Any value, as YAML, of which JSON is a part.
    fn any(&mut self, number: u64, value: &Value) {
        if !value.is_null() {
            self.nested(number, |any| any.bytes(2, format!("{value}\n").as_bytes()));
        }
    }

    /// The members whose names begin with `x-`.
    fn extensions(&mut self, number: u64, object: &Value) {
        for (name, value) in members(object).filter(|(name, _)| name.starts_with("x-")) {
            self.named(number, name, |any| any.bytes(2, format!("{value}\n").as_bytes()));
        }
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
