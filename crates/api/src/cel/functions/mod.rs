//! Functions, methods and operators: one table a library, each line a signature and what it does.
//!
//! A signature is `name(types) result`, with `receiver::` before the name of a method. A capital letter is any type,
//! the same in all its places.
mod arguments;
mod authorizer;
mod formats;
mod lists;
mod net;
mod no_address;
mod operators;
mod optional;
mod quantity;
mod regex;
mod semver;
mod sets;
mod standard;
mod strings;
mod times;
mod url;

pub use regex::check_pattern;
pub use url::is_url;

use super::budget::{Budget, Error};
use super::opaque::Authorizer;
use super::types::{Type, split_top};
use super::value::Value;
use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

/// What functions may use.
pub struct Context<'a> {
    pub budget: Budget,
    pub authorizer: Option<&'a dyn Authorizer>,
}

/// Arguments have the types of the signature, as far as types of values go.
pub type Run = for<'a> fn(&mut Context<'a>, &[Value<'a>]) -> Result<Value<'a>, Error>;
/// A library: signatures and what they do.
pub type Table = &'static [(&'static str, Run)];

const TABLES: &[Table] = &[
    operators::TABLE,
    standard::TABLE,
    strings::TABLE,
    lists::TABLE,
    regex::TABLE,
    sets::TABLE,
    optional::TABLE,
    times::TABLE,
    url::TABLE,
    net::TABLE,
    quantity::TABLE,
    semver::TABLE,
    formats::TABLE,
    authorizer::TABLE,
];

/// One meaning of a name.
pub struct Overload {
    pub member: bool,
    /// The receiver first.
    pub parameters: Vec<Type>,
    pub result: Type,
    pub run: Run,
}

impl fmt::Debug for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} -> {}", self.parameters, self.result)
    }
}

static NAMES: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut names: HashMap<&'static str, Vec<Overload>> = HashMap::new();
    for (signature, run) in TABLES.iter().copied().flatten() {
        let (name, overload) = read(signature, *run);
        names.entry(name).or_default().push(overload);
    }
    names
});

/// Every meaning of a name; none if it is no function's.
pub fn named(name: &str) -> &'static [Overload] {
    NAMES.get(name).map_or(&[], Vec::as_slice)
}

fn read(signature: &'static str, run: Run) -> (&'static str, Overload) {
    let (receiver, rest) = match signature.split_once("::") {
        Some((receiver, rest)) => (Some(receiver), rest),
        None => (None, signature),
    };
    let (name, rest) = rest.split_once('(').unwrap_or((rest, ")"));
    let (mut list, result) = rest.split_once(')').unwrap_or((rest, "dyn"));
    let mut parameters: Vec<Type> = receiver.map(Type::parse).into_iter().collect();
    while !list.trim().is_empty() {
        let (first, others) = split_top(list).unwrap_or((list, ""));
        parameters.push(Type::parse(first));
        list = others;
    }
    let overload = Overload {
        member: receiver.is_some(),
        parameters,
        result: Type::parse(result),
        run,
    };
    (name, overload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_read_as_they_are_written() {
        let contains = &named("contains")[0];
        assert!(contains.member);
        assert_eq!(contains.parameters, [Type::String, Type::String]);
        assert_eq!(contains.result, Type::Bool);
        let of = &named("optional.of")[0];
        assert!(!of.member);
        assert_eq!(of.result, Type::optional(Type::Param('A')));
        assert!(named("nothing").is_empty());
    }
}
