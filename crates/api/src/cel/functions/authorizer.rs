//! Questions to the authorizer: `authorizer.group('apps').resource('deployments').check('get').allowed()`.
use super::arguments::{string, text};
use super::{Context, Table};
use crate::cel::budget::Error;
use crate::cel::opaque::{Check, Decision, Opaque};
use crate::cel::value::Value;
use std::sync::Arc;

/// What asking costs: more than looking.
const STEPS: u64 = 350_000;

pub const TABLE: Table = &[
    (
        "kubernetes.authorization.Authorizer::path(string) kubernetes.authorization.PathCheck",
        |_, a| {
            Ok(Value::Opaque(Opaque::PathCheck(with(&a[0], &a[1], |check| {
                &mut check.path
            })?)))
        },
    ),
    (
        "kubernetes.authorization.Authorizer::group(string) kubernetes.authorization.GroupCheck",
        |_, a| {
            Ok(Value::Opaque(Opaque::GroupCheck(with(&a[0], &a[1], |check| {
                &mut check.group
            })?)))
        },
    ),
    (
        "kubernetes.authorization.Authorizer::serviceAccount(string, string) kubernetes.authorization.Authorizer",
        |_, a| {
            let mut check = of(&a[0])?.as_ref().clone();
            check.account = Some((text(&a[1])?.to_owned(), text(&a[2])?.to_owned()));
            Ok(Value::Opaque(Opaque::Authorizer(Arc::new(check))))
        },
    ),
    (
        "kubernetes.authorization.GroupCheck::resource(string) kubernetes.authorization.ResourceCheck",
        |_, a| resource(a, |check| &mut check.resource),
    ),
    (
        "kubernetes.authorization.ResourceCheck::subresource(string) kubernetes.authorization.ResourceCheck",
        |_, a| resource(a, |check| &mut check.subresource),
    ),
    (
        "kubernetes.authorization.ResourceCheck::namespace(string) kubernetes.authorization.ResourceCheck",
        |_, a| resource(a, |check| &mut check.namespace),
    ),
    (
        "kubernetes.authorization.ResourceCheck::name(string) kubernetes.authorization.ResourceCheck",
        |_, a| resource(a, |check| &mut check.name),
    ),
    (
        "kubernetes.authorization.ResourceCheck::fieldSelector(string) kubernetes.authorization.ResourceCheck",
        |_, a| resource(a, |check| &mut check.field_selector),
    ),
    (
        "kubernetes.authorization.ResourceCheck::labelSelector(string) kubernetes.authorization.ResourceCheck",
        |_, a| resource(a, |check| &mut check.label_selector),
    ),
    (
        "kubernetes.authorization.PathCheck::check(string) kubernetes.authorization.Decision",
        ask,
    ),
    (
        "kubernetes.authorization.ResourceCheck::check(string) kubernetes.authorization.Decision",
        ask,
    ),
    ("kubernetes.authorization.Decision::allowed() bool", |_, a| {
        Ok(Value::Bool(decision(&a[0])?.allowed))
    }),
    ("kubernetes.authorization.Decision::reason() string", |_, a| {
        string(decision(&a[0])?.reason.clone())
    }),
    ("kubernetes.authorization.Decision::errored() bool", |_, a| {
        Ok(Value::Bool(decision(&a[0])?.error.is_some()))
    }),
    ("kubernetes.authorization.Decision::error() string", |_, a| {
        string(decision(&a[0])?.error.clone().unwrap_or_default())
    }),
];

fn of<'v>(value: &'v Value<'_>) -> Result<&'v Arc<Check>, Error> {
    match value {
        Value::Opaque(
            Opaque::Authorizer(check)
            | Opaque::PathCheck(check)
            | Opaque::GroupCheck(check)
            | Opaque::ResourceCheck(check),
        ) => Ok(check),
        _ => Err(Error::no_such_overload()),
    }
}

/// The check with one more thing said.
fn with(
    value: &Value<'_>,
    said: &Value<'_>,
    part: fn(&mut Check) -> &mut String,
) -> Result<Arc<Check>, Error> {
    let mut check = of(value)?.as_ref().clone();
    *part(&mut check) = text(said)?.to_owned();
    Ok(Arc::new(check))
}

fn resource<'a>(a: &[Value<'a>], part: fn(&mut Check) -> &mut String) -> Result<Value<'a>, Error> {
    Ok(Value::Opaque(Opaque::ResourceCheck(with(&a[0], &a[1], part)?)))
}

fn ask<'a>(context: &mut Context<'a>, a: &[Value<'a>]) -> Result<Value<'a>, Error> {
    context.budget.spend(STEPS)?;
    let check = of(&a[0])?;
    let decision = match context.authorizer {
        Some(authorizer) => authorizer.decide(check, text(&a[1])?),
        None => Decision {
            error: Some("there is no authorizer here".to_owned()),
            ..Decision::default()
        },
    };
    Ok(Value::Opaque(Opaque::Decision(Arc::new(decision))))
}

fn decision<'v>(value: &'v Value<'_>) -> Result<&'v Decision, Error> {
    match value {
        Value::Opaque(Opaque::Decision(decision)) => Ok(decision),
        _ => Err(Error::no_such_overload()),
    }
}
