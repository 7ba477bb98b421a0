//! Methods of lists.
use super::arguments::{count, int, list};
use super::{Context, Table};
use crate::cel::budget::Error;
use crate::cel::value::Value;
use std::cmp::Ordering;

pub const TABLE: Table = &[
    ("list<int>::isSorted() bool", is_sorted),
    ("list<uint>::isSorted() bool", is_sorted),
    ("list<double>::isSorted() bool", is_sorted),
    ("list<bool>::isSorted() bool", is_sorted),
    ("list<duration>::isSorted() bool", is_sorted),
    ("list<timestamp>::isSorted() bool", is_sorted),
    ("list<string>::isSorted() bool", is_sorted),
    ("list<bytes>::isSorted() bool", is_sorted),
    ("list<int>::sum() int", sum),
    ("list<uint>::sum() uint", sum),
    ("list<double>::sum() double", sum),
    ("list<duration>::sum() duration", sum),
    ("list<int>::min() int", min),
    ("list<uint>::min() uint", min),
    ("list<double>::min() double", min),
    ("list<bool>::min() bool", min),
    ("list<duration>::min() duration", min),
    ("list<timestamp>::min() timestamp", min),
    ("list<string>::min() string", min),
    ("list<bytes>::min() bytes", min),
    ("list<int>::max() int", max),
    ("list<uint>::max() uint", max),
    ("list<double>::max() double", max),
    ("list<bool>::max() bool", max),
    ("list<duration>::max() duration", max),
    ("list<timestamp>::max() timestamp", max),
    ("list<string>::max() string", max),
    ("list<bytes>::max() bytes", max),
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
            _ => {
                let why = if start < 0 || end < 0 {
                    "negative indexes not supported".to_owned()
                } else if start > end {
                    "start index must be less than or equal to end index".to_owned()
                } else {
                    format!("list is length {}", list.len())
                };
                Err(Error::failed(format!("cannot slice({start}, {end}), {why}")))
            }
        }
    }),
    ("list<A>::flatten() list<dyn>", |context, a| {
        flatten(context, a, 1)
    }),
    ("list<dyn>::flatten(int) list<dyn>", |context, a| {
        flatten(context, a, int(&a[1])?)
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
    ("list<int>::sort() list<int>", sort),
    ("list<uint>::sort() list<uint>", sort),
    ("list<double>::sort() list<double>", sort),
    ("list<bool>::sort() list<bool>", sort),
    ("list<duration>::sort() list<duration>", sort),
    ("list<timestamp>::sort() list<timestamp>", sort),
    ("list<string>::sort() list<string>", sort),
    ("list<bytes>::sort() list<bytes>", sort),
    ("list<A>::first() optional<A>", |_, a| {
        Ok(list(&a[0])?.get(0).map_or(Value::Optional(None), Value::some))
    }),
    ("list<A>::last() optional<A>", |_, a| {
        let list = list(&a[0])?;
        let last = list.len().checked_sub(1).and_then(|last| list.get(last));
        Ok(last.map_or(Value::Optional(None), Value::some))
    }),
    ("lists.range(int) list<int>", |context, a| {
        let count = int(&a[0])?;
        if count < 0 {
            let why = format!("lists.range: size must be non-negative, got {count}");
            return Err(Error::failed(why));
        }
        context.budget.spend(count as u64 + 1)?;
        Ok(Value::list((0..count).map(Value::Int).collect()))
    }),
];

fn is_sorted<'a>(context: &mut Context<'a>, a: &[Value<'a>]) -> Result<Value<'a>, Error> {
    context.budget.look(a[0].weight())?;
    let items: Vec<Value<'_>> = list(&a[0])?.iter().collect();
    for item in &items {
        if item.compare(item).is_none() {
            return Err(Error::failed("no such overload: isSorted(list)"));
        }
    }
    let falls = |pair: &[Value<'_>]| pair[0].compare(&pair[1]) == Some(Ordering::Greater);
    Ok(Value::Bool(!items.windows(2).any(falls)))
}

fn min<'a>(context: &mut Context<'a>, a: &[Value<'a>]) -> Result<Value<'a>, Error> {
    extreme(context, a, "min", Ordering::Less)
}

fn max<'a>(context: &mut Context<'a>, a: &[Value<'a>]) -> Result<Value<'a>, Error> {
    extreme(context, a, "max", Ordering::Greater)
}

fn sort<'a>(context: &mut Context<'a>, a: &[Value<'a>]) -> Result<Value<'a>, Error> {
    let mut items: Vec<Value<'_>> = list(&a[0])?.iter().collect();
    context.budget.look(
        a[0].weight()
            .saturating_mul(u64::from(usize::BITS - items.len().leading_zeros())),
    )?;
    Value::sort(&mut items, |item| item)?;
    Ok(Value::list(items))
}

/// The items of lists in a list, down to a depth.
fn flatten<'a>(context: &mut Context<'a>, a: &[Value<'a>], depth: i64) -> Result<Value<'a>, Error> {
    if depth < 0 {
        return Err(Error::failed("level must be non-negative"));
    }
    let mut items: Vec<Value<'a>> = list(&a[0])?.iter().collect();
    for _ in 0..depth {
        context.budget.look(a[0].weight())?;
        if !items.iter().any(|item| matches!(item, Value::List(_))) {
            break;
        }
        let lists = items.into_iter().map(|item| match item {
            Value::List(inner) => inner.iter().collect(),
            item => vec![item],
        });
        items = lists.flatten().collect();
    }
    Ok(Value::list(items))
}

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
        // Of what cannot be compared, the first counts.
        if item.compare(&best) == Some(wanted) {
            best = item;
        }
    }
    Ok(best)
}
