//! What the parts of a cluster are given, and what everybody is.
use super::{EVENTS, Grant, READ, Role, Who};
use Grant::{Named, On, Paths};

pub const ROLES: &[Role] = &[
    Role {
        name: "system:basic-user",
        grants: &[
            On(
                "authorization.k8s.io",
                "selfsubjectaccessreviews selfsubjectrulesreviews",
                "create",
            ),
            On("authentication.k8s.io", "selfsubjectreviews", "create"),
        ],
    },
    Role {
        name: "system:discovery",
        grants: &[Paths(
            "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/",
            "get",
        )],
    },
    Role {
        name: "system:public-info-viewer",
        grants: &[Paths("/healthz /livez /readyz /version /version/", "get")],
    },
    Role {
        name: "system:monitoring",
        grants: &[Paths(
            "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*",
            "get",
        )],
    },
    // Node agents are decided by the node authorizer; the role is for those who bind it themselves.
    Role {
        name: "system:node",
        grants: &[
            On("authentication.k8s.io", "tokenreviews", "create"),
            On(
                "authorization.k8s.io",
                "localsubjectaccessreviews subjectaccessreviews",
                "create",
            ),
            On("core", "services", READ),
            On("core", "nodes", "create get list watch"),
            On("core", "nodes/status", "patch update"),
            On("core", "nodes", "patch update"),
            EVENTS,
            On("core", "pods", READ),
            On("core", "pods", "create delete"),
            On("core", "pods/status", "patch update"),
            On("core", "pods/eviction", "create"),
            On("core", "configmaps secrets", READ),
            On("core", "persistentvolumeclaims persistentvolumes", "get"),
            On("core", "endpoints", "get"),
            On(
                "certificates.k8s.io",
                "certificatesigningrequests",
                "create get list watch",
            ),
            On("coordination.k8s.io", "leases", "create delete get patch update"),
            On("storage.k8s.io", "volumeattachments", "get"),
            On("core", "serviceaccounts/token", "create"),
            On("core", "persistentvolumeclaims/status", "get patch update"),
            On("storage.k8s.io", "csidrivers", READ),
            On("storage.k8s.io", "csinodes", "create delete get patch update"),
            On("node.k8s.io", "runtimeclasses", READ),
            On("resource.k8s.io", "resourceclaims", "get"),
            On("resource.k8s.io", "resourceslices", "deletecollection"),
        ],
    },
    Role {
        name: "system:node-problem-detector",
        grants: &[
            On("core", "nodes", "get"),
            On("core", "nodes/status", "patch"),
            EVENTS,
        ],
    },
    Role {
        name: "system:node-proxier",
        grants: &[
            On("core", "endpoints services", "list watch"),
            On("core", "nodes", READ),
            EVENTS,
            On("discovery.k8s.io", "endpointslices", "list watch"),
            On("networking.k8s.io", "servicecidrs", "list watch"),
        ],
    },
    Role {
        name: "system:kubelet-api-admin",
        grants: &[
            On("core", "nodes", "get list watch"),
            On("core", "nodes", "proxy"),
            On(
                "core",
                "nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats",
                "*",
            ),
        ],
    },
    Role {
        name: "system:node-bootstrapper",
        grants: &[On(
            "certificates.k8s.io",
            "certificatesigningrequests",
            "create get list watch",
        )],
    },
    Role {
        name: "system:auth-delegator",
        grants: &[
            On("authentication.k8s.io", "tokenreviews", "create"),
            On("authorization.k8s.io", "subjectaccessreviews", "create"),
        ],
    },
    Role {
        name: "system:kube-aggregator",
        grants: &[On("core", "endpoints services", READ)],
    },
    Role {
        name: "system:kube-controller-manager",
        grants: &[
            EVENTS,
            On("coordination.k8s.io", "leases", "create"),
            Named(
                "coordination.k8s.io",
                "leases",
                "kube-controller-manager",
                "get update",
            ),
            On("core", "secrets serviceaccounts", "create"),
            On("core", "secrets", "delete"),
            On("core", "configmaps namespaces secrets serviceaccounts", "get"),
            On("core", "secrets serviceaccounts", "update"),
            On("authentication.k8s.io", "tokenreviews", "create"),
            On("authorization.k8s.io", "subjectaccessreviews", "create"),
            On("*", "*", "list watch"),
            On("core", "serviceaccounts/token", "create"),
        ],
    },
    Role {
        name: "system:kube-scheduler",
        grants: &[
            EVENTS,
            On("coordination.k8s.io", "leases", "create get list watch"),
            Named(
                "coordination.k8s.io",
                "leases",
                "kube-scheduler",
                "get patch update",
            ),
            On("core", "nodes", READ),
            On("core", "pods", "delete get list watch"),
            On("core", "bindings pods/binding", "create"),
            On("core", "pods/status", "patch update"),
            On("core", "replicationcontrollers services", READ),
            On("apps", "daemonsets deployments replicasets statefulsets", READ),
            On("policy", "poddisruptionbudgets", READ),
            On("scheduling.k8s.io", "priorityclasses", READ),
            On(
                "core",
                "persistentvolumeclaims persistentvolumes",
                "get list patch update watch",
            ),
            On("authentication.k8s.io", "tokenreviews", "create"),
            On("authorization.k8s.io", "subjectaccessreviews", "create"),
            On(
                "storage.k8s.io",
                "csidrivers csinodes csistoragecapacities volumeattachments",
                READ,
            ),
            On(
                "resource.k8s.io",
                "deviceclasses devicetaintrules resourceclaims resourceslices",
                READ,
            ),
            On("resource.k8s.io", "resourceclaims", "create delete patch update"),
            On("resource.k8s.io", "resourceclaims/status", "patch update"),
            On("core", "pods/finalizers", "update"),
            On("core", "namespaces", READ),
        ],
    },
    Role {
        name: "system:volume-scheduler",
        grants: &[
            On("core", "persistentvolumes", "get list patch update watch"),
            On("storage.k8s.io", "storageclasses", READ),
            On("core", "persistentvolumeclaims", "get list patch update watch"),
        ],
    },
    Role {
        name: "system:kube-dns",
        grants: &[On("core", "endpoints services", "list watch")],
    },
    Role {
        name: "system:persistent-volume-provisioner",
        grants: &[
            On("core", "persistentvolumes", "create delete get list watch"),
            On("core", "persistentvolumeclaims", "get list update watch"),
            On("storage.k8s.io", "storageclasses", READ),
            On("core", "events", "watch"),
            EVENTS,
        ],
    },
    Role {
        name: "system:service-account-issuer-discovery",
        grants: &[Paths(
            "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
            "get",
        )],
    },
    Role {
        name: "system:cluster-trust-bundle-discovery",
        grants: &[On("certificates.k8s.io", "clustertrustbundles", READ)],
    },
    Role {
        name: "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        grants: &[On(
            "certificates.k8s.io",
            "certificatesigningrequests/nodeclient",
            "create",
        )],
    },
    Role {
        name: "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        grants: &[On(
            "certificates.k8s.io",
            "certificatesigningrequests/selfnodeclient",
            "create",
        )],
    },
    Role {
        name: "system:certificates.k8s.io:legacy-unknown-approver",
        grants: &[Named(
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/legacy-unknown",
            "approve",
        )],
    },
    Role {
        name: "system:certificates.k8s.io:kubelet-serving-approver",
        grants: &[Named(
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/kubelet-serving",
            "approve",
        )],
    },
    Role {
        name: "system:certificates.k8s.io:kube-apiserver-client-approver",
        grants: &[Named(
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/kube-apiserver-client",
            "approve",
        )],
    },
    Role {
        name: "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        grants: &[Named(
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/kube-apiserver-client-kubelet",
            "approve",
        )],
    },
];

