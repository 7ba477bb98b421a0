//! Sets of completion indexes, as the API writes them: `1,3-5,7`.

use std::fmt;

/// A set of numbers in ascending, disjoint, non-adjacent ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Indexes(Vec<(u32, u32)>);

impl Indexes {
    /// Reads what [`fmt::Display`] writes; numbers from `limit` on are left out, and so is what
    /// isn't readable.
    pub fn parse(text: &str, limit: u32) -> Self {
        let mut indexes = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>())
                && first < limit
                && first <= last
            {
                indexes.0.push((first, last.min(limit - 1)));
            }
        }
        indexes.tidy();
        indexes
    }

    /// Whether `index` is among them.
    pub fn contains(&self, index: u32) -> bool {
        let position = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(position).is_some_and(|(first, _)| *first <= index)
    }

    /// Adds all of `more`.
    pub fn extend(&mut self, more: impl IntoIterator<Item = u32>) {
        self.0.extend(more.into_iter().map(|index| (index, index)));
        self.tidy();
    }

    fn tidy(&mut self) {
        self.0.sort_unstable();
        let mut tidy: Vec<(u32, u32)> = Vec::with_capacity(self.0.len());
        for &(first, last) in &self.0 {
            match tidy.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => tidy.push((first, last)),
            }
        }
        self.0 = tidy;
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0
            .iter()
            .map(|(first, last)| (last - first) as usize + 1)
            .sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many of `other` are among them.
    pub fn count_common(&self, other: &Self) -> usize {
        other
            .0
            .iter()
            .flat_map(|(first, last)| *first..=*last)
            .filter(|index| self.contains(*index))
            .count()
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (first, last)) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            match last - first {
                0 => write!(f, "{first}")?,
                // Two in a row are written apart.
                1 => write!(f, "{first},{last}")?,
                _ => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_written_and_read_as_ranges() {
        for (text, limit, want) in [
            ("", 10, ""),
            ("1,3-5,7", 10, "1,3-5,7"),
            ("0-1,3", 10, "0,1,3"),
            ("1-7", 4, "1-3"),
            ("9", 4, ""),
            ("5,1,2,3", 10, "1-3,5"),
            ("1,x,3", 10, "1,3"),
        ] {
            assert_eq!(Indexes::parse(text, limit).to_string(), want, "{text}");
        }
    }

    #[test]
    fn sets_grow_count_and_are_searched() {
        let mut indexes = Indexes::parse("1,3-5", 10);
        indexes.extend([2, 8, 3]);
        assert_eq!((indexes.to_string().as_str(), indexes.len()), ("1-5,8", 6));
        let found: Vec<u32> = (0..10).filter(|index| indexes.contains(*index)).collect();
        assert_eq!(found, [1, 2, 3, 4, 5, 8]);
        assert_eq!(indexes.count_common(&Indexes::parse("0-2,8", 10)), 3);
    }
}
