//! Deployments and the ReplicaSets and pods below them.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, ReplicationController};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};

fn deployment(name: &str, spec: Value) -> Deployment {
    let mut deployment = json!({
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "img:1"}], "terminationGracePeriodSeconds": 1},
            },
        },
    });
    orlop_api::patch::merge(&mut deployment["spec"], &spec);
    serde_json::from_value(deployment).unwrap()
}

fn replica_set(name: &str, labels: Value, replicas: i32) -> ReplicaSet {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "img:1"}]}}},
    }))
    .unwrap()
}

fn api<K>(cluster: &Cluster) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    Api::namespaced(cluster.client.clone(), "default")
}

async fn with_nodes() -> Cluster {
    let cluster = Cluster::start().await;
    for node in ["n1", "n2"] {
        cluster.add_node(node, json!({})).await;
    }
    cluster
}

/// Waits until the rollout is over, as `kubectl rollout status` does, with so many pods.
async fn rolled_out(cluster: &Cluster, name: &str, replicas: i32) -> Deployment {
    let deployments: Api<Deployment> = api(cluster);
    eventually("the end of the rollout", || async {
        let deployment = deployments.get(name).await.unwrap();
        let status = deployment.status.clone().unwrap_or_default();
        let number = |number: Option<i32>| number.unwrap_or(0);
        let over = status.observed_generation >= deployment.metadata.generation
            && number(status.updated_replicas) == replicas
            && number(status.replicas) == replicas
            && number(status.available_replicas) == replicas;
        over.then_some(deployment)
    })
    .await
}

async fn sets(cluster: &Cluster, app: &str) -> Vec<ReplicaSet> {
    let sets: Api<ReplicaSet> = api(cluster);
    let mut found = sets
        .list(&ListParams::default().labels(&format!("app={app}")))
        .await
        .unwrap()
        .items;
    found.sort_by_key(|set| revision(set).parse::<i64>().unwrap());
    found
}

fn revision(set: &ReplicaSet) -> &str {
    &set.metadata.annotations.as_ref().unwrap()["deployment.kubernetes.io/revision"]
}

async fn messages(cluster: &Cluster, reason: &str) -> Vec<String> {
    let events: Api<Event> = api(cluster);
    let found = events.list(&ListParams::default()).await.unwrap().items;
    found
        .into_iter()
        .filter(|event| event.reason.as_deref() == Some(reason))
        .filter_map(|event| event.message)
        .collect()
}

fn condition(deployment: &Deployment, kind: &str) -> String {
    let conditions = deployment.status.as_ref().unwrap().conditions.clone();
    let found = conditions
        .unwrap_or_default()
        .into_iter()
        .find(|c| c.type_ == kind);
    found.map_or("none".into(), |c| {
        format!("{} {}", c.status, c.reason.unwrap_or_default())
    })
}

