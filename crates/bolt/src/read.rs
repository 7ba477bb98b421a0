//! Reading a file that may hold anything.
use crate::page::{
    BRANCH, BUCKET_BYTES, ELEMENT_BYTES, HEADER_BYTES, Header, IS_BUCKET, LEAF, META_BYTES, Meta,
    PAGE_BYTES_MAX, number, short,
};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// bbolt's trees are far flatter: this is a loop.
const DEPTH_MAX: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("this is no bbolt file: neither of its first two pages describes one")]
    NoMeta,
    #[error("page {page} is damaged: {reason}")]
    Damaged { page: u64, reason: &'static str },
}

/// Bytes that can be read anywhere.
pub trait ReadAt {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

impl ReadAt for File {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, out, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let found = usize::try_from(offset)
            .ok()
            .and_then(|from| self.get(from..from.checked_add(out.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(<[u8]>::len(self) as u64)
    }
}

/// One file as of its last transaction.
#[derive(Debug)]
pub struct BoltFile<'f, F: ?Sized> {
    file: &'f F,
    meta: Meta,
}

/// What a walk does with the elements of leaves: flags, key, value.
type Visit<'v, E> = &'v mut dyn FnMut(u32, &[u8], &[u8]) -> Result<(), E>;

impl<'f, F: ReadAt + ?Sized> BoltFile<'f, F> {
    /// Finds the later of the two descriptions of the file that are sound.
    pub fn open(file: &'f F) -> Result<Self, ReadError> {
        let len = file.len()?;
        let mut sizes = vec![0];
        let mut size = 1024;
        while size <= PAGE_BYTES_MAX {
            // The second page begins where the size of pages says, which may be known to it alone.
            sizes.push(size);
            size *= 2;
        }
        let mut found: Option<Meta> = None;
        for at in sizes {
            let mut bytes = [0; HEADER_BYTES + META_BYTES];
            if (at + bytes.len()) as u64 > len {
                break;
            }
            file.read_exact_at(&mut bytes, at as u64)?;
            let Some(meta) = Meta::decode(&bytes[HEADER_BYTES..]) else {
                continue;
            };
            let size = meta.page_bytes as usize;
            let fits = size.is_power_of_two() && (1024..=PAGE_BYTES_MAX).contains(&size);
            let in_place = at == 0 || at == size;
            if fits && in_place && found.is_none_or(|best| best.transaction < meta.transaction) {
                found = Some(meta);
            }
        }
        let meta = found.ok_or(ReadError::NoMeta)?;
        if meta
            .pages
            .checked_mul(u64::from(meta.page_bytes))
            .is_none_or(|bytes| bytes > len)
        {
            return Err(ReadError::Damaged {
                page: 0,
                reason: "the file is shorter than it says",
            });
        }
        Ok(Self { file, meta })
    }

    /// Length of the database, which may be followed by something else in the file.
    pub fn bytes(&self) -> u64 {
        self.meta.pages * u64::from(self.meta.page_bytes)
    }

    /// Names of the buckets, in order.
    pub fn buckets(&self) -> Result<Vec<Vec<u8>>, ReadError> {
        let mut names = Vec::new();
        self.root(&mut |_, name, _| {
            names.push(name.to_vec());
            Ok(())
        })?;
        Ok(names)
    }

    /// Visits the keys and values of a bucket, in order. False when there is no such bucket.
    pub fn for_each<E: From<ReadError>>(
        &self,
        bucket: &str,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut found = None;
        self.root(&mut |_, name, value| {
            if name == bucket.as_bytes() {
                found = Some(value.to_vec());
            }
            Ok(())
        })?;
        let Some(value) = found else {
            return Ok(false);
        };
        let damaged = ReadError::Damaged {
            page: self.meta.root,
            reason: "a bucket is cut short",
        };
        let Some(root) = number(&value, 0).filter(|_| value.len() >= BUCKET_BYTES) else {
            return Err(damaged.into());
        };
        let mut visit = |flags: u32, key: &[u8], value: &[u8]| {
            if flags & IS_BUCKET == 0 {
                visit(key, value)
            } else {
                Ok(())
            }
        };
        if root == 0 {
            let page = &value[BUCKET_BYTES..];
            let header = Header::decode(page).ok_or(damaged)?;
            leaf(0, page, header, &mut visit)?;
        } else {
            self.walk(root, 0, &mut 0, &mut visit)?;
        }
        Ok(true)
    }

    fn root(&self, visit: Visit<'_, ReadError>) -> Result<(), ReadError> {
        let mut visit = |flags: u32, name: &[u8], value: &[u8]| {
            if flags & IS_BUCKET != 0 {
                visit(flags, name, value)
            } else {
                Ok(())
            }
        };
        self.walk(self.meta.root, 0, &mut 0, &mut visit)
    }

    fn walk<E: From<ReadError>>(
        &self,
        id: u64,
        depth: usize,
        visited: &mut u64,
        visit: Visit<'_, E>,
    ) -> Result<(), E> {
        *visited += 1;
        if depth > DEPTH_MAX || *visited > self.meta.pages {
            return Err(damaged(id, "it is its own child").into());
        }
        let page = self.page(id)?;
        let header = Header::decode(&page).ok_or(damaged(id, "it has no header"))?;
        match header.flags {
            LEAF => leaf(id, &page, header, visit),
            BRANCH => {
                for index in 0..usize::from(header.count) {
                    let at = HEADER_BYTES + index * ELEMENT_BYTES;
                    let child = number(&page, at + 8).ok_or(damaged(id, "it ends early"))?;
                    self.walk(child, depth + 1, visited, visit)?;
                }
                Ok(())
            }
            _ => Err(damaged(id, "it is neither branch nor leaf").into()),
        }
    }

    /// A page with all that belongs to it.
    fn page(&self, id: u64) -> Result<Vec<u8>, ReadError> {
        let size = self.meta.page_bytes as usize;
        if id < 2 || id >= self.meta.pages {
            return Err(damaged(id, "it is outside the file"));
        }
        let offset = id * size as u64;
        let mut page = vec![0; size];
        self.file.read_exact_at(&mut page, offset)?;
        let header = Header::decode(&page).ok_or(damaged(id, "it has no header"))?;
        if header.id != id {
            return Err(damaged(id, "it has another page's number"));
        }
        let overflow = u64::from(header.overflow);
        if id + overflow >= self.meta.pages {
            return Err(damaged(id, "it reaches over the end of the file"));
        }
        if overflow > 0 {
            page.resize(size * (overflow as usize + 1), 0);
            self.file.read_exact_at(&mut page[size..], offset + size as u64)?;
        }
        Ok(page)
    }
}

fn leaf<E: From<ReadError>>(id: u64, page: &[u8], header: Header, visit: Visit<'_, E>) -> Result<(), E> {
    for index in 0..usize::from(header.count) {
        let at = HEADER_BYTES + index * ELEMENT_BYTES;
        let element = || {
            let from = at.checked_add(short(page, at + 4)? as usize)?;
            let middle = from.checked_add(short(page, at + 8)? as usize)?;
            let to = middle.checked_add(short(page, at + 12)? as usize)?;
            Some((short(page, at)?, page.get(from..middle)?, page.get(middle..to)?))
        };
        let (flags, key, value) = element().ok_or(damaged(id, "an element ends outside it"))?;
        visit(flags, key, value)?;
    }
    Ok(())
}

fn damaged(page: u64, reason: &'static str) -> ReadError {
    ReadError::Damaged { page, reason }
}
