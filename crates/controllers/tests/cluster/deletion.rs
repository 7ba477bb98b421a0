//! Deletion of owners and namespaces.

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, NamespaceCondition, Pod, ReplicationController, ServiceAccount,
};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    PostParams,
};
use serde_json::json;

use crate::harness::{Cluster, eventually};

#[tokio::test]
async fn s11_a_deleted_daemon_set_takes_pods_and_revisions_with_it() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    cluster.create_set("d", json!({})).await;
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
    cluster
        .sets()
        .delete("d", &DeleteParams::background())
        .await
        .unwrap();
    let revisions: Api<ControllerRevision> = Api::namespaced(cluster.client.clone(), "default");
    eventually("pods and revisions are gone", || async {
        let pods = cluster
            .pods()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len();
        let revisions = revisions.list(&ListParams::default()).await.unwrap().items.len();
        (pods + revisions == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_replication_controller_leaves_its_pods_behind_unless_it_is_told_otherwise() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    let controllers: Api<ReplicationController> = Api::namespaced(cluster.client.clone(), "default");
    let pods_of = |name: &'static str| {
        let pods = cluster.pods();
        async move {
            pods.list(&ListParams::default().labels(&format!("app={name}")))
                .await
                .unwrap()
                .items
        }
    };
    for name in ["kept", "gone"] {
        let controller = json!({"metadata": {"name": name}, "spec": {"replicas": 2, "selector": {"app": name},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "img:1"}]}}}});
        let controller = serde_json::from_value(controller).unwrap();
        controllers
            .create(&PostParams::default(), &controller)
            .await
            .unwrap();
        eventually("its pods", || async {
            (pods_of(name).await.len() == 2).then_some(())
        })
        .await;
    }
    controllers
        .delete("kept", &DeleteParams::default())
        .await
        .unwrap();
    controllers
        .delete("gone", &DeleteParams::background())
        .await
        .unwrap();
    eventually("their ends", || async {
        let left = controllers.list(&ListParams::default()).await.unwrap().items;
        (left.is_empty() && pods_of("gone").await.is_empty()).then_some(())
    })
    .await;
    let kept = pods_of("kept").await;
    assert_eq!(kept.len(), 2);
    assert!(
        kept.iter()
            .all(|pod| pod.metadata.owner_references.is_none() && pod.metadata.deletion_timestamp.is_none())
    );
}

#[tokio::test]
async fn u22_a_foreground_deleted_daemon_set_goes_last() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    let held = json!({"template": {"metadata": {"finalizers": ["test/hold"]}}});
    cluster.create_set("d", held).await;
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
    cluster
        .sets()
        .delete("d", &DeleteParams::foreground())
        .await
        .unwrap();
    let pod = eventually("the pod's deletion", || async {
        let pods = cluster.pods().list(&ListParams::default()).await.unwrap().items;
        pods.into_iter()
            .find(|pod| pod.metadata.deletion_timestamp.is_some())
    })
    .await;
    let set = cluster.sets().get("d").await.unwrap();
    assert_eq!(set.metadata.finalizers.unwrap(), ["foregroundDeletion"]);
    let let_go = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    cluster
        .pods()
        .patch(&pod.metadata.name.unwrap(), &PatchParams::default(), &let_go)
        .await
        .unwrap();
    eventually("the set's end", || async {
        cluster.sets().get_opt("d").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(
        cluster
            .pods()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

/// A ConfigMap that stays until `let_go`, owned by another if one is named.
async fn create_held(maps: &Api<ConfigMap>, name: &str, owner: Option<(&ConfigMap, bool)>) -> ConfigMap {
    let mut metadata = json!({"name": name});
    if let Some((owner, blocks)) = owner {
        let owner = &owner.metadata;
        metadata["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": owner.name,
            "uid": owner.uid, "blockOwnerDeletion": blocks}]);
        metadata["finalizers"] = json!(["example.com/held"]);
    }
    let map = serde_json::from_value(json!({"metadata": metadata})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap()
}

async fn let_go(maps: &Api<ConfigMap>, name: &str) {
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch(name, &PatchParams::default(), &patch).await.unwrap();
}

async fn is_going(maps: &Api<ConfigMap>, name: &str) {
    eventually("the deletion of a dependent", || async {
        let map = maps.get(name).await.unwrap();
        map.metadata.deletion_timestamp
    })
    .await;
}

async fn is_gone(maps: &Api<ConfigMap>, name: &str) {
    eventually("the end of an object", || async {
        maps.get_opt(name).await.unwrap().is_none().then_some(())
    })
    .await;
}

/// API server contract, case X12.
#[tokio::test]
async fn x12_an_owner_deleted_in_background_goes_first_and_its_dependents_are_removed_by_the_collector() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let owner = create_held(&maps, "owner", None).await;
    create_held(&maps, "dependent", Some((&owner, true))).await;
    maps.delete("owner", &DeleteParams::background()).await.unwrap();
    assert!(maps.get_opt("owner").await.unwrap().is_none());
    is_going(&maps, "dependent").await;
    let_go(&maps, "dependent").await;
    is_gone(&maps, "dependent").await;
}

/// API server contract, case X12.
#[tokio::test]
async fn x12_an_owner_deleted_in_foreground_remains_until_dependents_that_block_it_are_gone() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let owner = create_held(&maps, "owner", None).await;
    create_held(&maps, "blocking", Some((&owner, true))).await;
    create_held(&maps, "other", Some((&owner, false))).await;
    maps.delete("owner", &DeleteParams::foreground()).await.unwrap();
    for dependent in ["blocking", "other"] {
        is_going(&maps, dependent).await;
    }
    let owner = maps.get("owner").await.unwrap();
    assert!(owner.metadata.deletion_timestamp.is_some());
    assert_eq!(owner.metadata.finalizers.unwrap(), ["foregroundDeletion"]);
    let_go(&maps, "blocking").await;
    is_gone(&maps, "owner").await;
    // It never held its owner back.
    assert!(maps.get_opt("other").await.unwrap().is_some());
    let_go(&maps, "other").await;
    is_gone(&maps, "other").await;
}

