//! `+ - * / %`, comparisons, `in`, `!`.
use super::arguments::{list, map, text};
use super::{Context, Table};
use crate::cel::budget::Error;
use crate::cel::value::{Key, List, Value};
use std::borrow::Cow;
use std::cmp::Ordering;

pub const TABLE: Table = &[
    ("_==_(A, A) bool", |context, a| equal(context, a).map(Value::Bool)),
    ("_!=_(A, A) bool", |context, a| {
        equal(context, a).map(|same| Value::Bool(!same))
    }),
    ("!_(bool) bool", |_, a| match &a[0] {
        Value::Bool(value) => Ok(Value::Bool(!value)),
        _ => Err(Error::no_such_overload()),
    }),
    ("-_(int) int", |_, a| match &a[0] {
        Value::Int(value) => value.checked_neg().map(Value::Int).ok_or_else(int_overflow),
        _ => Err(Error::no_such_overload()),
    }),
    ("-_(double) double", |_, a| match &a[0] {
        Value::Double(value) => Ok(Value::Double(-value)),
        _ => Err(Error::no_such_overload()),
    }),
    ("_+_(int, int) int", arithmetic::<'+'>),
    ("_+_(uint, uint) uint", arithmetic::<'+'>),
    ("_+_(double, double) double", arithmetic::<'+'>),
    ("_-_(int, int) int", arithmetic::<'-'>),
    ("_-_(uint, uint) uint", arithmetic::<'-'>),
    ("_-_(double, double) double", arithmetic::<'-'>),
    ("_*_(int, int) int", arithmetic::<'*'>),
    ("_*_(uint, uint) uint", arithmetic::<'*'>),
    ("_*_(double, double) double", arithmetic::<'*'>),
    ("_/_(int, int) int", arithmetic::<'/'>),
    ("_/_(uint, uint) uint", arithmetic::<'/'>),
    ("_/_(double, double) double", arithmetic::<'/'>),
    ("_%_(int, int) int", arithmetic::<'%'>),
    ("_%_(uint, uint) uint", arithmetic::<'%'>),
    ("_+_(string, string) string", |context, a| {
        let (left, right) = (text(&a[0])?, text(&a[1])?);
        context.budget.look((left.len() + right.len()) as u64)?;
        Ok(Value::string(format!("{left}{right}")))
    }),
    ("_+_(bytes, bytes) bytes", |context, a| match (&a[0], &a[1]) {
        (Value::Bytes(left), Value::Bytes(right)) => {
            context.budget.look((left.len() + right.len()) as u64)?;
            Ok(Value::Bytes(Cow::Owned([left.as_ref(), right.as_ref()].concat())))
        }
        _ => Err(Error::no_such_overload()),
    }),
    ("_+_(list<A>, list<A>) list<A>", |context, a| {
        let (left, right) = (list(&a[0])?, list(&a[1])?);
        context.budget.spend((left.len() + right.len()) as u64 + 1)?;
        join(context, left, right)
    }),
    ("_<_(bool, bool) bool", compare::<'<'>),
    ("_<_(int, int) bool", compare::<'<'>),
    ("_<_(uint, uint) bool", compare::<'<'>),
    ("_<_(double, double) bool", compare::<'<'>),
    ("_<_(int, uint) bool", compare::<'<'>),
    ("_<_(uint, int) bool", compare::<'<'>),
    ("_<_(int, double) bool", compare::<'<'>),
    ("_<_(double, int) bool", compare::<'<'>),
    ("_<_(uint, double) bool", compare::<'<'>),
    ("_<_(double, uint) bool", compare::<'<'>),
    ("_<_(string, string) bool", compare::<'<'>),
    ("_<_(bytes, bytes) bool", compare::<'<'>),
    ("_<_(timestamp, timestamp) bool", compare::<'<'>),
    ("_<_(duration, duration) bool", compare::<'<'>),
    ("_<=_(bool, bool) bool", compare::<'l'>),
    ("_<=_(int, int) bool", compare::<'l'>),
    ("_<=_(uint, uint) bool", compare::<'l'>),
    ("_<=_(double, double) bool", compare::<'l'>),
    ("_<=_(int, uint) bool", compare::<'l'>),
    ("_<=_(uint, int) bool", compare::<'l'>),
    ("_<=_(int, double) bool", compare::<'l'>),
    ("_<=_(double, int) bool", compare::<'l'>),
    ("_<=_(uint, double) bool", compare::<'l'>),
    ("_<=_(double, uint) bool", compare::<'l'>),
    ("_<=_(string, string) bool", compare::<'l'>),
    ("_<=_(bytes, bytes) bool", compare::<'l'>),
    ("_<=_(timestamp, timestamp) bool", compare::<'l'>),
    ("_<=_(duration, duration) bool", compare::<'l'>),
    ("_>_(bool, bool) bool", compare::<'>'>),
    ("_>_(int, int) bool", compare::<'>'>),
    ("_>_(uint, uint) bool", compare::<'>'>),
    ("_>_(double, double) bool", compare::<'>'>),
    ("_>_(int, uint) bool", compare::<'>'>),
    ("_>_(uint, int) bool", compare::<'>'>),
    ("_>_(int, double) bool", compare::<'>'>),
    ("_>_(double, int) bool", compare::<'>'>),
    ("_>_(uint, double) bool", compare::<'>'>),
    ("_>_(double, uint) bool", compare::<'>'>),
    ("_>_(string, string) bool", compare::<'>'>),
    ("_>_(bytes, bytes) bool", compare::<'>'>),
    ("_>_(timestamp, timestamp) bool", compare::<'>'>),
    ("_>_(duration, duration) bool", compare::<'>'>),
    ("_>=_(bool, bool) bool", compare::<'g'>),
    ("_>=_(int, int) bool", compare::<'g'>),
    ("_>=_(uint, uint) bool", compare::<'g'>),
    ("_>=_(double, double) bool", compare::<'g'>),
    ("_>=_(int, uint) bool", compare::<'g'>),
    ("_>=_(uint, int) bool", compare::<'g'>),
    ("_>=_(int, double) bool", compare::<'g'>),
    ("_>=_(double, int) bool", compare::<'g'>),
    ("_>=_(uint, double) bool", compare::<'g'>),
    ("_>=_(double, uint) bool", compare::<'g'>),
    ("_>=_(string, string) bool", compare::<'g'>),
    ("_>=_(bytes, bytes) bool", compare::<'g'>),
    ("_>=_(timestamp, timestamp) bool", compare::<'g'>),
    ("_>=_(duration, duration) bool", compare::<'g'>),
    ("_in_(A, list<A>) bool", |context, a| {
        context.budget.look(a[1].weight())?;
        Ok(Value::Bool(list(&a[1])?.contains(&a[0])))
    }),
    ("_in_(A, map<A, B>) bool", |_, a| {
        let map = map(&a[1])?;
        Ok(Value::Bool(
            Key::of(&a[0]).is_ok_and(|key| map.get(&key).is_some()),
        ))
    }),
];

