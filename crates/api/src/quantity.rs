//! Resource quantities (`100m`, `1.5Gi`, `12e6`): exact decimal arithmetic and the canonical spelling.
//!
//! A value is kept as a whole number of nano units in an `i128`, so nothing is ever rounded except where
//! Kubernetes itself rounds: below a nano, and when asked for whole units.

mod read;

use std::fmt;
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use read::{DECIMAL_CAP, read};
use thiserror::Error;

const NANO: i128 = 1_000_000_000;

/// The family of suffix a quantity was written with; kept when it is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `n u m "" k M G T P E`
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`
    BinarySi,
    /// `e3`, `E-6`
    DecimalExponent,
}

/// Why a text is no quantity. The texts are upstream's, since users search for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QuantityError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Malformed,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An exact amount of something, in nano units, and how it was written, which makes no difference when amounts are compared.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    nanos: i128,
    format: Format,
}

impl Default for Amount {
    fn default() -> Self {
        Amount::ZERO
    }
}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Amount {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl PartialEq for Amount {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Amount {}

impl std::hash::Hash for Amount {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

impl Amount {
    /// Nothing of it, written `0`.
    pub const ZERO: Amount = Amount {
        nanos: 0,
        format: Format::DecimalSi,
    };

    /// One of something that is counted.
    pub const ONE: Amount = Amount {
        nanos: NANO,
        format: Format::DecimalSi,
    };

    /// `units` whole units in the decimal family.
    pub fn from_units(units: i64) -> Amount {
        Amount {
            nanos: i128::from(units) * NANO,
            format: Format::DecimalSi,
        }
    }

    /// `units` whole units (bytes, usually) in the binary family.
    pub fn from_bytes(units: i64) -> Amount {
        Amount {
            nanos: i128::from(units) * NANO,
            format: Format::BinarySi,
        }
    }

    /// `milli` thousandths.
    pub fn from_milli(milli: i64) -> Amount {
        Amount {
            nanos: i128::from(milli) * (NANO / 1000),
            format: Format::DecimalSi,
        }
    }

    /// The amount in nano units.
    pub fn nanos(self) -> i128 {
        self.nanos
    }

    /// The amount in units, as near as a float comes.
    pub fn approximate(self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// The suffix family.
    pub fn format(self) -> Format {
        self.format
    }

    /// Whole units, rounded away from zero, cut to `i64`.
    pub fn value(self) -> i64 {
        clamp_i64(div_away(self.nanos, NANO))
    }

    /// Thousandths, rounded away from zero, cut to `i64`.
    pub fn milli_value(self) -> i64 {
        clamp_i64(div_away(self.nanos, NANO / 1000))
    }

    /// The next whole number of units, away from zero.
    #[must_use]
    pub fn rounded_up(self) -> Amount {
        Amount {
            nanos: div_away(self.nanos, NANO).saturating_mul(NANO),
            format: self.format,
        }
    }

    /// True for every spelling of nothing.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// True below zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// True if it is a whole number of units.
    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }

    /// Sum; keeps the format of the first non-zero operand, as upstream does.
    #[must_use]
    pub fn plus(self, other: Amount) -> Amount {
        let format = if self.is_zero() { other.format } else { self.format };
        Amount {
            nanos: self.nanos.saturating_add(other.nanos),
            format,
        }
    }

    /// Difference; keeps the format of the first non-zero operand.
    #[must_use]
    pub fn minus(self, other: Amount) -> Amount {
        let format = if self.is_zero() { other.format } else { self.format };
        Amount {
            nanos: self.nanos.saturating_sub(other.nanos),
            format,
        }
    }

    /// The larger of both by amount.
    #[must_use]
    pub fn at_least(self, other: Amount) -> Amount {
        if other > self { other } else { self }
    }

    /// The object field that says this amount, canonically.
    pub fn to_quantity(self) -> Quantity {
        Quantity(self.to_string())
    }
}

impl From<Amount> for Quantity {
    fn from(amount: Amount) -> Self {
        amount.to_quantity()
    }
}

impl FromStr for Amount {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text)
    }
}

impl fmt::Display for Amount {
    /// The canonical form: no fraction, and the largest suffix of the family that loses nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        match self.format {
            // Small amounts and fractions are written as decimals, which lose nothing.
            Format::BinarySi
                if self.nanos.unsigned_abs() >= 1024 * NANO.unsigned_abs() && self.nanos % NANO == 0 =>
            {
                let mut units = self.nanos / NANO;
                let mut power = 0;
                while units % 1024 == 0 && power < BINARY.len() - 1 {
                    units /= 1024;
                    power += 1;
                }
                write!(f, "{units}{}", BINARY[power])
            }
            Format::DecimalExponent => {
                let (mantissa, exponent) = thousands(self.nanos, i32::MAX);
                match exponent {
                    0 => write!(f, "{mantissa}"),
                    e => write!(f, "{mantissa}e{e}"),
                }
            }
            Format::DecimalSi | Format::BinarySi => {
                let (mantissa, exponent) = thousands(self.nanos, 18);
                write!(f, "{mantissa}{}", decimal_suffix(exponent))
            }
        }
    }
}

const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

fn decimal_suffix(exponent: i32) -> &'static str {
    DECIMAL
        .iter()
        .find(|(_, e)| *e == exponent)
        .map_or("", |(s, _)| s)
}

/// Splits nanos into mantissa and the largest multiple-of-three exponent not above `limit`.
fn thousands(nanos: i128, limit: i32) -> (i128, i32) {
    let (mut mantissa, mut exponent) = (nanos, -9);
    while mantissa % 1000 == 0 && exponent + 3 <= limit && mantissa != 0 {
        mantissa /= 1000;
        exponent += 3;
    }
    (mantissa, exponent)
}

fn div_away(n: i128, d: i128) -> i128 {
    let q = n / d;
    if n % d == 0 { q } else { q + n.signum() }
}

fn clamp_i64(n: i128) -> i64 {
    i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX })
}

/// Reads a quantity.
pub fn parse(text: &str) -> Result<Amount, QuantityError> {
    read(text).map(|(_, _, amount)| amount)
}

/// The canonical spelling of a quantity (`0.1` → `100m`, `1024Mi` → `1Gi`); upstream takes some others for canonical, too
/// (`1.125`, `+3`), and people compare what they wrote with what they read.
pub fn canonical(text: &str) -> Result<String, QuantityError> {
    let (parts, scale, amount) = read(text)?;
    let is_cut = amount.nanos.abs() == DECIMAL_CAP;
    Ok(match parts.is_kept(scale) || is_cut {
        true => text.to_owned(),
        false => amount.to_string(),
    })
}

/// Canonicalises a quantity in place; a text that is none stays as it is for validation to report.
pub fn canonicalize(quantity: &mut Quantity) {
    if let Ok(text) = canonical(&quantity.0) {
        quantity.0 = text;
    }
}

/// The amount of a field; what does not parse counts as nothing (validation refuses it earlier).
pub fn amount(quantity: &Quantity) -> Amount {
    parse(&quantity.0).unwrap_or(Amount::ZERO)
}

/// Thousandths of a quantity, rounded up; 0 if it does not parse.
pub fn milli_value(quantity: &Quantity) -> i64 {
    amount(quantity).milli_value()
}

/// Whole units of a quantity, rounded up; 0 if it does not parse.
pub fn value(quantity: &Quantity) -> i64 {
    amount(quantity).value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_forms_follow_the_contract() {
        for (given, want) in [
            ("0.1", "100m"),
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("128974848", "128974848"),
            ("0", "0"),
            ("0Gi", "0"),
            ("-0", "0"),
            ("00.500", "500m"),
            ("1.", "1."),
            ("1.125", "1.125"),
            ("1.250", "1.250"),
            ("1.5000", "1500m"),
            ("0.125", "125m"),
            ("123456.789M", "123456.789M"),
            ("007", "007"),
            ("12e+6", "12e+6"),
            ("+5Mi", "+5Mi"),
            ("+8Mi", "8Mi"),
            ("Gi", "0"),
            (".", "0"),
            ("-", "0"),
            (".5", "500m"),
            ("+3", "+3"),
            ("+3000", "3k"),
            ("-3m", "-3m"),
            ("1500m", "1500m"),
            ("1.5Gi", "1536Mi"),
            ("1.7Gi", "1825361100800m"),
            ("1.5Ki", "1536"),
            ("0.5Ki", "512"),
            ("0.1Ki", "102400m"),
            ("1023", "1023"),
            ("1000k", "1M"),
            ("1e3", "1e3"),
            ("1E3", "1E3"),
            ("12e6", "12e6"),
            ("1200e4", "12e6"),
            ("1e-3", "1e-3"),
            ("100E", "100E"),
            ("1000E", "1000E"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("0.0000000001", "1n"),
            ("16Ei", "9223372036854775807"),
            ("9223372036854775808", "9223372036854775808"),
            ("470981625.285991453273Ki", "482285184292855248152n"),
            ("1e1000", "1e1000"),
        ] {
            assert_eq!(canonical(given).unwrap(), want, "{given}");
        }
        assert!(parse("1e1000").unwrap() > parse("9223372036854775808").unwrap());
    }

    #[test]
    fn malformed_texts_are_refused() {
        for bad in [
            "", " ", "a", "1.1.1", "1+1", "1 ", " 1", "0x10", "1e", "1E+", "1\u{0}", "é",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(parse("1KiB"), Err(QuantityError::Malformed));
        assert_eq!(parse("1mi"), Err(QuantityError::Suffix));
        assert_eq!(parse("1K"), Err(QuantityError::Suffix));
        assert_eq!(parse("--1"), Err(QuantityError::Suffix));
        assert_eq!(parse("1e9223372036854775808"), Err(QuantityError::Suffix));
    }

    #[test]
    fn values_round_away_from_zero() {
        let q = |s: &str| Quantity(s.into());
        assert_eq!(milli_value(&q("100m")), 100);
        assert_eq!(milli_value(&q("0.0001")), 1);
        assert_eq!(milli_value(&q("-0.0001")), -1);
        assert_eq!(value(&q("1m")), 1);
        assert_eq!(value(&q("1Gi")), 1 << 30);
        assert_eq!(value(&q("1000E")), i64::MAX);
        assert_eq!(value(&q("nonsense")), 0);
    }

    #[test]
    fn amounts_are_alike_however_they_are_written() {
        let q = |text: &str| parse(text).unwrap();
        for (a, b) in [("1Gi", "1073741824"), ("1", "1000m"), ("1e3", "1k"), ("0", "0Ki")] {
            assert_eq!(q(a), q(b));
            assert!(q(a) <= q(b) && q(a) >= q(b), "{a} {b}");
        }
        assert!(q("1Gi") > q("1G") && q("1m") > q("0Gi"));
    }

    #[test]
    fn sums_keep_the_first_spelling() {
        let a = parse("1Gi").unwrap().plus(parse("1000").unwrap());
        assert_eq!(a.to_string(), "1073742824");
        assert_eq!(a.format(), Format::BinarySi);
        assert_eq!(Amount::ZERO.plus(parse("1Ki").unwrap()).to_string(), "1Ki");
    }

    proptest! {
        #[test]
        fn canonical_is_a_fixed_point_and_keeps_the_amount(
            whole in 0u64..10_000_000_000, frac in "[0-9]{0,6}",
            suffix in prop::sample::select(vec!["n","u","m","","k","M","G","T","Ki","Mi","Gi","e3","E-3","e0"]),
            sign in prop::sample::select(vec!["", "-", "+"]),
        ) {
            let text = format!("{sign}{whole}.{frac}{suffix}");
            let first = parse(&text).unwrap();
            let spelled = first.to_string();
            let again = parse(&spelled).unwrap();
            prop_assert_eq!(again.to_string(), spelled.clone());
            prop_assert_eq!(again.nanos(), first.nanos());
        }

        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = canonical(&text);
        }

        #[test]
        fn parsing_long_numbers_never_panics(text in "[+-]?[0-9.]{0,80}[eEinumkKMGTP]{0,2}[-+]?[0-9]{0,12}") {
            let _ = canonical(&text);
        }
    }
}
