//! The engine's file, read without the engine and trusting nothing: what redb's published format says
//! where, every page checked against the checksum that its parent has of it.
use super::leaf::Leaf;
use crate::embedded::StorageBackend;
use std::io;
use twox_hash::XxHash3_128;

const MAGIC: &[u8; 9] = b"redb\x1a\x0a\xa9\x0d\x0a";
const HEADER_BYTES: usize = 320;
const PAGE_BYTES: u64 = 4096;
const SLOT_BYTES: usize = 128;
const FORMAT: u8 = 3;

/// Flags of the byte that says which slot counts and whether the file was closed.
const SECOND_IS_PRIMARY: u8 = 1;
const UNCLEAN: u8 = 2;
/// The latest commit was on the disk in full before it was made the latest.
const PROVEN: u8 = 4;
const FLAGS_KNOWN: u8 = 15;

const LEAF: u8 = 1;
const BRANCH: u8 = 2;
/// Deeper than any tree of the largest file; redb's own bound.
const DEPTH_MAX: usize = 128;
/// Pages are powers of two of the smallest; larger ones than this hold no value of ours.
const PAGE_ORDER_MAX: u64 = 14;

/// The root of a tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root {
    page: u64,
    pub checksum: u128,
}

/// Width of keys and values, of those that have one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub key: Option<usize>,
    pub value: Option<usize>,
}

/// Keys and values of any length.
pub(super) const ANY: Shape = Shape {
    key: None,
    value: None,
};

/// What one commit has left behind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Commit {
    /// The tree of tables.
    pub user: Option<Root>,
    /// The tree of the engine's own tables.
    pub system: Option<Root>,
    transaction: u64,
}

/// A table as the tree of tables has it.
#[derive(Debug)]
pub(super) struct Table {
    pub name: Vec<u8>,
    pub root: Option<Root>,
    pub rows: u64,
    pub shape: Shape,
}

/// What a walk meets, in order.
#[derive(Debug)]
pub(super) enum Item<'a> {
    Row {
        key: &'a [u8],
        value: &'a [u8],
    },
    /// A part of the tree that cannot be read. Its keys sort behind this one; `None`: anywhere.
    Lost {
        behind: Option<&'a [u8]>,
    },
}

/// Whether a row proves by itself that it is what was written, so that it counts even on a page that
/// is rotten elsewhere.
pub(super) type Proof = fn(&[u8], &[u8]) -> bool;

/// For rows that cannot.
pub(super) const UNPROVEN: Proof = |_, _| false;

pub(super) struct Pages<'f> {
    file: &'f dyn StorageBackend,
    len: u64,
    region_header_pages: u64,
    region_data_pages: u64,
    /// Whether the file was not closed.
    pub unclean: bool,
    /// Whether the latest commit cannot be a torn one: then what is wrong with it is rot.
    pub proven: bool,
    /// The sound ones, latest first.
    pub commits: Vec<Commit>,
    /// What is wrong with the header.
    pub complaint: Option<&'static str>,
}

impl<'f> Pages<'f> {
    /// Reads the header; `None` if the file is too short to have one.
    pub(super) fn open(file: &'f dyn StorageBackend) -> io::Result<Option<Self>> {
        let len = file.len()?;
        if len < HEADER_BYTES as u64 {
            return Ok(None);
        }
        let mut header = [0; HEADER_BYTES];
        read(file, 0, &mut header)?;
        let flags = header[9];
        let slots = [
            slot(&header[64..64 + SLOT_BYTES]),
            slot(&header[64 + SLOT_BYTES..]),
        ];
        let primary = usize::from(flags & SECOND_IS_PRIMARY != 0);
        let unclean = flags & UNCLEAN != 0;
        let proven = flags & PROVEN != 0;
        let latest = slots.iter().flatten().map(|commit| commit.transaction).max();
        let number = |at: usize| {
            header
                .get(at..)
                .and_then(|rest| short(rest, 0))
                .unwrap_or(0)
                .into()
        };
        let complaint = if header[..9] != *MAGIC {
            Some("it does not begin as a database does")
        } else if number(12) != PAGE_BYTES {
            Some("the size of its pages is wrong")
        } else if latest.is_none() {
            Some("neither of its two latest commits is sound")
        } else if unclean && proven && slots[primary].is_none() {
            Some("its latest commit is unreadable")
        } else if unclean {
            None
        } else if flags > FLAGS_KNOWN {
            Some("its flags are wrong")
        } else if slots.iter().any(Option::is_none) {
            Some("one of its two latest commits is unreadable")
        } else if slots[primary].map(|commit| commit.transaction) != latest {
            Some("it names the wrong commit as its latest")
        } else {
            None
        };
        let named = slots[primary].map(|commit| commit.transaction);
        let mut commits: Vec<Commit> = slots.into_iter().flatten().collect();
        if unclean && proven && named.is_some() {
            // A later one had been begun.
            commits.retain(|commit| Some(commit.transaction) <= named);
        }
        commits.sort_by_key(|commit| std::cmp::Reverse(commit.transaction));
        Ok(Some(Self {
            file,
            len,
            region_header_pages: number(16),
            region_data_pages: number(20),
            unclean,
            proven,
            commits,
            complaint,
        }))
    }

    /// The tables of a tree of tables; false if some may be missing.
    pub(super) fn tables(&self, root: Option<Root>) -> (Vec<Table>, bool) {
        let (mut tables, mut whole) = (Vec::new(), true);
        self.walk(root, ANY, UNPROVEN, &mut |item| match item {
            Item::Row { key, value } => match table(key, value) {
                Some(table) => tables.push(table),
                None => whole = false,
            },
            Item::Lost { .. } => whole = false,
        });
        (tables, whole)
    }

