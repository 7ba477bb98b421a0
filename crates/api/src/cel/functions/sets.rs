//! Lists as sets.
use super::arguments::list;
use super::{Context, Table};
use crate::cel::budget::Error;
use crate::cel::value::{List, Value};

pub const TABLE: Table = &[
    ("sets.contains(list<A>, list<A>) bool", |context, a| {
        let (left, right) = pair(context, a)?;
        Ok(Value::Bool(within(right, left)))
    }),
    ("sets.equivalent(list<A>, list<A>) bool", |context, a| {
        let (left, right) = pair(context, a)?;
        Ok(Value::Bool(within(right, left) && within(left, right)))
    }),
    ("sets.intersects(list<A>, list<A>) bool", |context, a| {
        let (left, right) = pair(context, a)?;
        let found = left.iter().any(|item| right.contains(&item));
        Ok(Value::Bool(found))
    }),
];

fn pair<'v, 'a>(
    context: &mut Context<'a>,
    a: &'v [Value<'a>],
) -> Result<(&'v List<'a>, &'v List<'a>), Error> {
    context.budget.look(a[0].weight().saturating_mul(a[1].weight()))?;
    Ok((list(&a[0])?, list(&a[1])?))
}

fn within(part: &List<'_>, whole: &List<'_>) -> bool {
    part.iter().all(|item| whole.contains(&item))
}
