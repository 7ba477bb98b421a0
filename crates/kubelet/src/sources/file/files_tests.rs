//! Readings of a directory as it changes.
use super::*;
use std::time::Duration;

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\nspec:\n  containers:\n  - {name: c, image: \"i:1\"}\n";

fn source(path: &Path) -> FileSource {
    FileSource {
        path: path.to_path_buf(),
        node_name: "node-a".into(),
        rescan: Duration::from_secs(20),
        objects: None,
    }
}

fn write(directory: &Path, file: &str, text: &str) {
    std::fs::write(directory.join(file), text).unwrap();
}

fn names(files: &Files) -> Vec<String> {
    let real = |pod: &&Arc<Pod>| placeholder::message(pod).is_none();
    let snapshot = files.snapshot();
    snapshot
        .pods
        .iter()
        .filter(real)
        .map(|pod| full_name(pod))
        .collect()
}

/// A directory with the manifest `a.yaml`, read once.
fn with_a() -> (tempfile::TempDir, Files) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.yaml", &POD.replace("NAME", "a"));
    let mut files = Files::default();
    files.read(&source(dir.path()), &Scope::All);
    (dir, files)
}

#[test]
fn a01_every_visible_file_counts_whatever_its_extension() {
    let dir = tempfile::tempdir().unwrap();
    for (file, name) in [
        ("a.yaml", "a"),
        ("b.json", "b"),
        ("c.txt", "c"),
        ("d.yaml~", "d"),
        (".e.yaml", "e"),
    ] {
        write(dir.path(), file, &POD.replace("NAME", name));
    }
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    write(&dir.path().join("sub"), "f.yaml", &POD.replace("NAME", "f"));
    let mut files = Files::default();
    let (changed, faults) = files.read(&source(dir.path()), &Scope::All);
    assert!(changed && faults.is_empty(), "{faults:?}");
    let want = [
        "a-node-a_default",
        "b-node-a_default",
        "c-node-a_default",
        "d-node-a_default",
    ];
    assert_eq!(names(&files), want);
}

#[test]
fn a02_missing_path_is_an_empty_set() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = Files::default();
    assert_eq!(
        files.read(&source(&dir.path().join("later")), &Scope::All),
        (false, vec![])
    );
    assert!(names(&files).is_empty());
}

#[test]
fn a03_pod_carries_hash_source_and_time() {
    let (_dir, files) = with_a();
    let pod = files.snapshot().pods[0].clone();
    let annotations = pod.metadata.annotations.clone().unwrap();
    assert_eq!(
        annotations["kubernetes.io/config.hash"],
        *pod.metadata.uid.as_ref().unwrap()
    );
    assert_eq!(annotations["kubernetes.io/config.source"], "file");
    let seen = &annotations["kubernetes.io/config.seen"];
    assert_eq!(
        seen.split('.')
            .nth(1)
            .unwrap()
            .chars()
            .take_while(char::is_ascii_digit)
            .count(),
        9,
        "{seen}"
    );
}

#[test]
fn a04_comments_and_key_order_change_nothing() {
    let (dir, mut files) = with_a();
    let shuffled = "# a comment\nkind: Pod\napiVersion: v1\nspec:\n  containers:\n  - {image: \"i:1\", name: c}\n\
                    metadata: {name: a}\n";
    write(dir.path(), "a.yaml", shuffled);
    assert_eq!(files.read(&source(dir.path()), &Scope::All), (false, vec![]));
}

#[test]
fn a05_bad_edit_keeps_the_last_good_pod_at_rescans_too_and_is_told_once() {
    let (dir, mut files) = with_a();
    write(dir.path(), "a.yaml", "apiVersion: v1\nkind: Pod\nspec: [");
    let (changed, faults) = files.read(&source(dir.path()), &Scope::All);
    assert!(!changed);
    assert_eq!(faults.len(), 1);
    assert!(
        faults[0].keeps_running && faults[0].to_string().contains("a.yaml"),
        "{}",
        faults[0]
    );
    assert_eq!(
        files.read(&source(dir.path()), &Scope::All),
        (false, vec![]),
        "the same fault is no news"
    );
    assert_eq!(names(&files), ["a-node-a_default"]);
    write(
        dir.path(),
        "a.yaml",
        &POD.replace("NAME", "a").replace("i:1", "i:2"),
    );
    assert_eq!(files.read(&source(dir.path()), &Scope::All), (true, vec![]));
}

