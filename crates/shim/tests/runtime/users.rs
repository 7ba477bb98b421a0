//! Pods with users of their own, where containerd knows them (2.0 and later).

use crate::node::{self, BUSYBOX, Node};
use crate::tasks::until;
use orlop_cri::{RuntimeService, v1};
use std::os::unix::fs::MetadataExt;

/// Which users of the node the pod's are.
const FIRST: u32 = 1 << 20;
const LENGTH: u32 = 1 << 16;

fn own_users() -> v1::UserNamespace {
    let map = v1::IdMapping {
        host_id: FIRST,
        container_id: 0,
        length: LENGTH,
    };
    v1::UserNamespace {
        mode: v1::NamespaceMode::Pod as i32,
        uids: vec![map],
        gids: vec![map],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_is_told_what_runc_can_and_pods_with_users_of_their_own_own_their_image() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    if node
        .remote()
        .runtime_version()
        .trim_start_matches('v')
        .starts_with("1.")
    {
        eprintln!("skipped: needs containerd 2.0 or later");
        return node.finish().await;
    }
    node.import_busybox().await;
    let handlers = node.remote().status(false).await.unwrap().runtime_handlers;
    let usual = handlers.into_iter().find(|handler| handler.name.is_empty());
    let features = usual.unwrap().features.unwrap();
    if !features.user_namespaces {
        eprintln!("skipped: runc or the kernel maps no users");
        return node.finish().await;
    }

    let mut sandbox = node.sandbox("users", false);
    let of_sandbox = sandbox.linux.get_or_insert_default();
    let namespaces = of_sandbox
        .security_context
        .get_or_insert_default()
        .namespace_options
        .get_or_insert_default();
    namespaces.userns_options = Some(own_users());
    let mut container = node.container("users", "ls -ln /bin/busybox; touch /mine; sleep 1000");
    container.linux = Some(v1::LinuxContainerConfig {
        security_context: Some(v1::LinuxContainerSecurityContext {
            namespace_options: Some(namespaces.clone()),
            ..v1::LinuxContainerSecurityContext::default()
        }),
        ..v1::LinuxContainerConfig::default()
    });
    let runtime = node.remote();
    let sandbox_id = runtime.run_pod_sandbox(sandbox.clone(), "").await.unwrap();
    let id = runtime
        .create_container(&sandbox_id, container, sandbox)
        .await
        .unwrap();
    runtime.start_container(&id).await.unwrap();
    until("its output", async || !node.log("users").is_empty()).await;
    let log = node.log("users");
    let words: Vec<&str> = log.split_whitespace().collect();
    let mode = words.iter().position(|word| word.starts_with("-r")).unwrap();
    assert_eq!(words[mode + 2..mode + 4], ["0", "0"], "{log}");

    let status = runtime.container_status(&id, true).await.unwrap();
    let info: serde_json::Value = serde_json::from_str(&status.info["info"]).unwrap();
    let root = format!("/proc/{}/root", info["pid"]);
    until("its file", async || {
        std::path::Path::new(&format!("{root}/mine")).exists()
    })
    .await;
    for file in ["bin/busybox", "mine"] {
        let seen = std::fs::metadata(format!("{root}/{file}")).unwrap();
        assert_eq!((seen.uid(), seen.gid()), (FIRST, FIRST), "{file} of {BUSYBOX}");
    }
    node.finish().await;
}
