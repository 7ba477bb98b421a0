//! Where everything will lie, known from the keys and the lengths of the values alone.
use crate::page::{
    BRANCH, BUCKET_BYTES, ELEMENT_BYTES, FREE_LIST, HEADER_BYTES, Header, IS_BUCKET, KEY_BYTES_MAX, LEAF,
    META, Meta, PAGE_BYTES,
};

/// Pages ahead of the buckets: two of meta data, the free list.
const ROOT_PAGE: u64 = 3;
/// Elements of one page are counted in 16 bits, of which bbolt keeps the last value for itself.
const ELEMENTS_MAX: usize = 0xfff0;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    #[error("keys have to come in order, each once, and none may be empty")]
    Order,
    #[error("a key of {0} bytes is too long for a bbolt file")]
    KeyTooLong(usize),
    #[error("a value of {0} bytes is too long for a bbolt file")]
    ValueTooLong(usize),
}

/// One leaf page to be.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub first_key: Vec<u8>,
    pub entries: usize,
    /// With header and elements, not rounded up to pages.
    pub bytes: usize,
}

impl Leaf {
    pub(crate) fn pages(&self) -> u64 {
        pages(self.bytes)
    }
}

/// A bucket to be written: fed with every key and the length of its value, in order.
#[derive(Debug)]
pub struct BucketPlan {
    name: Vec<u8>,
    last_key: Vec<u8>,
    leaves: Vec<Leaf>,
}

impl BucketPlan {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.as_bytes().to_vec(),
            last_key: Vec::new(),
            leaves: Vec::new(),
        }
    }

    /// Takes the next entry into account.
    pub fn add(&mut self, key: &[u8], value_bytes: usize) -> Result<(), PlanError> {
        if key <= self.last_key.as_slice() {
            return Err(PlanError::Order);
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(PlanError::KeyTooLong(key.len()));
        }
        if i32::try_from(value_bytes).is_err() {
            return Err(PlanError::ValueTooLong(value_bytes));
        }
        self.last_key.clear();
        self.last_key.extend(key);
        let bytes = ELEMENT_BYTES + key.len() + value_bytes;
        match self.leaves.last_mut() {
            Some(leaf) if leaf.bytes + bytes <= PAGE_BYTES => {
                leaf.bytes += bytes;
                leaf.entries += 1;
            }
            _ => self.leaves.push(Leaf {
                first_key: key.to_vec(),
                entries: 1,
                bytes: HEADER_BYTES + bytes,
            }),
        }
        Ok(())
    }
}

/// A whole file to be written.
#[derive(Debug)]
pub struct Plan {
    /// Everything ahead of the leaves: meta, free list, root, branches.
    pub(crate) head: Vec<u8>,
    /// The leaves, in the order of the file.
    pub(crate) leaves: Vec<Leaf>,
    pages: u64,
}