#[tokio::test]
async fn s08_s10_a_namespace_has_its_defaults_and_goes_with_its_contents() {
    let cluster = Cluster::start().await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "n");
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "n");
    for _ in 0..2 {
        eventually("the default account", || async {
            accounts.get_opt("default").await.unwrap()
        })
        .await;
        let map = eventually("the root CA", || async {
            maps.get_opt("kube-root-ca.crt").await.unwrap()
        })
        .await;
        assert_eq!(map.data.unwrap()["ca.crt"], "the CA");
        accounts
            .delete("default", &DeleteParams::default())
            .await
            .unwrap();
        maps.delete("kube-root-ca.crt", &DeleteParams::default())
            .await
            .unwrap();
    }
    eventually("the default account", || async {
        accounts.get_opt("default").await.unwrap()
    })
    .await;

    cluster.add_node("n1", json!({})).await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "n");
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
        .await
        .unwrap();
    eventually("a node for the pod", || async {
        pods.get("p").await.unwrap().spec.unwrap().node_name
    })
    .await;
    namespaces.delete("n", &DeleteParams::default()).await.unwrap();
    eventually("the namespace's end", || async {
        namespaces.get_opt("n").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(pods.list(&ListParams::default()).await.unwrap().items.is_empty());
}

/// A kind that comes while the collector runs: what its objects own goes with them, and not before.
#[tokio::test]
async fn objects_of_a_new_custom_resource_own_like_any_other() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let kind = |group: &str, kind: &str| ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    let definitions: Api<DynamicObject> = Api::all_with(
        cluster.client.clone(),
        &kind("apiextensions.k8s.io", "CustomResourceDefinition"),
    );
    let widgets: Api<DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), "default", &kind("example.com", "Widget"));
    let object = |value| serde_json::from_value::<DynamicObject>(value).unwrap();
    let params = PostParams::default();
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]},
    });
    definitions.create(&params, &object(definition)).await.unwrap();
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}});
    let widget = widgets.create(&params, &object(widget)).await.unwrap();
    let owned = |name: &str, uid: &str| -> ConfigMap {
        let owner = json!({"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": uid});
        serde_json::from_value(json!({"metadata": {"name": name, "ownerReferences": [owner]}})).unwrap()
    };
    let uid = widget.metadata.uid.unwrap();
    maps.create(&params, &owned("kept", &uid)).await.unwrap();
    // One whose owner never was goes at once: the collector knows the kind by then.
    maps.create(&params, &owned("lost", "00000000-0000-0000-0000-000000000000"))
        .await
        .unwrap();
    eventually("the end of what nobody owns", || async {
        maps.get_opt("lost").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(maps.get_opt("kept").await.unwrap().is_some());
    widgets.delete("w", &DeleteParams::background()).await.unwrap();
    eventually("the end of what the object owned", || async {
        maps.get_opt("kept").await.unwrap().is_none().then_some(())
    })
    .await;
}

/// A kind that leaves the version in which the collector knows it: its objects are still there, and own like any other.
#[tokio::test]
async fn objects_of_a_custom_resource_own_like_any_other_when_its_version_changes() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let kind = |group: &str, version: &str, kind: &str| {
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
    };
    let definitions: Api<DynamicObject> = Api::all_with(
        cluster.client.clone(),
        &kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
    );
    let widgets = |version: &str| -> Api<DynamicObject> {
        let kind = kind("example.com", version, "Widget");
        Api::namespaced_with(cluster.client.clone(), "default", &kind)
    };
    let object = |value| serde_json::from_value::<DynamicObject>(value).unwrap();
    let params = PostParams::default();
    let version = |name: &str, newest: bool| {
        json!({"name": name, "served": newest, "storage": newest,
            "schema": {"openAPIV3Schema": {"type": "object"}}})
    };
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [version("v1alpha1", true)]},
    });
    definitions.create(&params, &object(definition)).await.unwrap();
    let owned = |name: &str, uid: &str| -> ConfigMap {
        let owner = json!({"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": uid});
        serde_json::from_value(json!({"metadata": {"name": name, "ownerReferences": [owner]}})).unwrap()
    };
    let is_gone = |name: &'static str| {
        let maps = maps.clone();
        async move { maps.get_opt(name).await.unwrap().is_none().then_some(()) }
    };
    let nobody = "00000000-0000-0000-0000-000000000000";
    // The collector knows the kind, in its first version.
    maps.create(&params, &owned("first", nobody)).await.unwrap();
    eventually("the end of what nobody owns", || is_gone("first")).await;

    let versions = json!({"spec": {"versions": [version("v1alpha1", false), version("v1", true)]}});
    definitions
        .patch(
            "widgets.example.com",
            &PatchParams::default(),
            &Patch::Merge(versions),
        )
        .await
        .unwrap();
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}});
    let widget = eventually("an object of the new version", || async {
        widgets("v1").create(&params, &object(widget.clone())).await.ok()
    })
    .await;
    let uid = widget.metadata.uid.unwrap();
    maps.create(&params, &owned("kept", &uid)).await.unwrap();
    maps.create(&params, &owned("lost", nobody)).await.unwrap();
    eventually("the end of what nobody owns", || is_gone("lost")).await;
    assert!(maps.get_opt("kept").await.unwrap().is_some());
    widgets("v1")
        .delete("w", &DeleteParams::background())
        .await
        .unwrap();
    eventually("the end of what the object owned", || is_gone("kept")).await;
}

