//! Methods of lists.
use super::arguments::{count, int, list};
use super::{Context, Table};
use crate::cel::budget::Error;
use crate::cel::value::Value;
use std::cmp::Ordering;

pub const TABLE: Table = &[
    ("list<A>::isSorted() bool", |context, a| {
        let list = list(&a[0])?;
        context.budget.look(a[0].weight())?;
        let mut before: Option<Value<'_>> = None;
        for item in list.iter() {
            if let Some(before) = before.replace(item.clone())
                && before.compare(&item).ok_or_else(Error::no_such_overload)? == Ordering::Greater
            {
                return Ok(Value::Bool(false));
            }
        }
        Ok(Value::Bool(true))
    }),
    ("list<int>::sum() int", sum),
    ("list<uint>::sum() uint", sum),
    ("list<double>::sum() double", sum),
    ("list<duration>::sum() duration", sum),
    ("list<A>::min() A", |context, a| {
        extreme(context, a, "min", Ordering::Less)
    }),
    ("list<A>::max() A", |context, a| {
        extreme(context, a, "max", Ordering::Greater)
    }),
    ("list<A>::indexOf(A) int", |context, a| {
        context.budget.look(a[0].weight())?;
        let mut items = list(&a[0])?.iter();
        items
            .position(|item| item.equals(&a[1]))
            .map_or(Ok(Value::Int(-1)), count)
    }),
    ("list<A>::lastIndexOf(A) int", |context, a| {
        context.budget.look(a[0].weight())?;
        let items: Vec<Value<'_>> = list(&a[0])?.iter().collect();
        items
            .iter()
            .rposition(|item| item.equals(&a[1]))
            .map_or(Ok(Value::Int(-1)), count)
    }),
    ("list<A>::slice(int, int) list<A>", |context, a| {
        let (list, start, end) = (list(&a[0])?, int(&a[1])?, int(&a[2])?);
        context.budget.spend(list.len() as u64 + 1)?;
        let position = |at: i64| usize::try_from(at).ok().filter(|at| *at <= list.len());
        match (position(start), position(end)) {
            (Some(start), Some(end)) if start <= end => Ok(Value::list(
                (start..end).filter_map(|index| list.get(index)).collect(),
            )),
            _ => Err(Error::failed(format!(
                "cannot slice({start}, {end}), the list has {} elements",
                list.len()
            ))),
        }
    }),
    ("list<A>::flatten() list<dyn>", |context, a| {
        context.budget.look(a[0].weight())?;
        let mut items = Vec::new();
        for item in list(&a[0])?.iter() {
            match item {
                Value::List(inner) => items.extend(inner.iter()),
                item => items.push(item),
            }
        }
        Ok(Value::list(items))
    }),
    ("list<A>::reverse() list<A>", |context, a| {
        let list = list(&a[0])?;
        context.budget.spend(list.len() as u64 + 1)?;
        let mut items: Vec<Value<'_>> = list.iter().collect();
        items.reverse();
        Ok(Value::list(items))
    }),
    ("list<A>::distinct() list<A>", |context, a| {
        let mut items: Vec<Value<'_>> = Vec::new();
        for item in list(&a[0])?.iter() {
            context.budget.look(items.len() as u64)?;
            if !items.iter().any(|other| other.equals(&item)) {
                items.push(item);
            }
        }
        Ok(Value::list(items))
    }),
    ("list<A>::sort() list<A>", |context, a| {
        let mut items: Vec<Value<'_>> = list(&a[0])?.iter().collect();
        context.budget.look(
            a[0].weight()
                .saturating_mul(u64::from(usize::BITS - items.len().leading_zeros())),
        )?;
        if items.windows(2).any(|pair| pair[0].compare(&pair[1]).is_none()) {
            return Err(Error::failed("list elements must be comparable"));
        }
        items.sort_by(|a, b| a.compare(b).unwrap_or(Ordering::Equal));
        Ok(Value::list(items))
    }),
    ("list<A>::first() optional<A>", |_, a| {
        Ok(list(&a[0])?.get(0).map_or(Value::Optional(None), Value::some))
    }),
    ("list<A>::last() optional<A>", |_, a| {
        let list = list(&a[0])?;
        let last = list.len().checked_sub(1).and_then(|last| list.get(last));
        Ok(last.map_or(Value::Optional(None), Value::some))
    }),
    ("lists.range(int) list<int>", |context, a| {
        let count = int(&a[0])?.max(0);
        context.budget.spend(count as u64 + 1)?;
        Ok(Value::list((0..count).map(Value::Int).collect()))
    }),
];

fn sum<'a>(context: &mut Context<'a>, a: &[Value<'a>]) -> Result<Value<'a>, Error> {
    let list = list(&a[0])?;
    context.budget.spend(list.len() as u64 + 1)?;
    let overflow = || Error::failed("integer overflow");
    let mut total: Option<Value<'a>> = None;
    for item in list.iter() {
        total = Some(match (total, item) {
            (None, item) => item,
            (Some(Value::Int(a)), Value::Int(b)) => Value::Int(a.checked_add(b).ok_or_else(overflow)?),
            (Some(Value::Uint(a)), Value::Uint(b)) => Value::Uint(a.checked_add(b).ok_or_else(overflow)?),
            (Some(Value::Double(a)), Value::Double(b)) => Value::Double(a + b),
            (Some(Value::Duration(a)), Value::Duration(b)) => {
                Value::Duration(a.checked_add(b).ok_or_else(overflow)?)
            }
            _ => return Err(Error::no_such_overload()),
        });
    }
    Ok(total.unwrap_or(Value::Int(0)))
}

fn extreme<'a>(
    context: &mut Context<'a>,
    a: &[Value<'a>],
    name: &str,
    wanted: Ordering,
) -> Result<Value<'a>, Error> {
    context.budget.look(a[0].weight())?;
    let mut items = list(&a[0])?.iter();
    let mut best = items
        .next()
        .ok_or_else(|| Error::failed(format!("{name} called on empty list")))?;
    for item in items {
        if item.compare(&best).ok_or_else(Error::no_such_overload)? == wanted {
            best = item;
        }
    }
    Ok(best)
}
