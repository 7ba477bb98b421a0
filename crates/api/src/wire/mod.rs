//! Objects as bytes: which built-in kinds there are, and what is accepted, dropped and written for each of them
//! (contract api-server §2.2, §10).
//!
//! A body comes in as JSON ([`json::decode`]), YAML ([`from_yaml`]) or protobuf ([`protobuf::decode`]) and is a
//! `serde_json::Value` from there on; [`normalize`] gives it the one form upstream's types would give it, and
//! [`json::encode`] writes it in upstream's field order and escapes. Everything follows from the field tables in
//! [`schema`]; nothing here knows what a field is *for*.

pub mod json;
pub mod protobuf;
pub mod schema;

mod error;
mod escapes;
mod findings;
#[cfg(test)]
mod golden;
mod normalize;
mod scalar;
#[cfg(test)]
mod tests;
mod yaml;

pub use error::DecodeError;
pub use escapes::GoEscapes;
pub use findings::{Finding, findings, strict_text, unknown_fields};
pub use normalize::normalize;
pub use scalar::json_kind;
pub use yaml::{duplicate_keys, from_yaml, to_yaml};

/// A built-in kind that can be the top of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    pub api_version: &'static str,
    pub kind: &'static str,
}

/// Group and version of an `apiVersion`: the core group has no name.
pub fn group_and_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// All kinds.
pub fn kinds() -> impl Iterator<Item = Kind> {
    schema::Schema::builtin()
        .kinds()
        .map(|(api_version, kind)| Kind { api_version, kind })
}

/// The built-in kind of that name, if there is one.
pub fn kind(api_version: &str, kind: &str) -> Option<Kind> {
    let schema = schema::Schema::builtin();
    let message = schema.message(schema.kind(api_version, kind)?);
    Some(Kind {
        api_version: message.api_version,
        kind: message.name,
    })
}
