//! What upstream's control loops are given: each runs as the service account of its name in
//! kube-system.
use super::Grant::{Named, On, Paths};
use super::{EVENTS, READ, Role};

macro_rules! roles {
    ($($name:literal: [$($grant:expr),* $(,)?]),* $(,)?) => {
        &[$(Role { name: concat!("system:controller:", $name), grants: &[$($grant),*] }),*]
    };
}

pub const ROLES: &[Role] = roles! {
    "attachdetach-controller": [
        On("core", "persistentvolumeclaims persistentvolumes", "list watch"),
        On("core", "nodes", READ), On("core", "nodes/status", "patch update"), On("core", "pods", "list watch"),
        EVENTS, On("storage.k8s.io", "volumeattachments", "create delete get list watch"),
        On("storage.k8s.io", "csidrivers csinodes", READ),
    ],
    "clusterrole-aggregation-controller": [
        On("rbac.authorization.k8s.io", "clusterroles", "escalate get list patch update watch"),
    ],
    "cronjob-controller": [
        On("batch", "cronjobs", "get list update watch"), On("batch", "cronjobs/status", "update"),
        On("batch", "cronjobs/finalizers", "update"),
        On("batch", "jobs", "create delete get list patch update watch"), On("core", "pods", "delete list watch"), EVENTS,
    ],
    "daemon-set-controller": [
        On("apps", "daemonsets", READ), On("apps", "daemonsets/status", "update"),
        On("apps", "daemonsets/finalizers", "update"), On("core", "nodes", "list watch"),
        On("core", "pods", "create delete list patch watch"), On("core", "pods/binding", "create"),
        On("apps", "controllerrevisions", "create delete get list patch update watch"), EVENTS,
    ],
    "deployment-controller": [
        On("apps", "deployments", "get list update watch"), On("apps", "deployments/status", "update"),
        On("apps", "deployments/finalizers", "update"),
        On("apps", "replicasets", "create delete get list patch update watch"),
        On("core", "pods", "get list update watch"), EVENTS,
    ],
    "disruption-controller": [
        On("apps", "deployments replicasets statefulsets", READ), On("core", "replicationcontrollers", READ),
        On("policy", "poddisruptionbudgets", READ), On("policy", "poddisruptionbudgets/status", "update"),
        On("core", "pods/status", "patch update"), On("*", "*/scale", "get"), EVENTS,
    ],
    "endpoint-controller": [
        On("core", "pods services", READ), On("core", "endpoints", "create delete get list update watch"),
        On("core", "endpoints/restricted", "create"), EVENTS,
    ],
    "endpointslice-controller": [
        On("core", "nodes pods services", READ), On("core", "services/finalizers", "update"),
        On("discovery.k8s.io", "endpointslices", "create delete get list update watch"), EVENTS,
    ],
    "endpointslicemirroring-controller": [
        On("core", "endpoints services", READ), On("core", "services/finalizers", "update"),
        On("core", "endpoints/finalizers", "update"),
        On("discovery.k8s.io", "endpointslices", "create delete get list update watch"), EVENTS,
    ],
    "ephemeral-volume-controller": [
        On("core", "pods", READ), On("core", "pods/finalizers", "update"),
        On("core", "persistentvolumeclaims", "create get list watch"), EVENTS,
    ],
    "expand-controller": [
        On("core", "persistentvolumes", "get list patch update watch"),
        On("core", "persistentvolumeclaims/status", "patch update"),
        On("core", "persistentvolumeclaims", READ), On("core", "endpoints services", "get"),
        On("core", "secrets", "get"), EVENTS,
    ],
    "generic-garbage-collector": [On("*", "*", "delete get list patch update watch"), EVENTS],
    "horizontal-pod-autoscaler": [
        On("autoscaling", "horizontalpodautoscalers", READ),
        On("autoscaling", "horizontalpodautoscalers/status", "update"), On("*", "*/scale", "get update"),
        On("core", "pods", "list watch"), On("metrics.k8s.io", "pods", "list watch"),
        On("custom.metrics.k8s.io external.metrics.k8s.io", "*", READ), EVENTS,
    ],
    "job-controller": [
        On("batch", "jobs", "get list patch update watch"), On("batch", "jobs/status", "patch update"),
        On("batch", "jobs/finalizers", "update"), On("core", "pods", "create delete list patch watch"), EVENTS,
    ],
    "legacy-service-account-token-cleaner": [
        Named("core", "configmaps", "kube-apiserver-legacy-service-account-token-tracking", "get"),
        On("core", "secrets", "delete patch"),
    ],
    "namespace-controller": [
        On("core", "namespaces", "delete get list watch"), On("core", "namespaces/finalize namespaces/status", "update"),
        On("*", "*", "delete deletecollection get list watch"),
    ],
    "node-controller": [
        On("core", "nodes", "delete get list patch update watch"), On("core", "nodes/status", "patch update"),
        On("core", "pods/status", "patch update"), On("core", "pods", "delete get list watch"), EVENTS,
    ],
    "persistent-volume-binder": [
        On("core", "persistentvolumes", "create delete get list update watch"),
        On("core", "persistentvolumes/status", "update"), On("core", "persistentvolumeclaims", "get list update watch"),
        On("core", "persistentvolumeclaims/status", "update"), On("core", "pods", "create delete get list watch"),
        On("storage.k8s.io", "storageclasses", READ), On("core", "endpoints services", "create delete get update"),
        On("core", "secrets", "get"), On("core", "nodes", "get list watch"), On("core", "events", "watch"), EVENTS,
    ],
    "pod-garbage-collector": [
        On("core", "pods", "delete list watch"), On("core", "nodes", READ), On("core", "pods/status", "patch"),
    ],
    "pv-protection-controller": [On("core", "persistentvolumes", "get list update watch"), EVENTS],
    "pvc-protection-controller": [
        On("core", "persistentvolumeclaims", "get list update watch"), On("core", "pods", READ), EVENTS,
    ],
    "replicaset-controller": [
        On("apps", "replicasets", "get list update watch"), On("apps", "replicasets/status", "update"),
        On("apps", "replicasets/finalizers", "update"), On("core", "pods", "create delete list patch watch"), EVENTS,
    ],
    "replication-controller": [
        On("core", "replicationcontrollers", "get list update watch"),
        On("core", "replicationcontrollers/status", "update"),
        On("core", "replicationcontrollers/finalizers", "update"),
        On("core", "pods", "create delete list patch watch"), EVENTS,
    ],
    "resourcequota-controller": [
        On("*", "*", "list watch"), On("core", "resourcequotas/status", "update"), EVENTS,
    ],
    "device-taint-eviction-controller": [
        On("core", "pods", "delete get list watch"), On("core", "pods/status", "patch update"),
        On("resource.k8s.io", "deviceclasses devicetaintrules resourceclaims resourceslices", READ),
        On("resource.k8s.io", "devicetaintrules/status", "patch update"), EVENTS,
    ],
    "kube-apiserver-serving-clustertrustbundle-publisher": [
        Named("certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-serving", "attest"),
        On("certificates.k8s.io", "clustertrustbundles", "create delete list update watch"), EVENTS,
    ],
    "podcertificaterequestcleaner": [
        On("certificates.k8s.io", "podcertificaterequests", "delete get list watch"),
    ],
    "resource-claim-controller": [
        On("core", "pods", READ), On("core", "pods/finalizers", "update"), On("core", "pods/status", "patch update"),
        On("resource.k8s.io", "resourceclaims", "create delete get list watch"),
        On("resource.k8s.io", "resourceclaims resourceclaims/status", "patch update"), EVENTS,
    ],
    "selinux-warning-controller": [
        On("core", "persistentvolumeclaims persistentvolumes pods", READ), On("storage.k8s.io", "csidrivers", READ), EVENTS,
    ],
    "service-cidrs-controller": [
        On("networking.k8s.io", "servicecidrs", "get list patch update watch"),
        On("networking.k8s.io", "servicecidrs/finalizers servicecidrs/status", "patch update"),
        On("networking.k8s.io", "ipaddresses", READ), EVENTS,
    ],
    "storage-version-migrator-controller": [
        On("*", "*", "create list patch watch"),
        On("storagemigration.k8s.io", "storageversionmigrations/status", "update"),
    ],
    "volumeattributesclass-protection-controller": [
        On("core", "persistentvolumeclaims persistentvolumes", READ),
        On("storage.k8s.io", "volumeattributesclasses", "get list update watch"), EVENTS,
    ],
    "root-ca-cert-publisher": [On("core", "configmaps", "create update"), EVENTS],
    "route-controller": [
        On("core", "nodes", "list watch"), On("core", "nodes/status", "patch"), EVENTS,
    ],
    "service-account-controller": [On("core", "serviceaccounts", "create"), EVENTS],
    "service-controller": [
        On("core", "services", READ), On("core", "services/status", "patch update"),
        On("core", "nodes", "list watch"), EVENTS,
    ],
    "statefulset-controller": [
        On("core", "pods", "list watch"), On("apps", "statefulsets", READ), On("apps", "statefulsets/status", "update"),
        On("apps", "statefulsets/finalizers", "update"), On("core", "pods", "create delete get patch update"),
        On("apps", "controllerrevisions", "create delete get list patch update watch"),
        On("core", "persistentvolumeclaims", "create get"), EVENTS,
        On("core", "persistentvolumeclaims", "delete list update watch"), On("core", "pods/finalizers", "update"),
    ],
    "ttl-after-finished-controller": [On("batch", "jobs", "delete get list watch"), EVENTS],
    "ttl-controller": [On("core", "nodes", "list patch update watch"), EVENTS],
    "validatingadmissionpolicy-status-controller": [
        On("admissionregistration.k8s.io", "validatingadmissionpolicies", READ),
        On("admissionregistration.k8s.io", "validatingadmissionpolicies/status", "get patch update"),
        Paths("/openapi /openapi/*", "get"), EVENTS,
    ],
    "certificate-controller": [
        On("certificates.k8s.io", "certificatesigningrequests", "delete get list watch"),
        On("certificates.k8s.io", "certificatesigningrequests/approval certificatesigningrequests/status", "update"),
        Named("certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet", "approve"),
        Named(
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet \
             kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown",
            "sign"
        ),
        On("authorization.k8s.io", "subjectaccessreviews", "create"), EVENTS,
    ],
};