impl Plan {
    /// Lays out a file of these buckets, which will be written in this order, that of their names.
    pub fn new(buckets: Vec<BucketPlan>) -> Result<Self, PlanError> {
        if !buckets.is_sorted_by(|one, next| one.name < next.name) {
            return Err(PlanError::Order);
        }
        let inline_bytes =
            |bucket: &BucketPlan| BUCKET_BYTES + if bucket.leaves.is_empty() { HEADER_BYTES } else { 0 };
        let root_bytes = HEADER_BYTES
            + buckets
                .iter()
                .map(|bucket| ELEMENT_BYTES + bucket.name.len() + inline_bytes(bucket))
                .sum::<usize>();
        let root_pages = pages(root_bytes);
        // The branches' places depend on how many there are, and they name the leaves behind them:
        // count first, then place.
        let shapes: Vec<_> = buckets.iter().map(|bucket| levels(&bucket.leaves)).collect();
        let branch_pages: u64 = shapes
            .iter()
            .flatten()
            .flatten()
            .map(|branch| pages(branch.bytes))
            .sum();
        let mut next_branch = ROOT_PAGE + root_pages;
        let mut next_leaf = next_branch + branch_pages;
        let (mut branches, mut roots, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
        for (bucket, shape) in buckets.into_iter().zip(shapes) {
            let mut children = Vec::with_capacity(bucket.leaves.len());
            for leaf in &bucket.leaves {
                children.push((leaf.first_key.clone(), next_leaf));
                next_leaf += leaf.pages();
            }
            for level in shape {
                let mut of_level = Vec::with_capacity(level.len());
                let mut rest = children.as_slice();
                for branch in level {
                    let (mine, others) = rest.split_at(branch.children);
                    rest = others;
                    of_level.push((mine[0].0.clone(), next_branch));
                    put_branch(&mut branches, next_branch, mine, branch.bytes);
                    next_branch += pages(branch.bytes);
                }
                children = of_level;
            }
            roots.push((bucket.name, children.first().map(|(_, page)| *page)));
            leaves.extend(bucket.leaves);
        }
        let mut head = Vec::new();
        for transaction in [2, 1] {
            let meta = Meta {
                page_bytes: PAGE_BYTES as u32,
                root: ROOT_PAGE,
                free_list: 2,
                pages: next_leaf,
                transaction,
            };
            let id = transaction % 2;
            put_header(&mut head, id, META, 0, 1);
            head.extend(meta.encode());
            pad(&mut head);
        }
        put_header(&mut head, 2, FREE_LIST, 0, 1);
        pad(&mut head);
        put_root(&mut head, &roots, root_pages);
        head.extend(branches);
        Ok(Self {
            head,
            leaves,
            pages: next_leaf,
        })
    }

    /// Length of the file.
    pub fn bytes(&self) -> u64 {
        self.pages * PAGE_BYTES as u64
    }
}

struct Branch {
    children: usize,
    bytes: usize,
}

/// The branch pages over some leaves, level by level from below; none over a single leaf.
fn levels(leaves: &[Leaf]) -> Vec<Vec<Branch>> {
    let mut levels = Vec::new();
    let mut keys: Vec<&[u8]> = leaves.iter().map(|leaf| leaf.first_key.as_slice()).collect();
    while keys.len() > 1 {
        let longest = keys.iter().map(|key| key.len()).max().unwrap_or(0);
        // bbolt wants two children at the least.
        let fit = ((PAGE_BYTES - HEADER_BYTES) / (ELEMENT_BYTES + longest)).clamp(2, ELEMENTS_MAX);
        let branches = keys.len().div_ceil(fit);
        let (mut level, mut first_keys) = (Vec::with_capacity(branches), Vec::with_capacity(branches));
        for index in 0..branches {
            // Evenly, so that none is left with one child.
            let from = keys.len() * index / branches;
            let to = keys.len() * (index + 1) / branches;
            level.push(Branch {
                children: to - from,
                bytes: HEADER_BYTES
                    + keys[from..to]
                        .iter()
                        .map(|key| ELEMENT_BYTES + key.len())
                        .sum::<usize>(),
            });
            first_keys.push(keys[from]);
        }
        levels.push(level);
        keys = first_keys;
    }
    levels
}

pub(crate) fn pages(bytes: usize) -> u64 {
    bytes.div_ceil(PAGE_BYTES) as u64
}

pub(crate) fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(PAGE_BYTES), 0);
}

pub(crate) fn put_header(out: &mut Vec<u8>, id: u64, flags: u16, count: usize, pages: u64) {
    let header = Header {
        id,
        flags,
        count: count as u16,
        overflow: (pages - 1) as u32,
    };
    out.extend(header.encode());
}

fn put_branch(out: &mut Vec<u8>, id: u64, children: &[(Vec<u8>, u64)], bytes: usize) {
    put_header(out, id, BRANCH, children.len(), pages(bytes));
    let mut before = 0;
    for (index, (key, page)) in children.iter().enumerate() {
        let position = (children.len() - index) * ELEMENT_BYTES + before;
        out.extend((position as u32).to_le_bytes());
        out.extend((key.len() as u32).to_le_bytes());
        out.extend(page.to_le_bytes());
        before += key.len();
    }
    for (key, _) in children {
        out.extend(key);
    }
    pad(out);
}

/// The elements and the contents of a leaf.
pub(crate) fn put_elements<'a>(out: &mut Vec<u8>, flags: u32, entries: &[(&'a [u8], &'a [u8])]) {
    let mut before = 0;
    for (index, (key, value)) in entries.iter().enumerate() {
        let position = (entries.len() - index) * ELEMENT_BYTES + before;
        for number in [flags, position as u32, key.len() as u32, value.len() as u32] {
            out.extend(number.to_le_bytes());
        }
        before += key.len() + value.len();
    }
    for (key, value) in entries {
        out.extend_from_slice(key);
        out.extend_from_slice(value);
    }
}

/// The bucket of buckets. An empty bucket is written inline, with a page that has nothing on it.
fn put_root(out: &mut Vec<u8>, roots: &[(Vec<u8>, Option<u64>)], root_pages: u64) {
    put_header(out, ROOT_PAGE, LEAF, roots.len(), root_pages);
    let values: Vec<Vec<u8>> = roots
        .iter()
        .map(|(_, root)| {
            let mut value = root.unwrap_or(0).to_le_bytes().to_vec();
            value.extend(0u64.to_le_bytes());
            if root.is_none() {
                put_header(&mut value, 0, LEAF, 0, 1);
            }
            value
        })
        .collect();
    let entries: Vec<_> = roots
        .iter()
        .zip(&values)
        .map(|((name, _), value)| (name.as_slice(), value.as_slice()))
        .collect();
    put_elements(out, IS_BUCKET, &entries);
    pad(out);
}