/// What is behind a server that doesn't answer holds a namespace up, and nothing else of it.
#[tokio::test]
async fn a_namespace_is_emptied_though_a_group_cannot_be_discovered_and_goes_when_it_can() {
    let cluster = Cluster::start().await;
    let params = PostParams::default();
    let kind = |group: &str, kind: &str| ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    let services: Api<DynamicObject> = Api::all_with(
        cluster.client.clone(),
        &kind("apiregistration.k8s.io", "APIService"),
    );
    let away = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.away.example.com"}, "spec": {"group": "away.example.com", "version": "v1",
            "groupPriorityMinimum": 100, "versionPriority": 10, "insecureSkipTLSVerify": true,
            "service": {"namespace": "default", "name": "nobody"}}});
    services
        .create(&params, &serde_json::from_value(away).unwrap())
        .await
        .unwrap();
    // One kind of this group is served in its older version only.
    let definitions: Api<DynamicObject> = Api::all_with(
        cluster.client.clone(),
        &kind("apiextensions.k8s.io", "CustomResourceDefinition"),
    );
    for (plural, name, version) in [("gates", "Gate", "v1"), ("filters", "Filter", "v1alpha3")] {
        let version = json!({"name": version, "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object"}}});
        let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.mesh.example.com")}, "spec": {"group": "mesh.example.com",
                "scope": "Namespaced", "names": {"plural": plural, "kind": name}, "versions": [version]}});
        definitions
            .create(&params, &serde_json::from_value(definition).unwrap())
            .await
            .unwrap();
    }
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": "held"}})).unwrap();
    namespaces.create(&params, &namespace).await.unwrap();
    let filter = ApiResource::from_gvk(&GroupVersionKind::gvk("mesh.example.com", "v1alpha3", "Filter"));
    let filters: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), "held", &filter);
    let one = json!({"apiVersion": "mesh.example.com/v1alpha3", "kind": "Filter", "metadata": {"name": "f"}});
    let one = serde_json::from_value(one).unwrap();
    eventually("a Filter", || async { filters.create(&params, &one).await.ok() }).await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "held");
    let map = serde_json::from_value(json!({"metadata": {"name": "m"}})).unwrap();
    maps.create(&params, &map).await.unwrap();
    namespaces.delete("held", &DeleteParams::default()).await.unwrap();
    let failure = eventually("what holds it up", || async {
        let conditions = namespaces.get("held").await.unwrap().status?.conditions?;
        let failed = |condition: &&NamespaceCondition| {
            condition.type_ == "NamespaceDeletionDiscoveryFailure" && condition.status == "True"
        };
        conditions
            .iter()
            .find(failed)
            .and_then(|condition| condition.message.clone())
    })
    .await;
    assert!(
        failure.contains("away.example.com/v1: stale GroupVersion discovery: away.example.com/v1"),
        "{failure}"
    );
    assert!(maps.get_opt("m").await.unwrap().is_none());
    assert!(filters.get_opt("f").await.unwrap().is_none());
    services
        .delete("v1.away.example.com", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the namespace's end", || async {
        namespaces.get_opt("held").await.unwrap().is_none().then_some(())
    })
    .await;
}
