//! What can be the key of an entry.
use super::super::budget::Error;
use super::Value;

/// Keys of maps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Bool(bool),
    Int(i64),
    Uint(u64),
    String(String),
}

impl Key {
    /// # Errors
    /// Nothing of this type can be a key.
    pub fn of(value: &Value<'_>) -> Result<Self, Error> {
        Ok(match value {
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Int(*value),
            // Numbers that are equal are the same key.
            Value::Uint(value) => i64::try_from(*value).map_or(Self::Uint(*value), Self::Int),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 9e15 => Self::Int(*value as i64),
            Value::String(text) => Self::String(text.to_string()),
            other => {
                return Err(Error::failed(format!(
                    "unsupported key type: {}",
                    other.type_name()
                )));
            }
        })
    }

    pub fn value<'a>(&self) -> Value<'a> {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Uint(value) => Value::Uint(*value),
            Self::String(text) => Value::string(text.clone()),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Uint(value) => write!(f, "{value}"),
            Self::String(text) => f.write_str(text),
        }
    }
}
