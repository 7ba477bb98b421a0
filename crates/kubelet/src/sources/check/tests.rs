use super::*;

struct Machine;

impl World for Machine {
    fn path(&self, path: &str) -> Option<Option<PathKind>> {
        Some(match path {
            "/etc" => Some(PathKind::Directory),
            "/etc/hosts" => Some(PathKind::File),
            _ => None,
        })
    }
    fn has_image(&self, image: &str) -> Option<bool> {
        Some(image == "here:1")
    }
}

fn pod(name: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:\n  containers:\n  - name: c\n    image: here:1\n{more}"
    )
}

fn found(files: &[(&str, String)]) -> Vec<String> {
    let files: Vec<(PathBuf, Vec<u8>)> = files
        .iter()
        .map(|(file, text)| (PathBuf::from(file), text.clone().into_bytes()))
        .collect();
    check(&files, "n1", &Machine)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn good_manifests_give_no_findings() {
    assert_eq!(
        found(&[("a.yaml", pod("a", "")), ("b.yaml", pod("b", ""))]),
        [""; 0]
    );
}

#[test]
fn file_that_the_agent_would_not_read_to_its_end_is_an_error() {
    let long = format!("{}#{}", pod("a", ""), " ".repeat(manifest::MANIFEST_BYTES_MAX));
    let findings = found(&[("a.yaml", long)]);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].starts_with("a.yaml: error: ") && findings[0].contains("bytes or more"));
}

#[test]
fn every_error_has_file_line_column_and_field() {
    let bad = pod("a", "    imagePullPolicy: Sometimes\n  restartPolicy: Perhaps\n");
    let findings = found(&[("m/a.yaml", bad)]);
    assert_eq!(findings.len(), 2, "{findings:#?}");
    assert!(findings[0].starts_with("m/a.yaml:9:"), "{findings:#?}");
    assert!(findings[0].contains(": error: spec.containers[0].imagePullPolicy: "));
    assert!(findings[1].contains(": error: spec.restartPolicy: "));
    let torn = found(&[("a.yaml", "apiVersion: [".into())]);
    assert!(
        torn[0].starts_with("a.yaml:1:") && torn[0].contains(": error: "),
        "{torn:?}"
    );
}

#[test]
fn misspelt_fields_are_warned_about_where_they_stand() {
    let found = found(&[("a.yaml", pod("a", "    imgaePullPolicy: Never\n"))]);
    assert_eq!(
        found,
        [
            "a.yaml:9:22: warning: spec.containers[0].imgaePullPolicy: no Pod has this field: the agent passes over it"
        ]
    );
}

#[test]
fn misspelt_fields_are_told_beside_the_error_that_they_are_the_reason_of() {
    let misspelt = pod("a", "").replace("image:", "imgae:");
    let findings = found(&[("a.yaml", misspelt.clone())]);
    assert_eq!(findings.len(), 2, "{findings:#?}");
    assert!(
        findings
            .iter()
            .any(|told| told.contains(": error: spec.containers[0].image: ")),
        "{findings:#?}"
    );
    let unknown = ": warning: spec.containers[0].imgae: no Pod has this field";
    assert!(
        findings
            .iter()
            .any(|told| told.starts_with("a.yaml:8:") && told.contains(unknown)),
        "{findings:#?}"
    );
    // What isn't meant as a Pod has no fields of a Pod.
    let service = "apiVersion: v1\nkind: Service\nspec: {ports: []}\n";
    assert_eq!(found(&[("a.yaml", service.into())]).len(), 1);
    // Behind an object of its own, too.
    let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\n---\n{misspelt}");
    let files = [(PathBuf::from("a.yaml"), text.into_bytes())];
    let findings = check(&files, "n1", &WithObjects(Vec::new()));
    let rules: Vec<_> = findings.iter().map(|finding| finding.rule).collect();
    assert!(
        rules.contains(&"invalid") && rules.contains(&"unknown-field"),
        "{findings:#?}"
    );
}

#[test]
fn colliding_names_and_host_ports_name_the_other_file() {
    let port = "    ports: [{containerPort: 80, hostPort: 8080}]\n";
    let findings = found(&[
        ("a.yaml", pod("web", port)),
        ("b.yaml", pod("web", "")),
        ("c.yaml", pod("other", port)),
    ]);
    assert_eq!(
        findings,
        [
            "b.yaml:4:9: warning: metadata.name: pod web-n1_default comes from a.yaml too: the agent runs one of them",
            "c.yaml:9:13: warning: spec.containers[0].ports[0]: host port 8080 is taken by the pod of a.yaml: only one of \
             them is let in",
        ]
    );
}