#[test]
fn a06_bad_neighbour_does_not_stop_a_good_one() {
    let (dir, mut files) = with_a();
    write(dir.path(), "b.yaml", "not a pod");
    let (_, faults) = files.read(&source(dir.path()), &Scope::All);
    assert_eq!(faults.len(), 1);
    assert_eq!(names(&files), ["a-node-a_default"]);
}

#[test]
fn a07_file_of_ten_mebibytes_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let text = POD.replace("NAME", "a");
    let padding = |bytes: usize| format!("{text}#{}", " ".repeat(bytes - text.len() - 1));
    write(dir.path(), "big.yaml", &padding(MANIFEST_BYTES_MAX));
    let mut files = Files::default();
    assert_eq!(files.read(&source(dir.path()), &Scope::All).1.len(), 1);
    write(dir.path(), "big.yaml", &padding(MANIFEST_BYTES_MAX - 1));
    assert_eq!(files.read(&source(dir.path()), &Scope::All), (true, vec![]));
}

#[test]
fn a09_renamed_manifest_is_another_pod() {
    let (dir, mut files) = with_a();
    let before = files.snapshot().pods[0].metadata.uid.clone();
    std::fs::rename(dir.path().join("a.yaml"), dir.path().join("b.yaml")).unwrap();
    assert_eq!(files.read(&source(dir.path()), &Scope::All), (true, vec![]));
    assert_ne!(files.snapshot().pods[0].metadata.uid, before);
}

#[test]
fn removed_file_takes_its_pod_along() {
    let (dir, mut files) = with_a();
    std::fs::remove_file(dir.path().join("a.yaml")).unwrap();
    let removed = Scope::Named(["a.yaml".into()].into());
    assert_eq!(files.read(&source(dir.path()), &removed), (true, vec![]));
    assert!(names(&files).is_empty());
}

#[test]
fn second_file_of_a_name_is_refused_and_both_are_named() {
    let (dir, mut files) = with_a();
    write(dir.path(), "0.yaml", &POD.replace("NAME", "a"));
    let (changed, faults) = files.read(&source(dir.path()), &Scope::All);
    assert!(changed);
    let told = faults[0].to_string();
    assert!(
        told.contains("0.yaml") && told.contains("a.yaml already"),
        "{told}"
    );
    assert!(
        files.snapshot().pods[0].metadata.uid == with_uid(&files, dir.path().join("a.yaml")),
        "who runs goes on"
    );
    assert_eq!(
        files.read(&source(dir.path()), &Scope::All),
        (false, vec![]),
        "it is told once"
    );
    std::fs::remove_file(dir.path().join("a.yaml")).unwrap();
    assert_eq!(files.read(&source(dir.path()), &Scope::All), (true, vec![]));
    assert_eq!(names(&files), ["a-node-a_default"]);
    let reports = files.reports();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports.values().next().unwrap().error, None);
}

fn with_uid(files: &Files, path: PathBuf) -> Option<String> {
    files.reports()[&path.display().to_string()].uid.clone()
}

#[test]
fn new_files_of_one_name_are_settled_by_their_order() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["b.yaml", "a.yaml"] {
        write(dir.path(), file, &POD.replace("NAME", "same"));
    }
    let mut files = Files::default();
    let (_, faults) = files.read(&source(dir.path()), &Scope::All);
    assert!(faults[0].manifest.ends_with("b.yaml"), "{faults:?}");
    assert_eq!(files.snapshot().pods.len(), 1);
}

