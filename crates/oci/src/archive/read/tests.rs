use super::*;

#[test]
fn what_is_no_archive_is_said_plainly() {
    let garbage = Archive::from_bytes(b"hello, this is not a tar file".repeat(40)).unwrap_err();
    assert!(garbage.to_string().contains("tar file"), "{garbage}");
    let empty = Archive::from_bytes(vec![0; 1024]).unwrap().images().unwrap_err();
    assert!(empty.to_string().contains("index.json"), "{empty}");
}

#[test]
fn docker_save_without_oci_layout_is_read() {
    let layer = crate::Layer::new().to_tar().unwrap();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["x"]}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        sha256(&layer)
    );
    let manifest = r#"[{"Config":"c.json","RepoTags":["busybox:1"],"Layers":["abc/layer.tar"]}]"#;
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in [
        ("c.json", config.as_bytes()),
        ("abc/layer.tar", layer.as_slice()),
        ("manifest.json", manifest.as_bytes()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content).unwrap();
    }
    let archive = Archive::from_bytes(tar.into_inner().unwrap()).unwrap();
    let images = archive.images().unwrap();
    assert_eq!(images[0].names, ["docker.io/library/busybox:1"]);
    assert_eq!(images[0].manifest.layers[0].digest, sha256(&layer));
    assert_eq!(archive.config_of(&images[0]).unwrap().config.cmd, ["x"]);
    let blob = archive
        .blob(&images[0], &images[0].manifest.layers[0].digest)
        .unwrap();
    assert_eq!(blob.size(), layer.len() as u64);
}

fn tar_of(files: &[(&str, &[u8])], links: &[(&str, &str, tar::EntryType)]) -> Archive {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    for (path, target, kind) in links {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_size(0);
        tar.append_link(&mut header, path, target).unwrap();
    }
    Archive::from_bytes(tar.into_inner().unwrap()).unwrap()
}

#[test]
fn layer_that_images_share_is_found_behind_its_links() {
    use tar::EntryType::{Link, Symlink};
    let links = [
        ("b/layer.tar", "../a/layer.tar", Symlink),
        ("c/layer.tar", "../b/layer.tar", Symlink),
        ("d/layer.tar", "a/layer.tar", Link),
        ("e/layer.tar", "../e/layer.tar", Symlink),
        ("f/layer.tar", "../../a/layer.tar", Symlink),
    ];
    let archive = tar_of(&[("a/layer.tar", b"layer")], &links);
    for name in ["a", "b", "c", "d", "f"] {
        let blob = archive.at(&format!("{name}/layer.tar")).unwrap();
        assert_eq!(blob.read_document().unwrap(), b"layer", "{name}");
    }
    assert!(archive.at("e/layer.tar").is_err(), "it leads to itself");
}

#[test]
fn indexes_that_lead_to_each_other_are_an_error_and_not_a_loop() {
    let digest = |of: char| format!("sha256:{}", of.to_string().repeat(64));
    let index = |to: char| {
        let entry = format!(
            r#"{{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{}","size":1}}"#,
            digest(to)
        );
        format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#).into_bytes()
    };
    let (a, b) = (blob_path(&digest('a')), blob_path(&digest('b')));
    let files: [(&str, &[u8]); 3] = [("index.json", &index('a')), (&a, &index('b')), (&b, &index('a'))];
    let error = tar_of(&files, &[]).images().unwrap_err();
    assert!(error.to_string().contains("indexes"), "{error}");
}

#[test]
fn truncated_archive_is_an_error_and_not_a_panic() {
    let mut bytes = crate::ImageBuilder::new("a.b/c:1")
        .unwrap()
        .file("/f", vec![7; 5000], 0o644)
        .unwrap()
        .to_archive()
        .unwrap();
    for cut in [10, 600, 2000, 3300] {
        let short = bytes[..cut].to_vec();
        let outcome = Archive::from_bytes(short).and_then(|archive| archive.images());
        assert!(outcome.is_err(), "cut at {cut}");
    }
    bytes.truncate(bytes.len() - 5000);
    let archive = Archive::from_bytes(bytes);
    if let Ok(archive) = archive {
        let image = &archive.images().unwrap()[0];
        let layer = &image.manifest.layers[0].digest;
        if let Ok(blob) = archive.blob(image, layer) {
            let mut buffer = vec![0; 1 << 20];
            assert!(blob.read_at(&mut buffer, 0).is_err());
        }
    }
}
