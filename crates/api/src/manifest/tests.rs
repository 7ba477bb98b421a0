use super::*;
use proptest::prelude::*;

const POD: &str = "apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  containers:
  - name: c
    image: i:1
    ports:
    - containerPort: 80
";

fn origin(path: &str, node: &str) -> StaticOrigin {
    StaticOrigin {
        node_name: node.into(),
        source: Source::File(path.into()),
    }
}

fn pod(text: &str) -> Result<Pod, ManifestError> {
    static_pod(text.as_bytes(), &origin("/m/a.yaml", "node-a"))
}

fn uid(text: &str, path: &str, node: &str) -> String {
    static_pod(text.as_bytes(), &origin(path, node))
        .unwrap()
        .metadata
        .uid
        .unwrap()
}

#[test]
fn a03_manifest_becomes_a_named_identified_pod() {
    let pod = pod(POD).unwrap();
    let metadata = &pod.metadata;
    assert_eq!(metadata.name.as_deref(), Some("web-node-a"));
    assert_eq!(metadata.namespace.as_deref(), Some("default"));
    let uid = metadata.uid.as_deref().unwrap();
    assert!(
        uid.len() == 32
            && uid
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
        "{uid}"
    );
    assert_eq!(metadata.annotations.as_ref().unwrap()[CONFIG_HASH], uid);
    let spec = pod.spec.as_ref().unwrap();
    assert_eq!(spec.node_name.as_deref(), Some("node-a"));
    let blanket = &spec.tolerations.as_ref().unwrap()[0];
    assert_eq!(
        (
            blanket.operator.as_deref(),
            blanket.effect.as_deref(),
            &blanket.key
        ),
        (Some("Exists"), Some("NoExecute"), &None)
    );
    assert_eq!(pod.status.unwrap().phase.as_deref(), Some("Pending"));
}

#[test]
fn a04_comments_key_order_and_spelt_out_defaults_keep_the_uid() {
    let same = "# why\nkind: Pod\napiVersion: v1\nspec:\n  restartPolicy: Always\n  containers:\n  - image: \"i:1\"\n    name: c\n    \
                ports: [{containerPort: 80, protocol: TCP}]\nmetadata: {labels: {app: web}, name: web}\n";
    assert_eq!(uid(POD, "/m/a.yaml", "n"), uid(same, "/m/a.yaml", "n"));
}

/// §2.4: what `kubectl run --dry-run` writes out says nothing new.
#[test]
fn a04_saying_nothing_at_length_keeps_the_uid() {
    let long =
        POD.replace(
            "metadata:\n",
            "metadata:\n  creationTimestamp: null\n  annotations: {}\n",
        )
        .replace(
            "    image: i:1\n",
            "    image: i:1\n    resources: {}\n    tty: false\n    args: []\n    env:\n",
        )
        .replace(
            "  containers:\n",
            "  hostNetwork: false\n  nodeSelector: {}\n  hostname: \"\"\n  containers:\n",
        ) + "status: {}\n";
    assert_eq!(uid(POD, "/m/a.yaml", "n"), uid(&long, "/m/a.yaml", "n"));
}

#[test]
fn a09_what_looks_empty_but_means_something_changes_the_uid() {
    let base = uid(POD, "/m/a.yaml", "n");
    for (from, to) in [
        ("labels: {app: web}", "labels: {app: web, empty: \"\"}"),
        (
            "labels: {app: web}",
            "labels: {app: web}\n  annotations: {x: \"\"}",
        ),
        ("  containers:\n", "  hostUsers: false\n  containers:\n"),
        ("  containers:\n", "  enableServiceLinks: false\n  containers:\n"),
        (
            "  containers:\n",
            "  terminationGracePeriodSeconds: 0\n  containers:\n",
        ),
        ("    image: i:1\n", "    image: i:1\n    args: [\"\"]\n"),
        (
            "    image: i:1\n",
            "    image: i:1\n    securityContext: {allowPrivilegeEscalation: false}\n",
        ),
    ] {
        assert_ne!(base, uid(&POD.replace(from, to), "/m/a.yaml", "n"), "{to}");
    }
}

#[test]
fn a09_path_node_and_meaning_change_the_uid() {
    let base = uid(POD, "/m/a.yaml", "n");
    assert_ne!(base, uid(POD, "/m/b.yaml", "n"));
    assert_ne!(base, uid(POD, "/m/a.yaml", "m"));
    assert_ne!(base, uid(&POD.replace("i:1", "i:2"), "/m/a.yaml", "n"));
    assert_ne!(base, uid(&POD.replace("app: web", "app: x"), "/m/a.yaml", "n"));
}

#[test]
fn a12_url_pods_share_a_uid_across_nodes_and_get_no_toleration() {
    let http = |node: &str| {
        let origin = StaticOrigin {
            node_name: node.into(),
            source: Source::Http("http://x".into()),
        };
        static_pod(POD.as_bytes(), &origin).unwrap()
    };
    assert_eq!(http("a").metadata.uid, http("b").metadata.uid);
    assert!(http("a").spec.unwrap().tolerations.is_none());
}

