//! Values that may be absent.
use super::arguments::list;
use super::{Context, Table};
use crate::cel::budget::Error;
use crate::cel::value::Value;
use std::sync::Arc;

pub const TABLE: Table = &[
    ("optional.of(A) optional<A>", |_, a| Ok(Value::some(a[0].clone()))),
    ("optional.none() optional<A>", |_, _| Ok(Value::Optional(None))),
    ("optional.ofNonZeroValue(A) optional<A>", |_, a| {
        Ok(if a[0].is_zero() {
            Value::Optional(None)
        } else {
            Value::some(a[0].clone())
        })
    }),
    ("optional<A>::hasValue() bool", |_, a| {
        Ok(Value::Bool(inner(&a[0])?.is_some()))
    }),
    ("optional<A>::value() A", |_, a| match inner(&a[0])? {
        Some(value) => Ok(value.as_ref().clone()),
        None => Err(Error::failed("optional.none() dereference")),
    }),
    ("optional<A>::orValue(A) A", |_, a| {
        Ok(match inner(&a[0])? {
            Some(value) => value.as_ref().clone(),
            None => a[1].clone(),
        })
    }),
    ("optional<A>::or(optional<A>) optional<A>", |_, a| {
        Ok(match inner(&a[0])? {
            Some(_) => a[0].clone(),
            None => a[1].clone(),
        })
    }),
    ("optional.unwrap(list<optional<A>>) list<A>", unwrap),
    ("list<optional<A>>::unwrapOpt() list<A>", unwrap),
];

/// What is there of a list.
fn unwrap<'a>(_: &mut Context<'a>, a: &[Value<'a>]) -> Result<Value<'a>, Error> {
    let mut found = Vec::new();
    for item in list(&a[0])?.iter() {
        found.extend(inner(&item)?.as_ref().map(|value| value.as_ref().clone()));
    }
    Ok(Value::list(found))
}

fn inner<'v, 'a>(value: &'v Value<'a>) -> Result<&'v Option<Arc<Value<'a>>>, Error> {
    match value {
        Value::Optional(inner) => Ok(inner),
        _ => Err(Error::no_such_overload()),
    }
}
