//! Resource quantities.
use super::Table;
use super::arguments::{int, text};
use crate::cel::budget::Error;
use crate::cel::opaque::Opaque;
use crate::cel::value::Value;
use crate::quantity::{Amount, Format};
use std::cmp::Ordering;

/// From here on, amounts with binary units are counted in large numbers.
const BINARY_LIMIT: i64 = 1 << 50;
const NANO: i128 = 1_000_000_000;

pub const TABLE: Table = &[
    ("quantity(string) kubernetes.Quantity", |_, a| {
        let amount: Amount = text(&a[0])?
            .parse()
            .map_err(|error| Error::failed(format!("{error}")))?;
        Ok(Value::Opaque(Opaque::Quantity(amount)))
    }),
    ("isQuantity(string) bool", |_, a| {
        Ok(Value::Bool(text(&a[0])?.parse::<Amount>().is_ok()))
    }),
    ("sign(kubernetes.Quantity) int", |_, a| {
        Ok(Value::Int(amount(&a[0])?.nanos().signum() as i64))
    }),
    ("kubernetes.Quantity::isInteger() bool", |_, a| {
        Ok(Value::Bool(whole(amount(&a[0])?).is_some()))
    }),
    ("kubernetes.Quantity::asInteger() int", |_, a| {
        whole(amount(&a[0])?)
            .map(Value::Int)
            .ok_or_else(|| Error::failed("cannot convert value to integer"))
    }),
    ("kubernetes.Quantity::asApproximateFloat() double", |_, a| {
        Ok(Value::Double(amount(&a[0])?.approximate()))
    }),
    (
        "kubernetes.Quantity::isGreaterThan(kubernetes.Quantity) bool",
        |_, a| Ok(Value::Bool(compare(a)? == Ordering::Greater)),
    ),
    (
        "kubernetes.Quantity::isLessThan(kubernetes.Quantity) bool",
        |_, a| Ok(Value::Bool(compare(a)? == Ordering::Less)),
    ),
    (
        "kubernetes.Quantity::compareTo(kubernetes.Quantity) int",
        |_, a| Ok(Value::Int(compare(a)? as i64)),
    ),
    (
        "kubernetes.Quantity::add(kubernetes.Quantity) kubernetes.Quantity",
        |_, a| {
            Ok(Value::Opaque(Opaque::Quantity(
                amount(&a[0])?.plus(amount(&a[1])?),
            )))
        },
    ),
    ("kubernetes.Quantity::add(int) kubernetes.Quantity", |_, a| {
        Ok(Value::Opaque(Opaque::Quantity(
            amount(&a[0])?.plus(Amount::from_units(int(&a[1])?)),
        )))
    }),
    (
        "kubernetes.Quantity::sub(kubernetes.Quantity) kubernetes.Quantity",
        |_, a| {
            Ok(Value::Opaque(Opaque::Quantity(
                amount(&a[0])?.minus(amount(&a[1])?),
            )))
        },
    ),
    ("kubernetes.Quantity::sub(int) kubernetes.Quantity", |_, a| {
        Ok(Value::Opaque(Opaque::Quantity(
            amount(&a[0])?.minus(Amount::from_units(int(&a[1])?)),
        )))
    }),
];

fn amount(value: &Value<'_>) -> Result<Amount, Error> {
    match value {
        Value::Opaque(Opaque::Quantity(amount)) => Ok(*amount),
        _ => Err(Error::no_such_overload()),
    }
}

/// As an integer. Large amounts are none to upstream, which counts them otherwise.
fn whole(amount: Amount) -> Option<i64> {
    let limit = match amount.format() {
        Format::BinarySi => BINARY_LIMIT,
        Format::DecimalSi | Format::DecimalExponent => i64::MAX,
    };
    let whole = amount
        .is_whole()
        .then(|| i64::try_from(amount.nanos() / NANO).ok());
    whole
        .flatten()
        .filter(|whole| whole.unsigned_abs() < limit.unsigned_abs())
}

fn compare(a: &[Value<'_>]) -> Result<Ordering, Error> {
    Ok(amount(&a[0])?.cmp(&amount(&a[1])?))
}