#[test]
fn a21_uid_in_the_manifest_is_kept() {
    let fixed = POD.replace("  name: web\n", "  name: web\n  uid: fixed\n");
    assert_eq!(uid(&fixed, "/m/a.yaml", "n"), "fixed");
}

#[test]
fn wrong_type_is_told_with_line_column_and_field() {
    let error = pod(&POD.replace("containerPort: 80", "containerPort: many")).unwrap_err();
    assert_eq!(
        (error.line, error.field.as_deref()),
        (Some(11), Some("spec.containers[0].ports[0].containerPort"))
    );
    assert!(error.column.is_some());
}

#[test]
fn missing_name_kind_and_image_are_told_with_their_place() {
    let error = pod(&POD.replace("  name: web\n", "")).unwrap_err();
    assert_eq!(error.field.as_deref(), Some("metadata.name"));
    assert!(error.line.is_some());
    assert_eq!(
        pod(&POD.replace("kind: Pod\n", "")).unwrap_err().field.as_deref(),
        Some("kind")
    );
    let error = pod(&POD.replace("    image: i:1\n", "")).unwrap_err();
    assert_eq!(
        error.to_string().split(": ").nth(1),
        Some("spec.containers[0].image")
    );
    assert!(error.reason.starts_with("Required value"));
}

#[test]
fn a06_api_objects_are_refused_by_name() {
    let with = |spec: &str| format!("{POD}  {spec}\n");
    let volume = |source: &str| with(&format!("volumes: [{{name: v, {source}}}]"));
    let container = |field: &str| POD.replace("    ports:", &format!("    {field}\n    ports:"));
    let env = |from: &str| container(&format!("env: [{{name: A, valueFrom: {{{from}}}}}]"));
    let projected = |source: &str| {
        volume(&format!(
            "projected: {{sources: [{{downwardAPI: {{items: []}}}}, {{{source}}}]}}"
        ))
    };
    for (text, field, object) in [
        (
            with("serviceAccountName: x"),
            "serviceAccountName",
            "ServiceAccount \"x\"",
        ),
        (
            with("serviceAccount: x"),
            "serviceAccount",
            "ServiceAccount \"x\"",
        ),
        (
            with("imagePullSecrets: [{name: s}]"),
            "imagePullSecrets[0]",
            "Secret \"s\"",
        ),
        (
            with("resourceClaims: [{name: r, resourceClaimName: x}]"),
            "resourceClaims",
            "ResourceClaims",
        ),
        (
            env("secretKeyRef: {name: s, key: k}"),
            "containers[0].env[0].valueFrom.secretKeyRef",
            "Secret \"s\"",
        ),
        (
            env("configMapKeyRef: {name: m, key: k}"),
            "containers[0].env[0].valueFrom.configMapKeyRef",
            "ConfigMap \"m\"",
        ),
        (
            container("envFrom: [{secretRef: {name: s}}]"),
            "containers[0].envFrom[0].secretRef",
            "Secret \"s\"",
        ),
        (
            container("envFrom: [{configMapRef: {name: m}}]"),
            "containers[0].envFrom[0].configMapRef",
            "ConfigMap \"m\"",
        ),
        (
            volume("configMap: {name: x}"),
            "volumes[0].configMap",
            "ConfigMap \"x\"",
        ),
        (
            volume("secret: {secretName: x}"),
            "volumes[0].secret",
            "Secret \"x\"",
        ),
        (
            volume("persistentVolumeClaim: {claimName: x}"),
            "volumes[0].persistentVolumeClaim",
            "PersistentVolumeClaim \"x\"",
        ),
        (
            projected("configMap: {name: x}"),
            "volumes[0].projected.sources[1].configMap",
            "ConfigMap \"x\"",
        ),
        (
            projected("secret: {name: x}"),
            "volumes[0].projected.sources[1].secret",
            "Secret \"x\"",
        ),
        (
            projected("serviceAccountToken: {path: t}"),
            "volumes[0].projected.sources[1].serviceAccountToken",
            "token",
        ),
        (
            projected("clusterTrustBundle: {name: b, path: t}"),
            "volumes[0].projected.sources[1].clusterTrustBundle",
            "ClusterTrustBundle \"b\"",
        ),
        (
            projected("podCertificate: {signerName: b, keyType: RSA3072}"),
            "volumes[0].projected.sources[1].podCertificate",
            "certificate",
        ),
        (volume("csi: {driver: d}"), "volumes[0].csi", "csi"),
        (
            volume("glusterfs: {endpoints: e, path: p}"),
            "volumes[0].glusterfs",
            "glusterfs",
        ),
        (
            volume("azureFile: {secretName: s, shareName: p}"),
            "volumes[0].azureFile",
            "azureFile",
        ),
        (
            volume("ephemeral: {volumeClaimTemplate: {spec: {}}}"),
            "volumes[0].ephemeral",
            "ephemeral",
        ),
        (
            volume("iscsi: {targetPortal: t, iqn: q, lun: 0, secretRef: {name: s}}"),
            "volumes[0].iscsi",
            "Secret",
        ),
    ] {
        let error = pod(&text).unwrap_err();
        let field = format!("spec.{field}");
        assert_eq!(error.field.as_deref(), Some(field.as_str()), "{error}");
        assert!(error.line.is_some() && error.column.is_some(), "{error}");
        assert!(
            error.reason.starts_with("a static pod cannot use API objects"),
            "{error}"
        );
        assert!(error.reason.contains(object), "{error}");
    }
}