/// Name, ClusterRole, subjects.
pub const BINDINGS: &[(&str, &str, &[Who])] = &[
    ("cluster-admin", "cluster-admin", &[Who::Group("system:masters")]),
    (
        "system:monitoring",
        "system:monitoring",
        &[Who::Group("system:monitoring")],
    ),
    (
        "system:discovery",
        "system:discovery",
        &[Who::Group("system:authenticated")],
    ),
    (
        "system:basic-user",
        "system:basic-user",
        &[Who::Group("system:authenticated")],
    ),
    (
        "system:public-info-viewer",
        "system:public-info-viewer",
        &[
            Who::Group("system:authenticated"),
            Who::Group("system:unauthenticated"),
        ],
    ),
    (
        "system:node-proxier",
        "system:node-proxier",
        &[Who::User("system:kube-proxy")],
    ),
    (
        "system:kube-controller-manager",
        "system:kube-controller-manager",
        &[Who::User("system:kube-controller-manager")],
    ),
    (
        "system:kube-dns",
        "system:kube-dns",
        &[Who::ServiceAccount("kube-dns")],
    ),
    (
        "system:kube-scheduler",
        "system:kube-scheduler",
        &[Who::User("system:kube-scheduler")],
    ),
    (
        "system:volume-scheduler",
        "system:volume-scheduler",
        &[Who::User("system:kube-scheduler")],
    ),
    ("system:node", "system:node", &[]),
    (
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        &[Who::Group("system:serviceaccounts")],
    ),
];

