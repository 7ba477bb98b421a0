//! hostPath: a path of the node, checked or made as its type says.
use super::Fault;
use k8s_openapi::api::core::v1::HostPathVolumeSource;
use std::fs::FileType;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Component, Path};

/// Checks the path, and creates it if the type asks for that.
pub fn check(source: &HostPathVolumeSource) -> Result<(), Fault> {
    let path = Path::new(&source.path);
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(Fault::Invalid(format!(
            "hostPath \"{}\" must not contain '..'",
            source.path
        )));
    }
    let create = |outcome: std::io::Result<()>| outcome.map_err(Fault::io("cannot create", path));
    match source.type_.as_deref().unwrap_or_default() {
        "" => Ok(()),
        "DirectoryOrCreate" => {
            if !path.exists() {
                create(create_directory(path))?;
            }
            must_be(path, "a directory", FileType::is_dir)
        }
        "Directory" => must_be(path, "a directory", FileType::is_dir),
        "FileOrCreate" => {
            if !path.exists() {
                create(create_file(path))?;
            }
            must_be(path, "a file", FileType::is_file)
        }
        "File" => must_be(path, "a file", FileType::is_file),
        "Socket" => must_be(path, "a socket file", FileType::is_socket),
        "CharDevice" => must_be(path, "a character device", FileType::is_char_device),
        "BlockDevice" => must_be(path, "a block device", FileType::is_block_device),
        other => Err(Fault::Invalid(format!("unknown hostPath type \"{other}\""))),
    }
}

fn must_be(path: &Path, what: &str, is: fn(&FileType) -> bool) -> Result<(), Fault> {
    match std::fs::metadata(path) {
        Ok(metadata) if is(&metadata.file_type()) => Ok(()),
        _ => Err(Fault::Invalid(format!(
            "hostPath type check failed: {} is not {what}",
            path.display()
        ))),
    }
}

fn create_directory(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

fn create_file(path: &Path) -> std::io::Result<()> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(path: &Path, kind: &str) -> Result<(), String> {
        let source = HostPathVolumeSource {
            path: path.display().to_string(),
            type_: Some(kind.to_owned()),
        };
        check(&source).map_err(|fault| fault.to_string())
    }

    #[test]
    fn e11_types_and_texts() {
        let directory = tempfile::tempdir().unwrap();
        let (missing, file) = (directory.path().join("missing"), directory.path().join("file"));
        std::fs::write(&file, "").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
        for (path, kind, what) in [
            (&missing, "Directory", Some("a directory")),
            (&file, "Directory", Some("a directory")),
            (&file, "DirectoryOrCreate", Some("a directory")),
            (&missing, "File", Some("a file")),
            (&directory.path().to_owned(), "FileOrCreate", Some("a file")),
            (&file, "Socket", Some("a socket file")),
            (&file, "CharDevice", Some("a character device")),
            (&file, "BlockDevice", Some("a block device")),
            (&directory.path().join("socket"), "Socket", None),
            (&Path::new("/dev/null").to_owned(), "CharDevice", None),
            (&missing, "", None),
            (&file, "File", None),
        ] {
            let want =
                what.map(|what| format!("hostPath type check failed: {} is not {what}", path.display()));
            assert_eq!(checked(path, kind).err(), want, "{kind}");
        }
        assert!(!missing.exists(), "nothing is made unasked");
        assert!(checked(Path::new("/tmp/../etc"), "").is_err());
    }

    #[test]
    fn e11_what_is_created() {
        let directory = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let made = directory.path().join("a/b");
        checked(&made, "DirectoryOrCreate").unwrap();
        assert_eq!(mode(&made), 0o755);
        let file = directory.path().join("f");
        checked(&file, "FileOrCreate").unwrap();
        assert_eq!((mode(&file), std::fs::read(&file).unwrap().len()), (0o644, 0));
        assert!(
            checked(&directory.path().join("no/f"), "FileOrCreate").is_err(),
            "the parent must exist"
        );
    }
}