#[test]
fn editors_copy_is_ignored_beside_its_original_and_after_it() {
    let (dir, mut files) = with_a();
    write(dir.path(), "a.yaml~", &POD.replace("NAME", "copy"));
    assert_eq!(files.read(&source(dir.path()), &Scope::All), (false, vec![]));
    let copy = dir.path().join("a.yaml~").display().to_string();
    assert!(
        files.reports()[&copy]
            .ignored
            .as_ref()
            .unwrap()
            .contains("a.yaml")
    );
    std::fs::remove_file(dir.path().join("a.yaml")).unwrap();
    assert_eq!(files.read(&source(dir.path()), &Scope::All), (true, vec![]));
    assert!(
        names(&files).is_empty(),
        "what was deleted does not come back as its copy"
    );
}

#[test]
fn reports_tell_what_became_of_each_file() {
    let (dir, mut files) = with_a();
    write(
        dir.path(),
        "b.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: b}\nspec: {containers: []}\n",
    );
    files.read(&source(dir.path()), &Scope::All);
    let report = |file: &str| files.reports()[&dir.path().join(file).display().to_string()].clone();
    assert_eq!(report("a.yaml").pods, ["a-node-a_default"]);
    assert_eq!(report("a.yaml").uid.unwrap().len(), 32);
    let bad = report("b.yaml");
    assert_eq!((bad.pods.len(), bad.digest.len()), (0, 32));
    assert!(
        bad.error.unwrap().contains("line 4"),
        "{:?}",
        report("b.yaml").error
    );
}

#[test]
fn placeholder_stands_for_a_file_that_never_gave_a_pod_until_it_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "b.yaml", "nonsense");
    let mut files = Files::default();
    let (changed, _) = files.read(&source(dir.path()), &Scope::All);
    let pods = files.snapshot().pods;
    assert!(changed && placeholder::message(&pods[0]).unwrap().contains("b.yaml"));
    assert_eq!(files.read(&source(dir.path()), &Scope::All), (false, vec![]));
    write(dir.path(), "b.yaml", &POD.replace("NAME", "b"));
    assert_eq!(files.read(&source(dir.path()), &Scope::All), (true, vec![]));
    let pods = files.snapshot().pods;
    assert_eq!((pods.len(), placeholder::message(&pods[0])), (1, None));
    write(dir.path(), "b.yaml", "nonsense");
    assert!(!files.read(&source(dir.path()), &Scope::All).0);
    assert_eq!(
        names(&files),
        ["b-node-a_default"],
        "the last good version runs on"
    );
}

#[test]
fn objects_beside_a_pod_come_and_change_with_its_file_where_they_may() {
    let dir = tempfile::tempdir().unwrap();
    let pod = POD
        .replace("NAME", "a")
        .replace("image:", "envFrom: [{configMapRef: {name: m}}], image:");
    let with = |value: &str| {
        format!("{pod}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\ndata: {{k: {value}}}\n")
    };
    write(dir.path(), "a.yaml", &with("one"));
    let mut refused = Files::default();
    let (_, faults) = refused.read(&source(dir.path()), &Scope::All);
    assert!(
        faults[0].reason.contains("a static pod cannot use API objects"),
        "{faults:?}"
    );

    let source = FileSource {
        objects: Some(crate::environment::local::LocalObjects::default()),
        ..source(dir.path())
    };
    let mut files = Files::default();
    let (changed, faults) = files.read(&source, &Scope::All);
    assert!(changed && faults.is_empty(), "{faults:?}");
    assert_eq!(
        (names(&files), files.objects().count()),
        (vec!["a-node-a_default".to_owned()], 1)
    );
    let before = files.objects().next().unwrap().clone();
    write(dir.path(), "a.yaml", &with("two"));
    let (changed, _) = files.read(&source, &Scope::All);
    assert!(!changed, "the pod is the same");
    assert_ne!(*files.objects().next().unwrap(), before);
    std::fs::remove_file(dir.path().join("a.yaml")).unwrap();
    files.read(&source, &Scope::All);
    assert_eq!(files.objects().count(), 0);
}

