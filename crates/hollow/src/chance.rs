//! Numbers that look like chance and are the same for the same seed.

use std::fmt;
use std::str::FromStr;

/// A part of the whole: `1%`, `0.5%`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Share(f64);

impl Share {
    /// Of one.
    pub fn fraction(self) -> f64 {
        self.0
    }

    /// Whether it is nothing at all.
    pub fn is_zero(self) -> bool {
        self.0 <= 0.0
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent: f64 = text
            .trim_end_matches('%')
            .parse()
            .map_err(|_| format!("{text} is no share such as 1%"))?;
        // All nodes gone for good is what not starting them is for.
        if (0.0..100.0).contains(&percent) {
            Ok(Self(percent / 100.0))
        } else {
            Err(format!("{text} is not from 0% to less than 100%"))
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0 * 100.0)
    }
}

/// A number in [0, 1) that `seed` and what it is about (`parts`) determine.
#[expect(
    clippy::cast_precision_loss,
    reason = "53 bits are kept, as many as the number has"
)]
pub fn unit(seed: u64, parts: &[u64]) -> f64 {
    let mut state = seed;
    for part in parts {
        state = mix(state ^ mix(*part));
    }
    (mix(state) >> 11) as f64 / (1_u64 << 53) as f64
}

/// The finaliser of splitmix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages_below_all() {
        assert_eq!("1%".parse::<Share>().unwrap().fraction(), 0.01);
        assert_eq!("50".parse::<Share>().unwrap().fraction(), 0.5);
        for wrong in ["100%", "-1%", "some", "NaN"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn chance_depends_on_seed_and_parts_and_is_even() {
        assert_eq!(unit(1, &[2, 3]), unit(1, &[2, 3]));
        assert_ne!(unit(1, &[2, 3]), unit(1, &[3, 2]));
        let low = (0..10_000).filter(|n| unit(7, &[*n]) < 0.1).count();
        assert!((800..1200).contains(&low), "{low}");
    }
}
