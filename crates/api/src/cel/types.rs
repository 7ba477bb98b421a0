//! Types of expressions: what a check knows before there are values.
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Anything: known when there is a value.
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    /// The type of types, and of which.
    Type(Option<Arc<Type>>),
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    Optional(Arc<Type>),
    /// An object whose fields are known.
    Object(Arc<Object>),
    /// A type of a library, by its name.
    Opaque(&'static str),
    /// In signatures: any type, the same wherever the letter stands.
    Param(char),
}

/// The fields of an object.
#[derive(Debug, PartialEq)]
pub struct Object {
    pub name: String,
    pub fields: BTreeMap<String, Type>,
    /// Whether other fields may be named too.
    pub open: bool,
}

impl Type {
    pub fn list(item: Self) -> Self {
        Self::List(Arc::new(item))
    }

    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    pub fn optional(of: Self) -> Self {
        Self::Optional(Arc::new(of))
    }

    pub fn of_type(of: Self) -> Self {
        Self::Type(Some(Arc::new(of)))
    }

    /// An object with exactly these fields.
    pub fn object<N: Into<String>>(
        name: impl Into<String>,
        fields: impl IntoIterator<Item = (N, Self)>,
    ) -> Self {
        Self::Object(Arc::new(Object {
            name: name.into(),
            fields: fields.into_iter().map(|(name, ty)| (name.into(), ty)).collect(),
            open: false,
        }))
    }

    /// The type that an expression names.
    pub fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "bool" => Self::Bool,
            "int" => Self::Int,
            "uint" => Self::Uint,
            "double" => Self::Double,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "list" => Self::list(Self::Dyn),
            "map" => Self::map(Self::Dyn, Self::Dyn),
            "null_type" => Self::Null,
            "type" => Self::Type(None),
            "google.protobuf.Timestamp" => Self::Timestamp,
            "google.protobuf.Duration" => Self::Duration,
            _ => return None,
        })
    }

    /// Reads a type as signatures write it: `list<A>`, `map<string, dyn>`, `net.IP`.
    pub fn parse(text: &'static str) -> Self {
        let text = text.trim();
        if let Some((outer, inner)) = text.split_once('<') {
            let inner = inner.strip_suffix('>').unwrap_or(inner);
            return match outer {
                "list" => Self::list(Self::parse(inner)),
                "optional" => Self::optional(Self::parse(inner)),
                "type" => Self::of_type(Self::parse(inner)),
                _ => match split_top(inner) {
                    Some((key, value)) => Self::map(Self::parse(key), Self::parse(value)),
                    None => Self::Dyn,
                },
            };
        }
        match text {
            "dyn" => Self::Dyn,
            "null" => Self::Null,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "uint" => Self::Uint,
            "double" => Self::Double,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "duration" => Self::Duration,
            "timestamp" => Self::Timestamp,
            "type" => Self::Type(None),
            _ => match text.as_bytes() {
                [letter] if letter.is_ascii_uppercase() => Self::Param(char::from(*letter)),
                _ => Self::Opaque(text),
            },
        }
    }
}

/// Splits at the first comma that is in no brackets.
pub fn split_top(text: &'static str) -> Option<(&'static str, &'static str)> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 0 => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Duration => f.write_str("duration"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Type(None) => f.write_str("type"),
            Self::Type(Some(of)) => write!(f, "type({of})"),
            Self::List(item) => write!(f, "list({item})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(of) => write!(f, "optional_type({of})"),
            Self::Object(object) => f.write_str(&object.name),
            Self::Opaque(name) => f.write_str(name),
            Self::Param(letter) => write!(f, "{letter}"),
        }
    }
}

/// What type parameters stand for, while a call is checked.
#[derive(Default)]
pub struct Bindings(BTreeMap<char, Type>);

impl Bindings {
    /// Whether a value of type `given` can be where `wanted` is asked for; learns parameters.
    pub fn accept(&mut self, wanted: &Type, given: &Type) -> bool {
        match (wanted, given) {
            (Type::Param(letter), _) => match self.0.get(letter).cloned() {
                None => {
                    self.0.insert(*letter, given.clone());
                    true
                }
                Some(known) => {
                    if known == Type::Dyn || known == Type::Null {
                        self.0.insert(*letter, given.clone());
                    }
                    self.accept(&known, given)
                }
            },
            (Type::Dyn, _) | (_, Type::Dyn) => true,
            // Whether something that may be absent is null can always be asked.
            (
                Type::Null,
                Type::Object(_) | Type::Optional(_) | Type::Opaque(_) | Type::Timestamp | Type::Duration,
            ) => true,
            (
                Type::Object(_) | Type::Optional(_) | Type::Opaque(_) | Type::Timestamp | Type::Duration,
                Type::Null,
            ) => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.accept(a, b),
            (Type::Map(ak, av), Type::Map(bk, bv)) => self.accept(ak, bk) && self.accept(av, bv),
            (Type::Map(key, value), Type::Object(object)) | (Type::Object(object), Type::Map(key, value)) => {
                // Literal maps with text keys stand for objects whose fields are not known.
                object.open && self.accept(key, &Type::String) && self.accept(value, &Type::Dyn)
            }
            // Types are compared whatever they are of.
            (Type::Type(_), Type::Type(_)) => true,
            (a, b) => a == b,
        }
    }

    /// A type with its parameters filled in; unknown ones are anything.
    pub fn fill(&self, ty: &Type) -> Type {
        match ty {
            Type::Param(letter) => self.0.get(letter).cloned().unwrap_or(Type::Dyn),
            Type::List(item) => Type::list(self.fill(item)),
            Type::Optional(of) => Type::optional(self.fill(of)),
            Type::Type(Some(of)) => Type::of_type(self.fill(of)),
            Type::Map(key, value) => Type::map(self.fill(key), self.fill(value)),
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_the_same_type_wherever_they_stand() {
        for (wanted, given, fits) in [
            ("list<A>,A", "list<int>,int", true),
            ("list<A>,A", "list<int>,string", false),
            ("list<A>,A", "list<dyn>,string", true),
            ("map<A,B>,A", "map<string,int>,string", true),
            ("map<A,B>,B", "map<string,int>,string", false),
            ("optional<T>,T", "optional<net.IP>,net.IP", true),
        ] {
            let (w, g) = (split_top(wanted).unwrap(), split_top(given).unwrap());
            let mut bindings = Bindings::default();
            let got = bindings.accept(&Type::parse(w.0), &Type::parse(g.0))
                && bindings.accept(&Type::parse(w.1), &Type::parse(g.1));
            assert_eq!(got, fits, "{wanted} <- {given}");
        }
    }
}
