//! How pages are laid out: a header of 16 bytes, then what the page is for. All numbers are little
//! endian.
//!
//! - *meta*, pages 0 and 1: the root bucket, the free list, how many pages there are. The valid one
//!   of the later transaction counts.
//! - *free list*: numbers of pages that nothing uses.
//! - *branch*: for each child its first key and its page.
//! - *leaf*: keys with values; a value may itself be a bucket, named by its root page, or with its
//!   only page behind it ("inline").

/// What this crate writes. A file says itself which size it has.
pub(crate) const PAGE_BYTES: usize = 4096;
pub(crate) const PAGE_BYTES_MAX: usize = 64 << 10;
pub(crate) const HEADER_BYTES: usize = 16;
/// Of one element of a leaf or a branch, ahead of keys and values.
pub(crate) const ELEMENT_BYTES: usize = 16;
pub(crate) const META_BYTES: usize = 64;
/// Root page and sequence of a bucket.
pub(crate) const BUCKET_BYTES: usize = 16;
/// bbolt's own limit.
pub(crate) const KEY_BYTES_MAX: usize = 32_768;

pub(crate) const BRANCH: u16 = 0x01;
pub(crate) const LEAF: u16 = 0x02;
pub(crate) const META: u16 = 0x04;
pub(crate) const FREE_LIST: u16 = 0x10;
/// Flag of a leaf's element whose value is a bucket.
pub(crate) const IS_BUCKET: u32 = 0x01;

const MAGIC: u32 = 0xed0c_daed;
const VERSION: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub id: u64,
    pub flags: u16,
    pub count: u16,
    /// Further pages that belong to this one.
    pub overflow: u32,
}

impl Header {
    pub(crate) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&self.id.to_le_bytes());
        out[8..10].copy_from_slice(&self.flags.to_le_bytes());
        out[10..12].copy_from_slice(&self.count.to_le_bytes());
        out[12..].copy_from_slice(&self.overflow.to_le_bytes());
        out
    }

    pub(crate) fn decode(page: &[u8]) -> Option<Self> {
        Some(Self {
            id: number(page, 0)?,
            flags: u16::from_le_bytes(*page.get(8..)?.first_chunk()?),
            count: u16::from_le_bytes(*page.get(10..)?.first_chunk()?),
            overflow: short(page, 12)?,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub page_bytes: u32,
    /// Root page of the bucket of buckets.
    pub root: u64,
    pub free_list: u64,
    /// Number of pages in the file.
    pub pages: u64,
    pub transaction: u64,
}

impl Meta {
    pub(crate) fn encode(self) -> [u8; META_BYTES] {
        let mut out = [0; META_BYTES];
        let shorts = [MAGIC, VERSION, self.page_bytes, 0];
        for (at, value) in shorts.iter().enumerate() {
            out[at * 4..at * 4 + 4].copy_from_slice(&value.to_le_bytes());
        }
        let numbers = [self.root, 0, self.free_list, self.pages, self.transaction];
        for (at, value) in numbers.iter().enumerate() {
            out[16 + at * 8..24 + at * 8].copy_from_slice(&value.to_le_bytes());
        }
        let checksum = fnv1a64(&out[..56]);
        out[56..].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// `None` when this is no meta page of the one version there is, or does not match its checksum.
    pub(crate) fn decode(meta: &[u8]) -> Option<Self> {
        let sound = short(meta, 0)? == MAGIC
            && short(meta, 4)? == VERSION
            && number(meta, 56)? == fnv1a64(meta.get(..56)?);
        if !sound {
            return None;
        }
        Some(Self {
            page_bytes: short(meta, 8)?,
            root: number(meta, 16)?,
            free_list: number(meta, 32)?,
            pages: number(meta, 40)?,
            transaction: number(meta, 48)?,
        })
    }
}

pub(crate) fn short(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The checksum of meta pages.
fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(fnv1a64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_meta_page_with_a_flipped_bit_does_not_count() {
        let meta = Meta {
            page_bytes: 4096,
            root: 3,
            free_list: 2,
            pages: 4,
            transaction: 7,
        };
        let bytes = meta.encode();
        assert_eq!(Meta::decode(&bytes), Some(meta));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Meta::decode(&bad), None, "bit {bit}");
        }
    }
}
