//! The Common Expression Language, as Kubernetes uses it: rules of custom resources, admission policies, conditions of
//! webhooks (contract api-server §17, §18).
//!
//! | file | does |
//! |---|---|
//! | `lex`, `parse`, `ast` | from text to an expression |
//! | `types`, `check`, `literals` | which type it has, and whether it can have a value at all |
//! | `value`, `opaque`, `time`, `moment`, `number` | what it works on; JSON is looked at in place |
//! | `weight`, `unordered` | how much work it is to look at values; lists whose order doesn't count |
//! | `fixed` | what has no value whatever it is evaluated for |
//! | `eval`, `budget` | its value, within limits |
//! | `functions/` | a table of signatures for each library |
//! | `program` | all of that behind one type |
//! | `schema`, `estimate/` | the types and the sizes that a structural schema gives |
//! | `kinds` | the types of built-in kinds |
//! | `admission` | what expressions of admission may name |
//!
//! It is our own and not the `cel` crate because rules come from users: the crate has no limits on evaluation and no
//! checker against schemas, wants objects converted before it looks at them, and brings a parser generator's runtime and
//! time zones along.
mod admission;
mod ast;
mod budget;
mod check;
mod estimate;
mod eval;
mod fixed;
mod functions;
mod kinds;
mod lex;
mod literals;
mod moment;
mod number;
mod opaque;
mod parse;
mod program;
mod property;
mod schema;
#[cfg(test)]
mod tests;
mod time;
mod types;
mod unordered;
mod value;
mod weight;

pub use admission::{conditions, policy};
pub use budget::{Budget, CONDITIONS_MAX, EXPRESSION_MAX, Error, OUT_OF_BUDGET, REQUEST_MAX};
pub use check::{Declarations, JSON_PATCH, OBJECT};
pub use estimate::{estimate, many, parts_max};
pub use eval::Activation;
pub use functions::Context;
pub use functions::is_url;
pub use kinds::type_of_kind;
pub use opaque::{AUTHORIZER, Authorizer, Check, Decision, Opaque, RESOURCE_CHECK};
pub use program::{CompileError, Program};
pub use schema::type_of;
pub use time::is_duration;
pub use types::Type;
pub use value::{Shape, Value};
