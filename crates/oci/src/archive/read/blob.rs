//! Content of an archive, read in pieces from where it lies.
use super::contents::Span;
use crate::OciError;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Largest JSON document read into memory. Real ones are a few KiB; the limit keeps a hostile archive from filling it.
const DOCUMENT_SIZE_MAX: u64 = 8 * 1024 * 1024;

/// A piece of content in the archive.
#[derive(Debug, Clone)]
pub struct Blob {
    pub(super) source: Source,
    pub(super) span: Span,
}

/// Where the archive's bytes are.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Bytes(Arc<Vec<u8>>),
    File(Arc<File>),
}

impl Blob {
    /// Bytes.
    pub fn size(&self) -> u64 {
        self.span.size
    }

    /// Reads at an offset; shorter than the buffer only at the end, 0 behind it.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let left = self.span.size.saturating_sub(offset);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let start = self.span.offset + offset;
        let buffer = &mut buffer[..wanted];
        match &self.source {
            Source::Bytes(bytes) => {
                let start = usize::try_from(start).unwrap_or(usize::MAX);
                let piece = bytes
                    .get(start..start.saturating_add(wanted))
                    .ok_or(std::io::ErrorKind::UnexpectedEof)?;
                buffer.copy_from_slice(piece);
            }
            Source::File(file) => file.read_exact_at(buffer, start)?,
        }
        Ok(wanted)
    }

    /// All of it, if it is no larger than documents are.
    pub(super) fn read_document(&self) -> Result<Vec<u8>, OciError> {
        if self.span.size > DOCUMENT_SIZE_MAX {
            return Err(OciError::Archive(format!(
                "a JSON document of {} bytes is in it (at most {DOCUMENT_SIZE_MAX} are read)",
                self.span.size
            )));
        }
        let mut bytes = vec![0; usize::try_from(self.span.size).unwrap_or(0)];
        self.read_at(&mut bytes, 0).map_err(OciError::Tar)?;
        Ok(bytes)
    }

    /// `sha256:…` of it.
    pub(super) fn digest(&self) -> Result<String, OciError> {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 * 1024];
        let mut offset = 0;
        loop {
            let read = self.read_at(&mut buffer, offset).map_err(OciError::Tar)?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            offset += read as u64;
        }
        let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Ok(format!("sha256:{hex}"))
    }
}
