use crate::node::{self, BUSYBOX, Node};
use orlop_cri::images::{Directory, Importer};
use orlop_cri::{RuntimeService, pause};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

fn archive(name: &str, content: &str) -> Vec<u8> {
    orlop_oci::ImageBuilder::new(name)
        .unwrap()
        .file("/content", content, 0o644)
        .unwrap()
        .entrypoint(["/content"])
        .user("1234")
        .to_archive()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_images_are_seen_through_cri_and_skipped_when_present() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    assert!(node.remote().image_status(pause::IMAGE).await.unwrap().is_some());
    node.import_busybox().await;
    let image = node.remote().image_status(BUSYBOX).await.unwrap().unwrap();
    assert_eq!(image.repo_tags, [BUSYBOX]);
    assert_eq!(image.repo_digests.len(), 1, "{image:?}");

    let importer = Importer::new(node.remote()).unwrap();
    let first = importer
        .import_bytes(archive("orlop.local/x:1", "one"))
        .await
        .unwrap();
    assert!(!first[0].was_present);
    let image = node
        .remote()
        .image_status("orlop.local/x:1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(image.uid.unwrap().value, 1234);

    let start = Instant::now();
    let again = importer
        .import_bytes(archive("orlop.local/x:1", "one"))
        .await
        .unwrap();
    println!("skipped in {:?}", start.elapsed());
    assert!(again[0].was_present);

    let other = importer
        .import_bytes(archive("orlop.local/x:1", "two"))
        .await
        .unwrap();
    assert!(!other[0].was_present);
    assert_ne!(other[0].digest, first[0].digest);
    let moved = node
        .remote()
        .image_status("orlop.local/x:1")
        .await
        .unwrap()
        .unwrap();
    assert!(
        moved
            .repo_digests
            .iter()
            .any(|digest| digest.ends_with(&other[0].digest)),
        "{moved:?}"
    );
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_configured_for_a_sandbox_image_it_lacks_gets_ours_under_that_name() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start_with(|config| {
        config.sandbox_image = "registry.k8s.io/pause:3.6".to_owned();
    })
    .await;
    node.import_busybox().await;
    let importer = Importer::new(node.remote()).unwrap();
    importer.ensure_sandbox_image().await.unwrap();
    importer.ensure_sandbox_image().await.unwrap();
    node.run("foreign", true, "sleep 1000").await;
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_in_the_directory_and_dropped_in_later_are_imported_past_a_bad_one() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    let path = node.dir.path().join("images");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("a-bad.tar"), "no tar at all").unwrap();
    std::fs::write(path.join("b-good.tar"), archive("orlop.local/there:1", "x")).unwrap();
    let importer = Arc::new(Importer::new(node.remote()).unwrap());
    let directory = Directory::open(importer, &path).unwrap();
    assert_eq!(directory.import_existing().await, 1);
    assert!(
        node.remote()
            .image_status("orlop.local/there:1")
            .await
            .unwrap()
            .is_some()
    );

    let shutdown = CancellationToken::new();
    let watching = tokio::spawn(directory.watch(shutdown.clone()));
    let partial = path.join("c.tar.partial");
    std::fs::write(&partial, archive("orlop.local/dropped:1", "y")).unwrap();
    std::fs::rename(&partial, path.join("c.tar")).unwrap();
    let give_up = Instant::now() + Duration::from_secs(20);
    while node
        .remote()
        .image_status("orlop.local/dropped:1")
        .await
        .unwrap()
        .is_none()
    {
        assert!(Instant::now() < give_up, "dropped archive not imported");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    shutdown.cancel();
    watching.await.unwrap();
    node.finish().await;
}

/// Where no registry has it, a pod could never start again once its image was collected.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_the_runtime_has_lost_comes_back_from_its_archive_as_long_as_that_lies_there() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    let path = node.dir.path().join("images");
    std::fs::create_dir_all(&path).unwrap();
    let name = "docker.io/library/there:1";
    std::fs::write(path.join("there.tar"), archive(name, "x")).unwrap();
    let importer = Arc::new(Importer::new(node.remote()).unwrap());
    let directory = Directory::open(importer, &path).unwrap();
    assert_eq!(directory.import_existing().await, 1);
    let archives = directory.archives();
    let lose = async || {
        node.remote().remove_image(name).await.unwrap();
        assert!(node.remote().image_status(name).await.unwrap().is_none());
    };

    lose().await;
    assert!(archives.import("there:1").await, "pods may use the short name");
    assert!(node.remote().image_status(name).await.unwrap().is_some());
    assert!(!archives.import("there:2").await);

    lose().await;
    std::fs::remove_file(path.join("there.tar")).unwrap();
    assert!(!archives.import(name).await);
    node.finish().await;
}

/// The example's image in small: a dynamically linked program of this machine with the libraries it needs.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_this_machine_runs_from_an_image_with_its_libraries() {
    let etcd = std::path::Path::new("/usr/bin/etcd");
    if !node::is_possible() || !etcd.exists() {
        return;
    }
    let node = Node::start().await;
    let archive = orlop_oci::ImageBuilder::new(BUSYBOX)
        .unwrap()
        .base()
        .unwrap()
        .host_file(etcd, "/usr/bin/etcd")
        .unwrap()
        .host_file(std::path::Path::new("/bin/busybox"), "/bin/sh")
        .unwrap()
        .to_archive()
        .unwrap();
    let path = node.dir.path().join("etcd.tar");
    std::fs::write(&path, archive).unwrap();
    let start = Instant::now();
    Importer::new(node.remote())
        .unwrap()
        .import_file(&path)
        .await
        .unwrap();
    println!("imported in {:?}", start.elapsed());
    node.run("etcd", true, "etcd --version; sleep 1000").await;
    let give_up = Instant::now() + Duration::from_secs(20);
    while !node.log("etcd").contains("etcd Version:") {
        assert!(Instant::now() < give_up, "{}", node.log("etcd"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    node.finish().await;
}

/// `imageServiceEndpoint`: images are where it says, everything else where it was.
#[tokio::test(flavor = "multi_thread")]
async fn images_may_be_with_another_service_than_containers() {
    if !node::is_possible() {
        return;
    }
    let (node, other) = (Node::start().await, Node::start().await);
    node.import_busybox().await;
    Importer::new(other.remote())
        .unwrap()
        .import_bytes(archive("orlop.local/elsewhere:1", "x"))
        .await
        .unwrap();
    let nowhere = orlop_cri::Endpoint::of_socket("/nowhere/images.sock");
    let error = node.remote().clone().with_images_at(&nowhere, Duration::ZERO);
    let error = error.await.unwrap_err().to_string();
    assert!(error.contains("/nowhere/images.sock does not exist"), "{error}");
    let both = node.remote().clone();
    let elsewhere = other.managed.endpoint();
    let both = both.with_images_at(&elsewhere, Duration::ZERO);
    let both = both.await.unwrap();
    let is_with =
        async |remote: &orlop_cri::Remote, name: &str| remote.image_status(name).await.unwrap().is_some();
    assert!(is_with(&both, "orlop.local/elsewhere:1").await);
    assert!(!is_with(&both, BUSYBOX).await);
    assert!(!is_with(node.remote(), "orlop.local/elsewhere:1").await);
    let (_, id) = node.run("here", true, "sleep 1000").await;
    let containers = both.list_containers(None).await.unwrap();
    assert!(containers.iter().any(|container| container.id == id));
    other.finish().await;
    node.finish().await;
}