const LOCKS: Grant = On(
    "coordination.k8s.io",
    "leasecandidates leases",
    "create get list update watch",
);
const LOCK_MAPS: Grant = On("core", "configmaps", "watch");

/// Roles in namespaces: name, namespace, rules.
pub const NAMESPACED: &[(&str, &str, &[Grant])] = &[
    (
        "extension-apiserver-authentication-reader",
        "kube-system",
        &[Named(
            "core",
            "configmaps",
            "extension-apiserver-authentication",
            READ,
        )],
    ),
    (
        "system:controller:bootstrap-signer",
        "kube-system",
        &[On("core", "secrets", READ)],
    ),
    (
        "system:controller:cloud-provider",
        "kube-system",
        &[On("core", "configmaps", "create get list watch")],
    ),
    (
        "system:controller:token-cleaner",
        "kube-system",
        &[On("core", "secrets", "delete get list watch"), EVENTS],
    ),
    (
        "system::leader-locking-kube-controller-manager",
        "kube-system",
        &[
            LOCK_MAPS,
            Named("core", "configmaps", "kube-controller-manager", "get update"),
            LOCKS,
        ],
    ),
    (
        "system::leader-locking-kube-scheduler",
        "kube-system",
        &[
            LOCK_MAPS,
            Named("core", "configmaps", "kube-scheduler", "get update"),
            LOCKS,
        ],
    ),
    (
        "system:controller:bootstrap-signer",
        "kube-public",
        &[
            On("core", "configmaps", READ),
            Named("core", "configmaps", "cluster-info", "update"),
            EVENTS,
        ],
    ),
];

/// Bindings in namespaces to the role of the same name: name, namespace, subjects.
pub const NAMESPACED_BINDINGS: &[(&str, &str, &[Who])] = &[
    (
        "system:controller:bootstrap-signer",
        "kube-system",
        &[Who::ServiceAccount("bootstrap-signer")],
    ),
    (
        "system:controller:cloud-provider",
        "kube-system",
        &[Who::ServiceAccount("cloud-provider")],
    ),
    (
        "system:controller:token-cleaner",
        "kube-system",
        &[Who::ServiceAccount("token-cleaner")],
    ),
    (
        "system::leader-locking-kube-controller-manager",
        "kube-system",
        &[
            Who::User("system:kube-controller-manager"),
            Who::ServiceAccount("kube-controller-manager"),
        ],
    ),
    (
        "system::leader-locking-kube-scheduler",
        "kube-system",
        &[
            Who::User("system:kube-scheduler"),
            Who::ServiceAccount("kube-scheduler"),
        ],
    ),
    (
        "system:controller:bootstrap-signer",
        "kube-public",
        &[Who::ServiceAccount("bootstrap-signer")],
    ),
];