#[test]
fn missing_images_and_paths_are_told_before_they_bite() {
    let never = pod("a", "    imagePullPolicy: Never\n").replace("here:1", "gone:1");
    let findings = found(&[("a.yaml", never)]);
    assert!(findings[0].contains("spec.containers[0].image: image \"gone:1\" is not on this machine"));
    let volume = |path: &str, kind: &str| {
        let volume = format!("  volumes: [{{name: v, hostPath: {{path: {path}, type: {kind}}}}}]\n");
        found(&[("a.yaml", pod("a", &volume))])
    };
    assert_eq!(volume("/etc", "Directory"), [""; 0]);
    assert_eq!(volume("/nowhere", "DirectoryOrCreate"), [""; 0]);
    assert!(volume("/nowhere", "Directory")[0].ends_with("/nowhere does not exist"));
    assert!(volume("/etc/hosts", "Directory")[0].ends_with("/etc/hosts is not a directory"));
    assert!(volume("/nowhere", "\"\"")[0].contains("the runtime makes an empty directory"));
}

#[test]
fn leftovers_and_further_documents_are_mentioned() {
    let two = format!("{}---\n{}", pod("a", ""), pod("b", ""));
    let findings = found(&[("a.yaml", two), ("a.yaml~", pod("a", ""))]);
    assert_eq!(findings.len(), 2, "{findings:#?}");
    assert!(
        findings[0].starts_with("a.yaml:9:1: warning: the file goes on"),
        "{findings:#?}"
    );
    assert!(findings[1].starts_with("a.yaml~: warning: looks like a copy of a.yaml"));
}

/// A node whose static pods may use what lies on it.
struct WithObjects(Vec<LocalObject>);

impl World for WithObjects {
    fn path(&self, _: &str) -> Option<Option<PathKind>> {
        None
    }
    fn has_image(&self, _: &str) -> Option<bool> {
        None
    }
    fn objects(&self) -> Option<&[LocalObject]> {
        Some(&self.0)
    }
}

#[test]
fn objects_on_the_node_are_known_and_missing_ones_told() {
    let map = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
    let volumes = |name: &str| format!("  volumes: [{{name: v, configMap: {{name: {name}}}}}]\n");
    let files = [
        (
            PathBuf::from("a.yaml"),
            format!("{}---\n{}", pod("a", &volumes("own")), map("own")),
        ),
        (PathBuf::from("b.yaml"), pod("b", &volumes("shared"))),
        (PathBuf::from("c.yaml"), pod("c", &volumes("gone"))),
    ]
    .map(|(file, text)| (file, text.into_bytes()));
    let (objects, wrong) = check_objects(&[(PathBuf::from("o.yaml"), map("shared").into_bytes())]);
    assert!(wrong.is_empty(), "{wrong:?}");
    let findings = check(&files, "n1", &WithObjects(objects));
    let told: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].starts_with("c.yaml:9:"), "{told:#?}");
    assert!(
        told[0].ends_with("spec.volumes[0].configMap: ConfigMap default/gone lies in no file: containers that need it don't start"),
        "{told:#?}"
    );
    let (_, wrong) = check_objects(&[(PathBuf::from("o.yaml"), pod("p", "").into_bytes())]);
    assert!(
        wrong[0].to_string().starts_with("o.yaml:2:7: error: kind: "),
        "{wrong:?}"
    );
}

#[test]
fn pods_that_wait_for_each_other_are_found() {
    let after = |name: &str, other: &str| {
        pod(name, "").replace(
            "metadata:\n",
            &format!("metadata:\n  annotations: {{orlop.dev/after: {other}}}\n"),
        )
    };
    let findings = found(&[
        ("a.yaml", after("a", "b")),
        ("b.yaml", after("b", "a")),
        ("c.yaml", after("c", "a")),
    ]);
    assert_eq!(findings.len(), 2, "{findings:#?}");
    assert!(findings[0].contains("orlop.dev/after") && findings[0].starts_with("a.yaml:4:"));
}
