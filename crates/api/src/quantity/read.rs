//! From a quantity's text to its amount.

use super::{Amount, BINARY, DECIMAL, Format, NANO, QuantityError};

/// Largest magnitude in the binary family before it is cut (contract: quantities are capped, not refused).
const BINARY_CAP: i128 = i64::MAX as i128 * NANO;
/// The same in the other families: more than anybody has.
pub(super) const DECIMAL_CAP: i128 = i128::MAX;
/// A decimal of more digits than these is always written anew, and a binary number of so many or more.
const KEPT_DIGITS_MAX: usize = 18;
const KEPT_BINARY_DIGITS: usize = 14;
/// No meaningful quantity is longer; guards against megabytes of digits.
const TEXT_LIMIT_BYTES: usize = 256;

/// A quantity, and how it is written.
pub(super) fn read(text: &str) -> Result<(Parts<'_>, Scale, Amount), QuantityError> {
    let parts = Parts::of(text).ok_or(QuantityError::Malformed)?;
    let (format, scale) = read_suffix(parts.suffix)?;
    let nanos = to_nanos(
        parts.whole.trim_start_matches('0'),
        parts.fraction.trim_end_matches('0'),
        scale,
    );
    let nanos = if parts.is_negative { -nanos } else { nanos };
    Ok((parts, scale, Amount { nanos, format }))
}

/// A quantity's text, cut in pieces.
pub(super) struct Parts<'a> {
    is_negative: bool,
    /// Digits, maybe none: a number without any is nothing.
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        if text.is_empty() || text.len() > TEXT_LIMIT_BYTES {
            return None;
        }
        let digits = |text: &'a str| {
            let end = text.find(|c: char| !c.is_ascii_digit());
            text.split_at(end.unwrap_or(text.len()))
        };
        let (is_negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, rest) = digits(rest);
        let (fraction, suffix) = rest.strip_prefix('.').map_or(("", rest), digits);
        let exponent = suffix.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        exponent
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(Self {
                is_negative,
                whole,
                fraction,
                suffix,
            })
    }

    /// Whether it is kept as it is written, though it might be written shorter or without a sign: what has neither a needless
    /// factor nor a fraction that the family's suffixes don't step by.
    pub(super) fn is_kept(&self, scale: Scale) -> bool {
        let whole = self.whole.trim_start_matches('0');
        match scale {
            Scale::Ten(exponent) => {
                let Ok(places) = i32::try_from(self.fraction.len()) else {
                    return false;
                };
                let scale = exponent - places;
                let is_short = whole.len() + self.fraction.len() <= KEPT_DIGITS_MAX;
                let digits = whole.bytes().chain(self.fraction.bytes());
                let has_factor = digits.rev().take(3).filter(|digit| *digit == b'0').count() == 3;
                is_short && scale >= -9 && scale % 3 == 0 && !whole.is_empty() && !has_factor
            }
            Scale::Two(power) => {
                let digits = whole.len() + power as usize * 3 / 10;
                let is_short = digits <= KEPT_BINARY_DIGITS && self.fraction.is_empty();
                is_short && whole.parse::<u64>().is_ok_and(|units| units % 8 != 0)
            }
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum Scale {
    Ten(i32),
    Two(u32),
}

fn read_suffix(suffix: &str) -> Result<(Format, Scale), QuantityError> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        return Ok((Format::DecimalSi, Scale::Ten(*exponent)));
    }
    if let Some(power) = BINARY.iter().position(|s| *s == suffix) {
        return Ok((Format::BinarySi, Scale::Two(10 * power as u32)));
    }
    if let Some(digits) = suffix.strip_prefix(['e', 'E']) {
        let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
        if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
            let exponent = digits.parse::<i64>().map_err(|_| QuantityError::Suffix)?;
            // Beyond these the value is the smallest or the largest there is.
            let exponent = i32::try_from(exponent.clamp(-1000, 1000)).unwrap_or_default();
            return Ok((Format::DecimalExponent, Scale::Ten(exponent)));
        }
    }
    Err(QuantityError::Suffix)
}

/// Magnitude in nano units, rounded up, capped.
fn to_nanos(whole: &str, fraction: &str, scale: Scale) -> i128 {
    // What a binary scale multiplies by must still fit.
    let (fraction_max, cap) = match scale {
        Scale::Ten(_) => (i128::MAX / 100, DECIMAL_CAP),
        Scale::Two(power) => ((i128::MAX / 100) >> power, BINARY_CAP),
    };
    let mut mantissa: i128 = 0;
    for b in whole.bytes() {
        match mantissa
            .checked_mul(10)
            .and_then(|m| m.checked_add(i128::from(b - b'0')))
        {
            Some(m) => mantissa = m,
            None => return cap,
        }
    }
    let mut places: i32 = 0;
    let mut lost = false;
    for b in fraction.bytes() {
        if lost || mantissa >= fraction_max {
            lost |= b != b'0';
            continue;
        }
        mantissa = mantissa * 10 + i128::from(b - b'0');
        places += 1;
    }
    if mantissa == 0 && !lost {
        return 0;
    }
    match scale {
        Scale::Ten(exponent) => {
            let shift = exponent.saturating_add(9).saturating_sub(places);
            let nanos = if shift >= 0 {
                pow10(shift).and_then(|p| mantissa.checked_mul(p))
            } else {
                Some(match pow10(-shift) {
                    Some(p) => mantissa / p + i128::from(mantissa % p != 0 || lost),
                    None => 1,
                })
            };
            nanos.unwrap_or(cap)
        }
        Scale::Two(power) => {
            let Some(scaled) = mantissa.checked_mul(1i128 << power) else {
                return cap;
            };
            let shift = 9 - places;
            let nanos = if shift >= 0 {
                pow10(shift).and_then(|p| scaled.checked_mul(p))
            } else {
                Some(match pow10(-shift) {
                    Some(p) => scaled / p + i128::from(scaled % p != 0 || lost),
                    None => 1,
                })
            };
            nanos.unwrap_or(cap).min(cap)
        }
    }
}

fn pow10(exponent: i32) -> Option<i128> {
    u32::try_from(exponent).ok().and_then(|e| 10i128.checked_pow(e))
}
