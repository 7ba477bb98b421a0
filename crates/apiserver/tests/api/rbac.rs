//! Access by stored roles, and reviews of it. S03–S06, S13, S14.
use crate::support::{CONFIGMAPS, Client, Cluster, PODS, TestStore};
use orlop_apiserver::UserInfo;
use serde_json::{Value, json};

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
const ROLE_BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
const CLUSTER_ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const CLUSTER_ROLE_BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";

fn alice(cluster: &Cluster) -> Client {
    cluster.user(UserInfo::new("alice", ["devs"]))
}

fn role(name: &str, verbs: &[&str], resource: &str) -> Value {
    json!({"metadata": {"name": name}, "rules": [{"verbs": verbs, "apiGroups": [""], "resources": [resource]}]})
}

fn role_group(name: &str, verbs: &[&str], resource: &str) -> Value {
    json!({"metadata": {"name": name}, "rules": [
        {"verbs": verbs, "apiGroups": ["rbac.authorization.k8s.io"], "resources": [resource]}]})
}

fn binding(name: &str, kind: &str, role: &str) -> Value {
    json!({"metadata": {"name": name}, "roleRef": {"kind": kind, "name": role},
        "subjects": [{"kind": "User", "name": "alice"}]})
}

#[tokio::test]
async fn s03_s05_no_rights_a_role_and_its_binding_and_their_removal() {
    let cluster = Cluster::start().await;
    let (admin, alice) = (cluster.admin(), alice(&cluster));
    assert_eq!(
        alice.get(PODS).await.refused(403),
        "pods is forbidden: User \"alice\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    admin.post(ROLE_BINDINGS, binding("b", "Role", "r")).await.ok();
    let refused = alice.get(PODS).await.refused(403);
    assert!(
        refused.ends_with(": RBAC: role.rbac.authorization.k8s.io \"r\" not found"),
        "{refused}"
    );
    admin.post(ROLES, role("r", &["list"], "pods")).await.ok();
    alice.get(PODS).await.ok();
    alice.get(CONFIGMAPS).await.refused(403);
    alice.get("/api/v1/pods").await.refused(403);
    admin
        .delete(&format!("{ROLE_BINDINGS}/b"), Value::Null)
        .await
        .ok();
    alice.get(PODS).await.refused(403);
}

#[tokio::test]
async fn s06_create_on_roles_only_does_not_create_a_role_with_more_rights() {
    let cluster = Cluster::start().await;
    let (admin, alice) = (cluster.admin(), alice(&cluster));
    admin
        .post(ROLES, role_group("roles", &["create"], "roles"))
        .await
        .ok();
    admin
        .post(ROLE_BINDINGS, binding("roles", "Role", "roles"))
        .await
        .ok();
    let refused = alice
        .post(ROLES, role("more", &["get"], "pods"))
        .await
        .refused(403);
    assert_eq!(
        refused,
        "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"alice\" (groups=[\"devs\" \
         \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\"]}"
    );
    alice
        .post(ROLES, role_group("same", &["create"], "roles"))
        .await
        .ok();
    admin
        .put(
            &format!("{ROLES}/roles"),
            role_group("roles", &["create", "escalate"], "roles"),
        )
        .await
        .ok();
    alice.post(ROLES, role("more", &["get"], "pods")).await.ok();
}

#[tokio::test]
async fn a_binding_to_a_role_with_more_rights_needs_bind() {
    let cluster = Cluster::start().await;
    let (admin, alice) = (cluster.admin(), alice(&cluster));
    admin
        .post(ROLES, role_group("bindings", &["create"], "rolebindings"))
        .await
        .ok();
    admin
        .post(ROLE_BINDINGS, binding("bindings", "Role", "bindings"))
        .await
        .ok();
    let refused = alice
        .post(ROLE_BINDINGS, binding("own", "ClusterRole", "view"))
        .await
        .refused(403);
    assert!(refused.contains("attempting to grant"), "{refused}");
    let bind = json!({"metadata": {"name": "bind"}, "rules": [{"verbs": ["bind"],
        "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["view"]}]});
    admin.post(CLUSTER_ROLES, bind).await.ok();
    admin
        .post(CLUSTER_ROLE_BINDINGS, binding("bind", "ClusterRole", "bind"))
        .await
        .ok();
    alice
        .post(ROLE_BINDINGS, binding("own", "ClusterRole", "view"))
        .await
        .ok();
    alice
        .post(ROLE_BINDINGS, binding("other", "ClusterRole", "edit"))
        .await
        .refused(403);
    alice.get(PODS).await.ok();
}

#[tokio::test]
async fn the_roles_of_every_cluster_are_there_and_come_back() {
    let store = TestStore::new().await;
    let cluster = Cluster::over(store.clone()).await;
    let admin = cluster.admin();
    for name in [
        "cluster-admin",
        "admin",
        "edit",
        "view",
        "system:discovery",
        "system:node",
    ] {
        let role = admin.get(&format!("{CLUSTER_ROLES}/{name}")).await.ok();
        assert_eq!(
            role["metadata"]["labels"]["kubernetes.io/bootstrapping"],
            "rbac-defaults"
        );
    }
    let view = admin.get(&format!("{CLUSTER_ROLES}/view")).await.ok();
    assert!(!view["rules"].to_string().contains("secrets"));
    admin
        .delete(&format!("{CLUSTER_ROLES}/system:monitoring"), Value::Null)
        .await
        .ok();
    let less = json!({"rules": []});
    admin
        .patch(&format!("{CLUSTER_ROLES}/system:basic-user"), "merge", less)
        .await
        .ok();
    let before = admin.get(&format!("{CLUSTER_ROLES}/edit")).await.ok();
    drop(cluster);

    let admin = Cluster::over(store).await.admin();
    admin
        .get(&format!("{CLUSTER_ROLES}/system:monitoring"))
        .await
        .ok();
    let basic = admin
        .get(&format!("{CLUSTER_ROLES}/system:basic-user"))
        .await
        .ok();
    assert_eq!(basic["rules"].as_array().unwrap().len(), 2);
    assert_eq!(admin.get(&format!("{CLUSTER_ROLES}/edit")).await.ok(), before);
}

#[tokio::test]
async fn a_role_that_joins_an_aggregation_counts_at_once() {
    let cluster = Cluster::start().await;
    let (admin, alice) = (cluster.admin(), alice(&cluster));
    admin
        .post(ROLE_BINDINGS, binding("b", "ClusterRole", "view"))
        .await
        .ok();
    alice.get("/api/v1/namespaces/default/secrets").await.refused(403);
    let mut part = role("part", &["list"], "secrets");
    part["metadata"]["labels"] = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    admin.post(CLUSTER_ROLES, part).await.ok();
    alice.get("/api/v1/namespaces/default/secrets").await.ok();
}

#[tokio::test]
async fn s13_reviews_match_the_roles_and_name_the_reason() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.post(ROLES, role("r", &["list"], "pods")).await.ok();
    admin.post(ROLE_BINDINGS, binding("b", "Role", "r")).await.ok();
    let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    let asked = |namespace: &str| {
        json!({"spec": {"user": "alice",
            "resourceAttributes": {"verb": "list", "resource": "pods", "namespace": namespace}}})
    };
    for (path, namespace, allowed) in [
        (reviews, "default", true),
        (reviews, "other", false),
        (local, "default", true),
    ] {
        let answer = admin.post(path, asked(namespace)).await;
        assert_eq!(answer.code, 201);
        assert_eq!(answer.json()["status"]["allowed"], allowed, "{path} {namespace}");
    }
    let answer = admin.post(reviews, asked("default")).await.ok();
    assert_eq!(
        answer["status"]["reason"],
        "RBAC: allowed by RoleBinding \"b/default\" of Role \"r\" to User \"alice\""
    );
    admin.post(local, asked("other")).await.refused(422);
    let nobody = json!({"spec": {"nonResourceAttributes": {"verb": "get", "path": "/"}}});
    let refused = admin.post(reviews, nobody).await.refused(422);
    assert!(
        refused.contains("at least one of user or group must be specified"),
        "{refused}"
    );
}

#[tokio::test]
async fn s14_the_rules_of_the_caller() {
    let cluster = Cluster::start().await;
    let (admin, alice) = (cluster.admin(), alice(&cluster));
    admin.post(ROLES, role("r", &["list"], "pods")).await.ok();
    admin.post(ROLE_BINDINGS, binding("b", "Role", "r")).await.ok();
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    for (namespace, count) in [("default", 3), ("other", 2)] {
        let status = alice
            .post(reviews, json!({"spec": {"namespace": namespace}}))
            .await
            .ok()["status"]
            .clone();
        assert_eq!(
            status["resourceRules"].as_array().unwrap().len(),
            count,
            "{namespace}"
        );
        assert_eq!(status["incomplete"], false);
    }
}

#[tokio::test]
async fn acting_as_somebody_needs_the_right_to_and_gives_theirs() {
    let cluster = Cluster::start().await;
    let (admin, alice) = (cluster.admin(), alice(&cluster));
    let as_bob = [("impersonate-user", "bob")];
    let list = |client: Client| async move { client.send(http::Method::GET, PODS, &as_bob, "").await };
    let refused = list(admin.clone()).await.refused(403);
    assert!(refused.contains("User \"bob\" cannot list"), "{refused}");
    assert_eq!(
        list(alice.clone()).await.refused(403),
        "pods is forbidden: User \"alice\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\" \
         in the namespace \"default\""
    );
    admin
        .post(CLUSTER_ROLES, role("act", &["impersonate"], "users"))
        .await
        .ok();
    admin
        .post(CLUSTER_ROLE_BINDINGS, binding("act", "ClusterRole", "act"))
        .await
        .ok();
    let mut bobs = binding("bob", "ClusterRole", "view");
    bobs["subjects"][0]["name"] = json!("bob");
    admin.post(ROLE_BINDINGS, bobs).await.ok();
    list(alice.clone()).await.ok();
    let with_group = [
        ("impersonate-user", "bob"),
        ("impersonate-group", "system:masters"),
    ];
    alice
        .send(http::Method::GET, PODS, &with_group, "")
        .await
        .refused(403);
    let group_only = [("impersonate-group", "devs")];
    alice
        .send(http::Method::GET, PODS, &group_only, "")
        .await
        .refused(400);
}

/// A PUT that makes an object needs both rights.
#[tokio::test]
async fn who_may_only_update_makes_nothing_by_it() {
    let cluster = Cluster::start().await;
    let (admin, alice) = (cluster.admin(), alice(&cluster));
    admin
        .post(ROLES, role("r", &["update"], "limitranges"))
        .await
        .ok();
    admin.post(ROLE_BINDINGS, binding("b", "Role", "r")).await.ok();
    let path = "/api/v1/namespaces/default/limitranges/l";
    let limits = json!({"metadata": {"name": "l"}});
    assert_eq!(
        alice.put(path, limits.clone()).await.refused(403),
        "limitranges \"l\" is forbidden: User \"alice\" cannot create resource \"limitranges\" in API group \"\" in the namespace \
         \"default\""
    );
    assert_eq!(admin.put(path, limits.clone()).await.code, 201);
    alice.put(path, limits).await.ok();
}