    /// The subtrees of a tree, or the tree itself, to walk them at the same time.
    pub(super) fn subtrees(&self, root: Root, shape: Shape) -> Vec<Root> {
        let page = self.page(root).filter(|page| page.first() == Some(&BRANCH));
        let children = page.as_deref().and_then(|page| branch(page, shape.key, root));
        match children {
            Some(children) => children.into_iter().map(|(_, child)| child).collect(),
            None => vec![root],
        }
    }

    /// Visits what a tree holds, in order, and where parts of it are lost.
    pub(super) fn walk(
        &self,
        root: Option<Root>,
        shape: Shape,
        proof: Proof,
        visit: &mut dyn FnMut(Item<'_>),
    ) {
        if let Some(root) = root {
            self.walk_page(root, (shape, proof), None, 0, visit);
        }
    }

    fn walk_page(
        &self,
        at: Root,
        rows: (Shape, Proof),
        behind: Option<&[u8]>,
        depth: usize,
        visit: &mut dyn FnMut(Item<'_>),
    ) {
        let page = (depth < DEPTH_MAX).then(|| self.page(at)).flatten();
        let walked = page.and_then(|page| match page.first() {
            Some(&LEAF) => {
                let leaf = Leaf::parse(&page, rows.0)?;
                if leaf.sound(at) {
                    leaf.visit(visit);
                } else {
                    leaf.visit_proven(rows.1, behind, visit);
                }
                Some(())
            }
            Some(&BRANCH) => {
                let children = branch(&page, rows.0.key, at)?;
                for (key, child) in children {
                    self.walk_page(child, rows, key.or(behind), depth + 1, visit);
                }
                Some(())
            }
            _ => None,
        });
        if walked.is_none() {
            visit(Item::Lost { behind });
        }
    }

    /// The bytes of a page, if it lies in the file and the disk gives them.
    fn page(&self, at: Root) -> Option<Vec<u8>> {
        let order = at.page >> 59;
        if order > PAGE_ORDER_MAX {
            return None;
        }
        let index = at.page & (0xf_ffff >> order);
        let region = at.page >> 20 & 0xf_ffff;
        let bytes = PAGE_BYTES << order;
        let region_bytes = self
            .region_header_pages
            .checked_add(self.region_data_pages)?
            .checked_mul(PAGE_BYTES)?;
        let offset = PAGE_BYTES
            .checked_add(region.checked_mul(region_bytes)?)?
            .checked_add(self.region_header_pages.checked_mul(PAGE_BYTES)?)?
            .checked_add(index.checked_mul(bytes)?)?;
        if offset.checked_add(bytes)? > self.len {
            return None;
        }
        let mut page = vec![0; bytes as usize];
        read(self.file, offset, &mut page).ok()?;
        Some(page)
    }
}

/// Reads, and once more if the disk fails: a passing error is no damage.
fn read(file: &dyn StorageBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
    file.read(offset, out).or_else(|_| file.read(offset, out))
}

fn slot(bytes: &[u8]) -> Option<Commit> {
    let sound = wide(bytes, SLOT_BYTES - 16)? == XxHash3_128::oneshot(bytes.get(..SLOT_BYTES - 16)?);
    if !sound || *bytes.first()? != FORMAT {
        return None;
    }
    let root = |there: usize, at: usize| {
        (bytes.get(there).copied().unwrap_or(0) != 0)
            .then(|| root(bytes, at))
            .flatten()
    };
    Some(Commit {
        user: root(1, 8),
        system: root(2, 40),
        transaction: long(bytes, 104)?,
    })
}

fn root(bytes: &[u8], at: usize) -> Option<Root> {
    Some(Root {
        page: long(bytes, at)?,
        checksum: wide(bytes, at + 8)?,
    })
}

fn table(name: &[u8], definition: &[u8]) -> Option<Table> {
    let width = |at: usize| {
        let there = *definition.get(at)? != 0;
        Some(if there {
            Some(short(definition, at + 1)? as usize)
        } else {
            None
        })
    };
    Some(Table {
        name: name.to_vec(),
        rows: long(definition, 1)?,
        root: if *definition.get(9)? == 0 {
            None
        } else {
            Some(root(definition, 10)?)
        },
        shape: Shape {
            key: width(42)?,
            value: width(47)?,
        },
    })
}

/// The children of a branch, each with the key that it lies behind.
type Children<'p> = Vec<(Option<&'p [u8]>, Root)>;

fn branch(page: &[u8], key_width: Option<usize>, at: Root) -> Option<Children<'_>> {
    let keys = usize::from(u16::from_le_bytes(*page.get(2..)?.first_chunk()?));
    let checksums = 8;
    let numbers = checksums + 16 * (keys + 1);
    let ends = numbers + 8 * (keys + 1);
    let end = |index: usize| match key_width {
        Some(width) => Some(ends + width * (index + 1)),
        None => Some(short(page, ends + 4 * index)? as usize),
    };
    let first = match key_width {
        Some(_) => ends,
        None => ends + 4 * keys,
    };
    let last = end(keys.checked_sub(1)?)?;
    if XxHash3_128::oneshot(page.get(..last)?) != at.checksum {
        return None;
    }
    let mut children = Vec::with_capacity(keys + 1);
    let mut from = first;
    for index in 0..=keys {
        let behind = match index.checked_sub(1) {
            None => None,
            Some(before) => {
                let to = end(before)?;
                let key = page.get(from..to)?;
                from = to;
                Some(key)
            }
        };
        let child = Root {
            page: long(page, numbers + 8 * index)?,
            checksum: wide(page, checksums + 16 * index)?,
        };
        children.push((behind, child));
    }
    Some(children)
}

pub(super) fn short(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn wide(bytes: &[u8], at: usize) -> Option<u128> {
    Some(u128::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
