//! Lists as sets.
use super::arguments::list;
use super::{Context, Table};
use crate::cel::budget::Error;
use crate::cel::unordered::{Items, within};
use crate::cel::value::{List, Value};

pub const TABLE: Table = &[
    ("sets.contains(list<A>, list<A>) bool", |context, a| {
        let (left, right) = pair(context, a)?;
        Ok(Value::Bool(within(right, left, &[])))
    }),
    ("sets.equivalent(list<A>, list<A>) bool", |context, a| {
        let (left, right) = pair(context, a)?;
        Ok(Value::Bool(within(right, left, &[]) && within(left, right, &[])))
    }),
    ("sets.intersects(list<A>, list<A>) bool", |context, a| {
        let (left, right) = pair(context, a)?;
        let right = Items::of(right, &[]);
        Ok(Value::Bool(left.iter().any(|item| right.contain(&item))))
    }),
];

fn pair<'v, 'a>(
    context: &mut Context<'a>,
    a: &'v [Value<'a>],
) -> Result<(&'v List<'a>, &'v List<'a>), Error> {
    context.budget.look(a[0].weight().saturating_add(a[1].weight()))?;
    Ok((list(&a[0])?, list(&a[1])?))
}