#[tokio::test]
async fn a_deployment_runs_its_pods_updates_them_and_goes_back() {
    let cluster = with_nodes().await;
    let deployments: Api<Deployment> = api(&cluster);
    deployments
        .create(&PostParams::default(), &deployment("web", json!({"replicas": 3})))
        .await
        .unwrap();
    let first = rolled_out(&cluster, "web", 3).await;
    assert_eq!(
        first.metadata.annotations.as_ref().unwrap()["deployment.kubernetes.io/revision"],
        "1"
    );
    let name = sets(&cluster, "web").await[0].metadata.name.clone().unwrap();
    eventually("the events", || async {
        let scaled = messages(&cluster, "ScalingReplicaSet").await;
        let created = messages(&cluster, "SuccessfulCreate").await;
        (scaled == [format!("Scaled up replica set {name} from 0 to 3")] && created.len() == 3).then_some(())
    })
    .await;

    let image = |image: &str| {
        Patch::Strategic(
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}),
        )
    };
    let params = PatchParams::default();
    deployments.patch("web", &params, &image("img:2")).await.unwrap();
    rolled_out(&cluster, "web", 3).await;
    cluster.expect_images("web", ["img:2", "img:2", "img:2"]).await;
    let done = eventually("the condition", || async {
        let deployment = deployments.get("web").await.unwrap();
        (condition(&deployment, "Progressing") == "True NewReplicaSetAvailable").then_some(deployment)
    })
    .await;
    assert_eq!(condition(&done, "Available"), "True MinimumReplicasAvailable");

    deployments.patch("web", &params, &image("img:1")).await.unwrap();
    rolled_out(&cluster, "web", 3).await;
    cluster.expect_images("web", ["img:1", "img:1", "img:1"]).await;
    let sets = sets(&cluster, "web").await;
    assert_eq!(sets.len(), 2, "the old set is used again");
    let back = &sets[1];
    assert_eq!((revision(back), back.metadata.name.as_ref()), ("3", Some(&name)));
    let history = &back.metadata.annotations.as_ref().unwrap()["deployment.kubernetes.io/revision-history"];
    assert_eq!(history, "1");

    // Clients of old API versions leave their wish to go back in an annotation.
    let wish = "deprecated.deployment.rollback.to";
    let ask = |revision: &str| Patch::Merge(json!({"metadata": {"annotations": {wish: revision}}}));
    deployments.patch("web", &params, &ask("2")).await.unwrap();
    cluster.expect_images("web", ["img:2", "img:2", "img:2"]).await;
    let after = deployments.get("web").await.unwrap();
    assert!(!after.metadata.annotations.unwrap().contains_key(wish));
    deployments.patch("web", &params, &ask("77")).await.unwrap();
    eventually("what was done and what was not", || async {
        let done = messages(&cluster, "DeploymentRollback").await;
        let not = messages(&cluster, "DeploymentRollbackRevisionNotFound").await;
        (done == ["Rolled back deployment \"web\" to revision 2"]
            && not == ["Unable to find the revision to rollback to."])
        .then_some(())
    })
    .await;
}

