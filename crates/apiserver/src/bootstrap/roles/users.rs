//! What people are given: `cluster-admin`, and `admin` ⊃ `edit` ⊃ `view`, each put together from every
//! ClusterRole that carries its label.
use super::{Grant, READ, Wanted, role, rules};
use Grant::{On, Paths};
use serde_json::json;

const WRITE: &str = "create delete deletecollection patch update";

const CLUSTER_ADMIN: &[Grant] = &[On("*", "*", "*"), Paths("*", "*")];

const VIEW: &[Grant] = &[
    On(
        "core",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers \
         replicationcontrollers/scale serviceaccounts services services/status",
        READ,
    ),
    On(
        "core",
        "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status \
         resourcequotas resourcequotas/status",
        READ,
    ),
    On("core", "namespaces", READ),
    On("discovery.k8s.io", "endpointslices", READ),
    On(
        "apps",
        "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status \
         replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
        READ,
    ),
    On(
        "autoscaling",
        "horizontalpodautoscalers horizontalpodautoscalers/status",
        READ,
    ),
    On("batch", "cronjobs cronjobs/status jobs jobs/status", READ),
    On("policy", "poddisruptionbudgets poddisruptionbudgets/status", READ),
    On(
        "networking.k8s.io",
        "ingresses ingresses/status networkpolicies",
        READ,
    ),
    On(
        "resource.k8s.io",
        "resourceclaims resourceclaims/status resourceclaimtemplates",
        READ,
    ),
];

const EDIT: &[Grant] = &[
    On(
        "core",
        "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy",
        READ,
    ),
    On("core", "serviceaccounts", "impersonate"),
    On(
        "core",
        "pods pods/attach pods/exec pods/portforward pods/proxy",
        WRITE,
    ),
    On("core", "pods/eviction", "create"),
    On(
        "core",
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets \
         serviceaccounts services services/proxy",
        WRITE,
    ),
    On("core", "serviceaccounts/token", "create"),
    On(
        "apps",
        "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale \
         statefulsets statefulsets/scale",
        WRITE,
    ),
    On("autoscaling", "horizontalpodautoscalers", WRITE),
    On("batch", "cronjobs jobs", WRITE),
    On("policy", "poddisruptionbudgets", WRITE),
    On("networking.k8s.io", "ingresses networkpolicies", WRITE),
    On(
        "coordination.k8s.io",
        "leases",
        "create delete deletecollection get list patch update watch",
    ),
    On("resource.k8s.io", "resourceclaims resourceclaimtemplates", WRITE),
];

const ADMIN: &[Grant] = &[
    On("authorization.k8s.io", "localsubjectaccessreviews", "create"),
    On(
        "rbac.authorization.k8s.io",
        "rolebindings roles",
        "create delete deletecollection get list patch update watch",
    ),
];

/// Each aggregated role holds its rules from the first start on; the parts say what belongs where.
pub fn cluster_roles() -> Vec<Wanted> {
    let whole = |name: &str, grants: &[&[Grant]]| {
        let rules: Vec<_> = grants.iter().flat_map(|grants| rules(grants)).collect();
        role(name, "", &rules)
    };
    let label = |step: &str| format!("rbac.authorization.k8s.io/aggregate-to-{step}");
    let mut wanted = vec![whole("cluster-admin", &[CLUSTER_ADMIN])];
    for (name, grants, goes_into) in [
        ("admin", &[ADMIN, EDIT, VIEW][..], None),
        ("edit", &[EDIT, VIEW], Some("admin")),
        ("view", &[VIEW], Some("edit")),
    ] {
        let mut role = whole(name, grants);
        role.object["aggregationRule"] =
            json!({"clusterRoleSelectors": [{"matchLabels": {label(name): "true"}}]});
        if let Some(step) = goes_into {
            role.object["metadata"]["labels"][label(step)] = json!("true");
        }
        wanted.push(role);
    }
    for (step, grants) in [("admin", ADMIN), ("edit", EDIT), ("view", VIEW)] {
        let mut role = whole(&format!("system:aggregate-to-{step}"), &[grants]);
        role.object["metadata"]["labels"][label(step)] = json!("true");
        wanted.push(role);
    }
    wanted
}
