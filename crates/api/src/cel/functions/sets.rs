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
    let (left, right) = (list(&a[0])?, list(&a[1])?);
    // Items that no mark tells apart are compared one by one: this is the most that can be.
    let pairs = (left.len() as u64).saturating_mul(right.len() as u64);
    let both = a[0].weight().saturating_add(a[1].weight());
    context.budget.look(both.saturating_add(pairs))?;
    Ok((left, right))
}
