//! Fields nobody asked for: what `fieldValidation` warns about or refuses (contract api-server §10).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::error::DecodeError;
use super::schema::{Field, MessageId, Schema, Shape, Type};

/// Upstream reports this many at most; more only make the answer long.
const FINDINGS_MAX: usize = 100;

/// One field that is unknown or given twice, by its path (`spec.containers[0].bogus`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Finding {
    Unknown(String),
    Duplicate(String),
    /// The same in YAML, of which upstream knows the line.
    DuplicateKey {
        line: usize,
        key: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Unknown(path) => write!(f, "unknown field \"{path}\""),
            Finding::Duplicate(path) => write!(f, "duplicate field \"{path}\""),
            Finding::DuplicateKey { line, key } => write!(f, "line {line}: key {key:?} already set in map"),
        }
    }
}

/// What was found in one body, as strict decoding refuses it: one text, the lines of YAML first.
pub fn strict_text(findings: &[Finding]) -> String {
    let (lines, others): (Vec<&Finding>, Vec<&Finding>) = findings
        .iter()
        .partition(|finding| matches!(finding, Finding::DuplicateKey { .. }));
    let lines: String = lines.iter().map(|finding| format!("\n  {finding}")).collect();
    let lines = (!lines.is_empty()).then(|| format!("yaml: unmarshal errors:{lines}"));
    let others = others.iter().map(|finding| finding.to_string());
    lines.into_iter().chain(others).collect::<Vec<_>>().join(", ")
}

/// The unknown and duplicate fields of a JSON body, in its order. Bodies that aren't JSON and kinds that aren't built in
/// have none.
pub fn findings(api_version: &str, kind: &str, body: &[u8]) -> Vec<Finding> {
    let Some(id) = Schema::builtin().kind(api_version, kind) else {
        return Vec::new();
    };
    decode(body, Some(id))
        .map(|(_, findings)| findings)
        .unwrap_or_default()
}

/// The unknown fields of an object that is already a tree, such as the result of a patch.
pub fn unknown_fields(api_version: &str, kind: &str, object: &Value) -> Vec<Finding> {
    let Some(id) = Schema::builtin().kind(api_version, kind) else {
        return Vec::new();
    };
    let mut scan = Scan::default();
    // Reading a tree cannot fail.
    let _ = Seed {
        scan: &mut scan,
        place: Place::Message(id),
    }
    .deserialize(object);
    scan.found
}

/// Decodes JSON (of two values for one key the last counts) and collects the findings on the way.
pub(super) fn decode(body: &[u8], message: Option<MessageId>) -> Result<(Value, Vec<Finding>), DecodeError> {
    let mut scan = Scan::default();
    let place = message.map_or(Place::Free, Place::Message);
    let mut input = serde_json::Deserializer::from_slice(body);
    let value = Seed {
        scan: &mut scan,
        place,
    }
    .deserialize(&mut input)
    .and_then(|value| input.end().map(|()| value));
    match value {
        Ok(value) => Ok((value, scan.found)),
        Err(e) if e.is_eof() => Err(DecodeError::Syntax("unexpected end of JSON input".to_owned())),
        Err(e) => Err(DecodeError::Syntax(e.to_string())),
    }
}

/// What is known about a place in the body.
#[derive(Clone, Copy)]
enum Place {
    Message(MessageId),
    /// The value of a field: one, a list or a map of the field's type.
    Field(&'static Field),
    /// Any JSON; keys are still expected once.
    Free,
    /// Below an unknown field: nothing more is said about it.
    Ignored,
}

impl Place {
    fn of(field: &'static Field) -> Place {
        match (field.shape, field.ty) {
            (Shape::One, ty) => Place::of_type(ty),
            _ => Place::Field(field),
        }
    }

    fn of_type(ty: Type) -> Place {
        match ty {
            Type::Message(id) | Type::Either(id, _) => Place::Message(id),
            Type::Raw => Place::Ignored,
            _ => Place::Free,
        }
    }

    fn item(self) -> Place {
        match self {
            Place::Field(field) => Place::of_type(field.ty),
            Place::Ignored => Place::Ignored,
            Place::Message(_) | Place::Free => Place::Free,
        }
    }
}

enum Segment {
    Key(String),
    Index(usize),
}

#[derive(Default)]
struct Scan {
    /// In the order of the body, each once.
    found: Vec<Finding>,
    path: Vec<Segment>,
}

impl Scan {
    fn note(&mut self, finding: fn(String) -> Finding) {
        if self.found.len() >= FINDINGS_MAX {
            return;
        }
        let finding = finding(self.path());
        if !self.found.contains(&finding) {
            self.found.push(finding);
        }
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for segment in &self.path {
            match segment {
                Segment::Key(key) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(key);
                }
                Segment::Index(i) => path.push_str(&format!("[{i}]")),
            }
        }
        path
    }
}

struct Seed<'s> {
    scan: &'s mut Scan,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let place = match self.place {
            Place::Field(field) if field.shape == Shape::List => self.place.item(),
            // A list where one message may stand as well.
            Place::Ignored | Place::Message(_) => self.place,
            _ => Place::Free,
        };
        let mut list = Vec::new();
        loop {
            self.scan.path.push(Segment::Index(list.len()));
            let item = items.next_element_seed(Seed {
                scan: self.scan,
                place,
            })?;
            self.scan.path.pop();
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let Seed { scan, place } = self;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let duplicate = map.contains_key(&key);
            let (inner, unknown) = below(place, &key);
            scan.path.push(Segment::Key(key));
            if !matches!(place, Place::Ignored) {
                // What nobody asked for is no duplicate on top of that.
                if unknown {
                    scan.note(Finding::Unknown);
                } else if duplicate {
                    scan.note(Finding::Duplicate);
                }
            }
            let value = entries.next_value_seed(Seed { scan, place: inner })?;
            let Some(Segment::Key(key)) = scan.path.pop() else {
                return Err(A::Error::custom("the path of the body is lost"));
            };
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// What is known about the value of `key`, and whether the key itself is unknown.
fn below(place: Place, key: &str) -> (Place, bool) {
    match place {
        Place::Message(id) => {
            let message = Schema::builtin().message(id);
            match message.field(key) {
                Some(field) => (Place::of(field), false),
                None if message.is_kind && matches!(key, "kind" | "apiVersion") => (Place::Free, false),
                None => (Place::Ignored, true),
            }
        }
        Place::Field(field) if field.shape == Shape::Map => (place.item(), false),
        Place::Ignored => (Place::Ignored, false),
        Place::Field(_) | Place::Free => (Place::Free, false),
    }
}