#[test]
fn labels_of_a_pod_with_a_uid_of_its_own_change_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let with = |label: &str| POD.replace("NAME", &format!("a, uid: fixed, labels: {{l: {label}}}"));
    write(dir.path(), "a.yaml", &with("one"));
    let mut files = Files::default();
    files.read(&source(dir.path()), &Scope::All);
    write(dir.path(), "a.yaml", &with("two"));
    assert_eq!(files.read(&source(dir.path()), &Scope::All), (true, vec![]));
    let pod = files.snapshot().pods[0].clone();
    assert_eq!(pod.metadata.uid.as_deref(), Some("fixed"));
    assert_eq!(pod.metadata.labels.as_ref().unwrap()["l"], "two");
}

#[test]
fn a_file_that_cannot_be_read_for_a_while_keeps_its_pod_and_is_told_once() {
    let (dir, mut files) = with_a();
    let (path, aside) = (dir.path().join("a.yaml"), dir.path().join(".aside"));
    std::fs::rename(&path, &aside).unwrap();
    // A link that leads to itself can neither be read nor looked at.
    std::os::unix::fs::symlink("a.yaml", &path).unwrap();
    let (changed, faults) = files.read(&source(dir.path()), &Scope::All);
    assert!(
        !changed && faults.len() == 1 && faults[0].keeps_running,
        "{faults:?}"
    );
    assert_eq!(files.read(&source(dir.path()), &Scope::All), (false, vec![]));
    assert_eq!(names(&files), ["a-node-a_default"]);
    let report = |files: &Files| files.reports()[&path.display().to_string()].clone();
    assert!(report(&files).error.is_some());
    std::fs::rename(&aside, &path).unwrap();
    assert_eq!(files.read(&source(dir.path()), &Scope::All), (false, vec![]));
    assert_eq!(report(&files).error, None, "it is what it was");
}

#[test]
fn a_directory_that_cannot_be_read_takes_nothing_down_and_is_told_once() {
    let (dir, mut files) = with_a();
    let unreadable = dir.path().join("self");
    std::os::unix::fs::symlink("self", &unreadable).unwrap();
    let unreadable = source(&unreadable);
    let (changed, faults) = files.read(&unreadable, &Scope::All);
    assert!(
        !changed && faults.len() == 1 && faults[0].keeps_running,
        "{faults:?}"
    );
    assert_eq!(files.read(&unreadable, &Scope::All), (false, vec![]));
    assert_eq!(names(&files), ["a-node-a_default"]);
    std::fs::remove_file(&unreadable.path).unwrap();
    // What changed meanwhile was told while nobody could see it.
    write(dir.path(), "b.yaml", &POD.replace("NAME", "b"));
    let nothing = Scope::Named(std::iter::empty().collect());
    assert_eq!(files.read(&source(dir.path()), &nothing), (true, vec![]));
    assert_eq!(names(&files).len(), 2);
}

#[test]
fn placeholders_of_files_that_differ_in_their_endings_have_names_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["web.json", "web.yaml"] {
        write(dir.path(), file, "nonsense");
    }
    let mut files = Files::default();
    files.read(&source(dir.path()), &Scope::All);
    let pods = files.snapshot().pods;
    let name = |at: usize| pods[at].metadata.name.clone().unwrap();
    assert_eq!(name(0), "invalid-manifest-web-node-a");
    assert!(name(1).starts_with("invalid-manifest-web-node-a-"), "{}", name(1));
    assert!(orlop_api::validation::pod_create(&pods[1]).is_empty());
    // Alone it has the plain name, and is another pod: who follows pods by their UIDs hears of it.
    let both = pods[1].metadata.uid.clone();
    std::fs::remove_file(dir.path().join("web.json")).unwrap();
    files.read(&source(dir.path()), &Scope::All);
    let alone = &files.snapshot().pods[0];
    assert_eq!(
        alone.metadata.name.as_deref(),
        Some("invalid-manifest-web-node-a")
    );
    assert_ne!(alone.metadata.uid, both);
}