#[tokio::test]
async fn old_sets_beyond_the_history_limit_are_deleted() {
    let cluster = with_nodes().await;
    let deployments: Api<Deployment> = api(&cluster);
    let spec = json!({"replicas": 1, "revisionHistoryLimit": 1});
    deployments
        .create(&PostParams::default(), &deployment("web", spec))
        .await
        .unwrap();
    for version in 2..5 {
        let patch = Patch::Strategic(json!({"spec": {"template": {"spec":
            {"containers": [{"name": "c", "image": format!("img:{version}")}]}}}}));
        deployments
            .patch("web", &PatchParams::default(), &patch)
            .await
            .unwrap();
        rolled_out(&cluster, "web", 1).await;
    }
    eventually("two sets", || async {
        let sets = sets(&cluster, "web").await;
        (sets.iter().map(revision).collect::<Vec<_>>() == ["3", "4"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn recreate_never_runs_old_and_new_pods_side_by_side() {
    let cluster = with_nodes().await;
    let deployments: Api<Deployment> = api(&cluster);
    let spec = json!({"replicas": 2, "strategy": {"type": "Recreate"}});
    deployments
        .create(&PostParams::default(), &deployment("web", spec))
        .await
        .unwrap();
    rolled_out(&cluster, "web", 2).await;
    // Without agents the old pods stay terminating.
    cluster.stop_agents();
    let patch = Patch::Strategic(json!({"spec": {"template": {"spec":
        {"containers": [{"name": "c", "image": "img:2"}]}}}}));
    deployments
        .patch("web", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let old = eventually("the old pods being deleted", || async {
        let pods = cluster.pods().list(&ListParams::default()).await.unwrap().items;
        let all = pods.iter().all(|pod| pod.metadata.deletion_timestamp.is_some());
        (all && pods.len() == 2).then_some(pods)
    })
    .await;
    assert_eq!(sets(&cluster, "web").await.len(), 1, "no new set yet");
    for pod in old {
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        let name = pod.metadata.name.unwrap();
        cluster.pods().delete(&name, &now).await.unwrap();
    }
    eventually("the new pods", || async {
        let pods = cluster.running("web").await;
        (pods.len() == 2 && pods.iter().all(|pod| pod.contains("img:2"))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_paused_deployment_is_scaled_but_not_rolled_out() {
    let cluster = with_nodes().await;
    let deployments: Api<Deployment> = api(&cluster);
    deployments
        .create(&PostParams::default(), &deployment("web", json!({"replicas": 1})))
        .await
        .unwrap();
    rolled_out(&cluster, "web", 1).await;
    let patch = Patch::Strategic(
        json!({"spec": {"paused": true, "replicas": 3, "template": {"spec":
        {"containers": [{"name": "c", "image": "img:2"}]}}}}),
    );
    let params = PatchParams::default();
    deployments.patch("web", &params, &patch).await.unwrap();
    cluster.expect_images("web", ["img:1", "img:1", "img:1"]).await;
    eventually("the condition", || async {
        let deployment = deployments.get("web").await.unwrap();
        (condition(&deployment, "Progressing") == "Unknown DeploymentPaused").then_some(())
    })
    .await;
    let resume = Patch::Merge(json!({"spec": {"paused": null}}));
    deployments.patch("web", &params, &resume).await.unwrap();
    rolled_out(&cluster, "web", 3).await;
    cluster.expect_images("web", ["img:2", "img:2", "img:2"]).await;
}

#[tokio::test]
async fn a_rollout_that_cannot_progress_is_told_after_its_deadline() {
    let cluster = with_nodes().await;
    let deployments: Api<Deployment> = api(&cluster);
    let spec = json!({"replicas": 1, "progressDeadlineSeconds": 1,
        "template": {"spec": {"containers": [{"name": "c", "image": "broken"}]}}});
    deployments
        .create(&PostParams::default(), &deployment("web", spec))
        .await
        .unwrap();
    eventually("the condition", || async {
        let deployment = deployments.get("web").await.unwrap();
        let timed_out = deployment.status.is_some()
            && condition(&deployment, "Progressing") == "False ProgressDeadlineExceeded";
        (timed_out && condition(&deployment, "Available") == "False MinimumReplicasUnavailable").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_replica_set_adopts_matching_pods_and_releases_relabelled_ones() {
    let cluster = with_nodes().await;
    let labels = json!({"name": "adopt"});
    let orphan = json!({"metadata": {"name": "orphan", "labels": labels},
        "spec": {"containers": [{"name": "c", "image": "img:1"}]}});
    cluster
        .pods()
        .create(&PostParams::default(), &serde_json::from_value(orphan).unwrap())
        .await
        .unwrap();
    let sets: Api<ReplicaSet> = api(&cluster);
    let set = sets
        .create(&PostParams::default(), &replica_set("r", labels, 1))
        .await
        .unwrap();
    let owner = || async {
        let pod = cluster.pods().get("orphan").await.unwrap();
        pod.metadata.owner_references.unwrap_or_default().pop()
    };
    eventually("the adoption", || async {
        owner()
            .await
            .filter(|owner| Some(&owner.uid) == set.metadata.uid.as_ref())
    })
    .await;
    let relabel = Patch::Merge(json!({"metadata": {"labels": {"name": "other"}}}));
    cluster
        .pods()
        .patch("orphan", &PatchParams::default(), &relabel)
        .await
        .unwrap();
    eventually("the release and the replacement", || async {
        let pods = cluster
            .pods()
            .list(&ListParams::default().labels("name=adopt"))
            .await;
        (owner().await.is_none() && pods.unwrap().items.len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn both_kinds_of_replicas_are_scaled_and_tell_what_there_is() {
    let cluster = with_nodes().await;
    let controllers: Api<ReplicationController> = api(&cluster);
    let controller = json!({"metadata": {"name": "rc"}, "spec": {"replicas": 2, "selector": {"app": "rc"},
        "template": {"metadata": {"labels": {"app": "rc"}}, "spec": {"containers": [{"name": "c", "image": "img:1"}]}}}});
    controllers
        .create(
            &PostParams::default(),
            &serde_json::from_value(controller).unwrap(),
        )
        .await
        .unwrap();
    let sets: Api<ReplicaSet> = api(&cluster);
    sets.create(
        &PostParams::default(),
        &replica_set("rs", json!({"app": "rs"}), 2),
    )
    .await
    .unwrap();
    let available = |want: Option<i32>| {
        let (controllers, sets) = (controllers.clone(), sets.clone());
        async move {
            let controller = controllers.get("rc").await.unwrap().status.unwrap_or_default();
            let set = sets.get("rs").await.unwrap().status.unwrap_or_default();
            (controller.available_replicas == want && set.available_replicas == want)
                .then_some((controller, set))
        }
    };
    let (controller, set) = eventually("two available pods each", || available(Some(2))).await;
    assert_eq!(
        (controller.replicas, controller.fully_labeled_replicas),
        (2, Some(2))
    );
    assert_eq!((set.replicas, set.terminating_replicas), (2, Some(0)));
    let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
    let params = PatchParams::default();
    controllers.patch_scale("rc", &params, &none).await.unwrap();
    sets.patch_scale("rs", &params, &none).await.unwrap();
    eventually("no pods", || async {
        let pods = cluster.pods().list(&ListParams::default()).await.unwrap().items;
        available(None).await.filter(|_| pods.is_empty())
    })
    .await;
}

#[tokio::test]
async fn a_rollout_that_is_overtaken_by_another_ends_with_the_last_template() {
    let cluster = with_nodes().await;
    let deployments: Api<Deployment> = api(&cluster);
    let created = deployment("web", json!({"replicas": 3}));
    deployments
        .create(&PostParams::default(), &created)
        .await
        .unwrap();
    rolled_out(&cluster, "web", 3).await;
    let params = PatchParams::default();
    let image = |image: &str| {
        Patch::Strategic(
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}),
        )
    };
    deployments.patch("web", &params, &image("broken")).await.unwrap();
    eventually("a pod of the broken template", || async {
        let lines = cluster.running("web").await;
        lines.iter().any(|line| line.contains("broken")).then_some(())
    })
    .await;
    deployments.patch("web", &params, &image("img:3")).await.unwrap();
    rolled_out(&cluster, "web", 3).await;
    cluster.expect_images("web", ["img:3", "img:3", "img:3"]).await;
    let sizes: Vec<i32> = sets(&cluster, "web")
        .await
        .iter()
        .map(|set| set.spec.as_ref().unwrap().replicas.unwrap())
        .collect();
    assert_eq!(sizes, [0, 0, 3]);
}

#[tokio::test]
async fn a_deployment_adopts_sets_that_fit_and_lets_go_of_those_that_no_longer_do() {
    let cluster = with_nodes().await;
    let (deployments, replica_sets): (Api<Deployment>, Api<ReplicaSet>) = (api(&cluster), api(&cluster));
    let labels = json!({"app": "web", "pod-template-hash": "own"});
    let orphan = replica_set("orphan", labels, 1);
    replica_sets
        .create(&PostParams::default(), &orphan)
        .await
        .unwrap();
    let label = Patch::Merge(json!({"metadata": {"labels": {"app": "web"}}}));
    let params = PatchParams::default();
    replica_sets.patch("orphan", &params, &label).await.unwrap();
    let created = deployment("web", json!({"replicas": 1}));
    let uid = deployments
        .create(&PostParams::default(), &created)
        .await
        .unwrap()
        .metadata
        .uid;
    let owner = || async {
        let set = replica_sets.get("orphan").await.unwrap();
        set.metadata.owner_references.unwrap_or_default().pop()
    };
    eventually("the adoption", || async {
        owner().await.filter(|owner| Some(&owner.uid) == uid.as_ref())
    })
    .await;
    let relabel = Patch::Merge(json!({"metadata": {"labels": {"app": "other"}}}));
    replica_sets.patch("orphan", &params, &relabel).await.unwrap();
    eventually("the release", || async { owner().await.is_none().then_some(()) }).await;
}