/// §2.5: what needs no API object, and references that name nothing.
#[test]
fn references_to_nothing_and_the_nodes_own_volumes_are_allowed() {
    let spec = "  imagePullSecrets: [{name: \"\"}]\n  volumes:\n  - {name: a, hostPath: {path: /x}}\n  - {name: b, emptyDir: {}}\n  \
                - {name: c, downwardAPI: {items: []}}\n  - {name: d, nfs: {server: s, path: /}}\n  \
                - {name: e, projected: {sources: [{downwardAPI: {items: []}}]}}\n  \
                - {name: f, iscsi: {targetPortal: t, iqn: q, lun: 0}}\n";
    pod(&format!("{POD}{spec}")).unwrap();
}

/// §2.3.9: neither makes sense for a pod that a node already runs.
#[test]
fn a06_ephemeral_containers_and_gates_are_invalid() {
    for (spec, field) in [
        (
            "  ephemeralContainers: [{name: e, image: i}]\n",
            "spec.ephemeralContainers",
        ),
        ("  schedulingGates: [{name: x.y/z}]\n", "spec.nodeName"),
    ] {
        let error = pod(&format!("{POD}{spec}")).unwrap_err();
        assert_eq!(error.field.as_deref(), Some(field), "{error}");
    }
}

#[test]
fn a07_size_limit_is_exclusive() {
    let padded = |size: usize| format!("{POD}{}", "#".repeat(size - POD.len()));
    assert!(pod(&padded(MANIFEST_BYTES_MAX - 1)).is_ok());
    assert!(
        pod(&padded(MANIFEST_BYTES_MAX))
            .unwrap_err()
            .reason
            .contains("too large")
    );
}

#[test]
fn a08_first_document_counts_and_lists_do_not() {
    let two = format!("{POD}---\napiVersion: v1\nkind: Pod\nmetadata: {{name: other}}\n");
    assert_eq!(pod(&two).unwrap().metadata.name.as_deref(), Some("web-node-a"));
    assert!(pod("apiVersion: v1\nkind: PodList\nitems: []\n").is_err());
}

#[test]
fn json_is_read_as_well() {
    let text = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"containers":[{"name":"c","image":"i:1"}]}}"#;
    assert_eq!(pod(text).unwrap().metadata.name.as_deref(), Some("web-node-a"));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = static_pod(&bytes, &origin("/m/a.yaml", "n"));
    }

    #[test]
    fn damaged_manifests_never_panic(cut in 0usize..200, junk in "[ -~\n]{0,20}") {
        let cut = cut.min(POD.len());
        let text = format!("{}{junk}{}", &POD[..cut], &POD[cut..]);
        let _ = pod(&text);
    }
}

#[test]
fn a10_pod_list_over_http_gives_all_its_pods() {
    let origin = StaticOrigin {
        node_name: "n".into(),
        source: Source::Http("http://x".into()),
    };
    let item = |name: &str| {
        format!("- metadata: {{name: {name}}}\n  spec: {{containers: [{{name: c, image: i}}]}}\n")
    };
    let list = format!(
        "apiVersion: v1\nkind: PodList\nitems:\n{}{}",
        item("a"),
        item("b")
    );
    let pods = static_pods(list.as_bytes(), &origin).unwrap();
    let names: Vec<_> = pods
        .iter()
        .filter_map(|pod| pod.metadata.name.as_deref())
        .collect();
    assert_eq!(names, ["a-n", "b-n"]);
    assert_ne!(pods[0].metadata.uid, pods[1].metadata.uid);
    assert_eq!(static_pods(POD.as_bytes(), &origin).unwrap().len(), 1);
    let empty = static_pods(b"{apiVersion: v1, kind: PodList}", &origin).unwrap();
    assert_eq!(empty, []);
}

#[test]
fn a10_one_bad_item_spoils_the_list_and_is_named() {
    let origin = origin("/m/a", "n");
    let list = "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\n  spec: {containers: [{name: c, image: i}]}\n\
                - metadata: {name: b}\n  spec:\n    containers: [{name: c}]\n";
    let error = static_pods(list.as_bytes(), &origin).unwrap_err();
    assert_eq!(
        (error.line, error.field.as_deref()),
        (Some(8), Some("items[1].spec.containers[0].image"))
    );
}
