//! The pages that hold rows.
use super::pages::{Item, Proof, Root, Shape, short};
use twox_hash::XxHash3_128;

/// A leaf whose rows have not been believed yet.
pub(super) struct Leaf<'p> {
    page: &'p [u8],
    rows: usize,
    key_ends: Option<usize>,
    value_ends: Option<usize>,
    keys: usize,
    shape: Shape,
}

impl<'p> Leaf<'p> {
    pub(super) fn parse(page: &'p [u8], shape: Shape) -> Option<Self> {
        let rows = usize::from(u16::from_le_bytes(*page.get(2..)?.first_chunk()?));
        let mut keys = 4;
        let mut ends = |width: Option<usize>| {
            let at = keys;
            width.is_none().then(|| {
                keys += 4 * rows;
                at
            })
        };
        let (key_ends, value_ends) = (ends(shape.key), ends(shape.value));
        (rows > 0).then_some(Self {
            page,
            rows,
            key_ends,
            value_ends,
            keys,
            shape,
        })
    }

    fn key_end(&self, index: usize) -> Option<usize> {
        match self.key_ends {
            Some(at) => Some(short(self.page, at + 4 * index)? as usize),
            None => Some(self.keys + self.shape.key? * (index + 1)),
        }
    }

    fn value_end(&self, index: usize) -> Option<usize> {
        match self.value_ends {
            Some(at) => Some(short(self.page, at + 4 * index)? as usize),
            None => Some(self.key_end(self.rows - 1)? + self.shape.value? * (index + 1)),
        }
    }

    pub(super) fn sound(&self, at: Root) -> bool {
        let used = self.value_end(self.rows - 1).and_then(|end| self.page.get(..end));
        used.is_some_and(|used| {
            XxHash3_128::oneshot(used) == at.checksum && self.row(self.rows - 1).is_some()
        })
    }

    fn row(&self, index: usize) -> Option<(&'p [u8], &'p [u8])> {
        let (key_from, value_from) = match index.checked_sub(1) {
            Some(before) => (self.key_end(before)?, self.value_end(before)?),
            None => (self.keys, self.key_end(self.rows - 1)?),
        };
        let key = self.page.get(key_from..self.key_end(index)?)?;
        let value = self.page.get(value_from..self.value_end(index)?)?;
        Some((key, value))
    }

    /// Visits the rows of a rotten page that prove themselves.
    pub(super) fn visit_proven(&self, proof: Proof, behind: Option<&[u8]>, visit: &mut dyn FnMut(Item<'_>)) {
        visit(Item::Lost { behind });
        let mut last_proven = false;
        for index in 0..self.rows {
            let proven = self.row(index).filter(|(key, value)| proof(key, value));
            match proven {
                Some((key, value)) => visit(Item::Row { key, value }),
                None if last_proven => visit(Item::Lost { behind: None }),
                None => {}
            }
            last_proven = proven.is_some();
        }
        if last_proven {
            // There may have been more of them.
            visit(Item::Lost { behind: None });
        }
    }

    pub(super) fn visit(&self, visit: &mut dyn FnMut(Item<'_>)) {
        for index in 0..self.rows {
            match self.row(index) {
                Some((key, value)) => visit(Item::Row { key, value }),
                None => visit(Item::Lost { behind: None }),
            }
        }
    }
}
