use crate::OciError;

/// Path of a blob in an OCI layout: `sha256:<hex>` → `blobs/sha256/<hex>`.
pub fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

/// Writes an archive: the documents first, so that a reader learns the digests without passing over the layers.
pub fn write(index: &[u8], docker_manifest: &[u8], blobs: &[(String, Vec<u8>)]) -> Result<Vec<u8>, OciError> {
    let size: usize = blobs.iter().map(|(_, blob)| blob.len() + 1024).sum();
    let mut tar = tar::Builder::new(Vec::with_capacity(size + 16 * 1024));
    append(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append(&mut tar, "index.json", index)?;
    append(&mut tar, "manifest.json", docker_manifest)?;
    for (digest, blob) in blobs {
        append(&mut tar, &blob_path(digest), blob)?;
    }
    tar.into_inner().map_err(OciError::Tar)
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) -> Result<(), OciError> {
    let mut header = tar::Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content).map_err(OciError::Tar)
}