fn int_overflow() -> Error {
    Error::failed("integer overflow")
}

fn equal(context: &mut Context<'_>, a: &[Value<'_>]) -> Result<bool, Error> {
    context.budget.look(a[0].lighter(&a[1]))?;
    Ok(a[0].equals(&a[1]))
}

fn compare<'a, const OPERATOR: char>(context: &mut Context<'a>, a: &[Value<'a>]) -> Result<Value<'a>, Error> {
    context.budget.look(a[0].lighter(&a[1]))?;
    let Some(order) = a[0].compare(&a[1]) else {
        let nan = |value: &Value<'_>| matches!(value, Value::Double(value) if value.is_nan());
        return if nan(&a[0]) || nan(&a[1]) {
            Ok(Value::Bool(false))
        } else {
            Err(Error::no_such_overload())
        };
    };
    Ok(Value::Bool(match OPERATOR {
        '<' => order == Ordering::Less,
        'l' => order != Ordering::Greater,
        '>' => order == Ordering::Greater,
        _ => order != Ordering::Less,
    }))
}

fn arithmetic<'a, const OPERATOR: char>(_: &mut Context<'a>, a: &[Value<'a>]) -> Result<Value<'a>, Error> {
    match (&a[0], &a[1]) {
        (Value::Int(left), Value::Int(right)) => {
            let (left, right) = (*left, *right);
            let result = match OPERATOR {
                '+' => left.checked_add(right),
                '-' => left.checked_sub(right),
                '*' => left.checked_mul(right),
                '/' if right == 0 => return Err(Error::failed("division by zero")),
                '/' => left.checked_div(right),
                _ if right == 0 => return Err(Error::failed("modulus by zero")),
                _ => left.checked_rem(right),
            };
            result.map(Value::Int).ok_or_else(int_overflow)
        }
        (Value::Uint(left), Value::Uint(right)) => {
            let (left, right) = (*left, *right);
            let result = match OPERATOR {
                '+' => left.checked_add(right),
                '-' => left.checked_sub(right),
                '*' => left.checked_mul(right),
                '/' if right == 0 => return Err(Error::failed("division by zero")),
                '/' => left.checked_div(right),
                _ if right == 0 => return Err(Error::failed("modulus by zero")),
                _ => left.checked_rem(right),
            };
            result
                .map(Value::Uint)
                .ok_or_else(|| Error::failed("unsigned integer overflow"))
        }
        (Value::Double(left), Value::Double(right)) => Ok(Value::Double(match OPERATOR {
            '+' => left + right,
            '-' => left - right,
            '*' => left * right,
            '/' => left / right,
            _ => return Err(Error::no_such_overload()),
        })),
        _ => Err(Error::no_such_overload()),
    }
}

/// Lists one after the other. What is added to a set is not there twice; what is added to a map-like list takes the
/// place of what has its keys.
fn join<'a>(context: &mut Context<'a>, left: &List<'a>, right: &List<'a>) -> Result<Value<'a>, Error> {
    let mut items: Vec<Value<'a>> = left.iter().collect();
    let Some(keys) = left.keys() else {
        items.extend(right.iter());
        return Ok(Value::list(items));
    };
    for item in right.iter() {
        context.budget.look(items.len() as u64)?;
        let same = |other: &Value<'a>| match (other, &item) {
            (Value::Map(a), Value::Map(b)) if !keys.is_empty() => {
                keys.iter().all(|key| match (a.field(key), b.field(key)) {
                    (Some(a), Some(b)) => a.equals(&b),
                    (None, None) => true,
                    _ => false,
                })
            }
            (a, b) => a.equals(b),
        };
        match items.iter_mut().find(|other| same(other)) {
            Some(place) => *place = item,
            None => items.push(item),
        }
    }
    Ok(Value::list(items))
}
