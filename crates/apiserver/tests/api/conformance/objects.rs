//! The least of each kind that is accepted.
use serde_json::{Value, json};

/// A kind, where it is served, and one valid object.
pub struct Sample {
    /// `v1` or `group/version`.
    pub api: &'static str,
    pub plural: &'static str,
    pub kind: &'static str,
    pub namespaced: bool,
    /// What a controller would write, as a merge patch of the status; null where there is no such part.
    pub status: Value,
    object: Value,
}

impl Sample {
    fn new(
        api: &'static str,
        plural: &'static str,
        kind: &'static str,
        namespaced: bool,
        object: Value,
    ) -> Self {
        Self {
            api,
            plural,
            kind,
            namespaced,
            status: Value::Null,
            object,
        }
    }

    fn status(mut self, status: Value) -> Self {
        self.status = status;
        self
    }

    /// The collection, of `namespace` if the kind has them.
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.api == "v1" { "/api" } else { "/apis" };
        if self.namespaced {
            format!("{root}/{}/namespaces/{namespace}/{}", self.api, self.plural)
        } else {
            format!("{root}/{}/{}", self.api, self.plural)
        }
    }

    /// The collection over all namespaces.
    pub fn everywhere(&self) -> String {
        let root = if self.api == "v1" { "/api" } else { "/apis" };
        format!("{root}/{}/{}", self.api, self.plural)
    }

    /// An object of this name, with label `test: ops`; some kinds have their own idea of names.
    pub fn object(&self, name: &str) -> Value {
        let mut object = self.object.clone();
        object["apiVersion"] = self.api.into();
        object["kind"] = self.kind.into();
        object["metadata"]["name"] = self.name(name).into();
        object["metadata"]["labels"]["test"] = "ops".into();
        match self.kind {
            "CustomResourceDefinition" => {
                object["spec"]["names"] =
                    json!({"plural": format!("{name}s"), "kind": format!("Kind{name}")});
            }
            "APIService" => object["spec"]["version"] = name.into(),
            "IPAddress" => object["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"] = "IPv4".into(),
            _ => {}
        }
        object
    }

    /// The name that an object called `name` gets.
    pub fn name(&self, name: &str) -> String {
        match self.kind {
            "CustomResourceDefinition" => format!("{name}s.ops.example.com"),
            "APIService" => format!("{name}.ops.example.com"),
            "IPAddress" => format!("192.0.2.{}", name.len()),
            _ => name.to_owned(),
        }
    }
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "ops"}}, "spec": {"containers": [{"name": "c", "image": "nginx:1"}]}})
}

fn condition() -> Value {
    json!({"type": "Ops", "status": "True", "reason": "Test", "message": "set by a test",
        "lastTransitionTime": "2026-01-02T03:04:05Z"})
}

/// One of every kind that can be created, updated and deleted.
pub fn samples() -> Vec<Sample> {
    let selector = json!({"matchLabels": {"app": "ops"}});
    let webhook = json!({"name": "ops.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://127.0.0.1:1/"}, "rules": [{"apiGroups": ["ops.example.com"],
            "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothings"]}]});
    let matches = json!({"resourceRules": [{"apiGroups": ["ops.example.com"], "apiVersions": ["v1"],
        "operations": ["CREATE"], "resources": ["nothings"]}]});
    let conditions = || json!({"conditions": [condition()]});
    vec![
        Sample::new("v1", "configmaps", "ConfigMap", true, json!({"data": {"a": "b"}})),
        Sample::new("v1", "endpoints", "Endpoints", true,
            json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]})),
        Sample::new("v1", "events", "Event", true,
            json!({"involvedObject": {"kind": "Pod", "namespace": "ops", "name": "p"}, "reason": "Ops", "message": "m", "type": "Normal"})),
        Sample::new("v1", "limitranges", "LimitRange", true,
            json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "64"}}]}})),
        Sample::new("v1", "namespaces", "Namespace", false, json!({})).status(conditions()),
        Sample::new("v1", "nodes", "Node", false, json!({}))
            .status(json!({"conditions": [{"type": "Ready", "status": "True", "reason": "Ops", "message": "m"}], "addresses": [{"type": "InternalIP", "address": "10.0.0.9"}]})),
        Sample::new("v1", "persistentvolumeclaims", "PersistentVolumeClaim", true,
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}))
            .status(json!({"phase": "Pending", "conditions": [{"type": "Ops", "status": "True", "reason": "Test", "message": "m"}]})),
        Sample::new("v1", "persistentvolumes", "PersistentVolume", false,
            json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp/ops"}}}))
            .status(json!({"phase": "Available", "message": "set by a test", "reason": "Test"})),
        Sample::new("v1", "pods", "Pod", true, json!({"spec": {"containers": [{"name": "c", "image": "nginx:1"}]}}))
            .status(json!({"conditions": [{"type": "Ops", "status": "True", "reason": "Test"}], "message": "set by a test"})),
        Sample::new("v1", "podtemplates", "PodTemplate", true, json!({"template": template()})),
        Sample::new("v1", "replicationcontrollers", "ReplicationController", true,
            json!({"spec": {"replicas": 0, "selector": {"app": "ops"}, "template": template()}}))
            .status(json!({"replicas": 1, "conditions": [condition()]})),
        Sample::new("v1", "resourcequotas", "ResourceQuota", true, json!({"spec": {"hard": {"count/leases.coordination.k8s.io": "500"}}}))
            .status(json!({"hard": {"count/leases.coordination.k8s.io": "500"}, "used": {"count/leases.coordination.k8s.io": "1"}})),
        Sample::new("v1", "secrets", "Secret", true, json!({"data": {"a": "Yg=="}})),
        Sample::new("v1", "serviceaccounts", "ServiceAccount", true, json!({})),
        Sample::new("v1", "services", "Service", true, json!({"spec": {"ports": [{"port": 80}], "selector": {"app": "ops"}}}))
            .status(json!({"loadBalancer": {}, "conditions": [condition()]})),
        Sample::new("apiregistration.k8s.io/v1", "apiservices", "APIService", false,
            json!({"spec": {"group": "ops.example.com", "groupPriorityMinimum": 10, "versionPriority": 10,
                "insecureSkipTLSVerify": true, "service": {"namespace": "ops", "name": "none"}}})).status(conditions()),
        Sample::new("apps/v1", "controllerrevisions", "ControllerRevision", true, json!({"data": {"a": 1}, "revision": 1})),
        Sample::new("apps/v1", "daemonsets", "DaemonSet", true, json!({"spec": {"selector": selector, "template": template()}}))
            .status(json!({"numberReady": 1, "conditions": [condition()]})),
        Sample::new("apps/v1", "deployments", "Deployment", true, json!({"spec": {"replicas": 0, "selector": selector, "template": template()}}))
            .status(json!({"replicas": 1, "conditions": [condition()]})),
        Sample::new("apps/v1", "replicasets", "ReplicaSet", true, json!({"spec": {"replicas": 0, "selector": selector, "template": template()}}))
            .status(json!({"replicas": 1, "conditions": [condition()]})),
        Sample::new("apps/v1", "statefulsets", "StatefulSet", true, json!({"spec": {"replicas": 0, "serviceName": "s", "selector": selector, "template": template()}}))
            .status(json!({"replicas": 1, "conditions": [condition()]})),
        Sample::new("events.k8s.io/v1", "events", "Event", true,
            json!({"regarding": {"kind": "Pod", "namespace": "ops", "name": "p"}, "reason": "Ops", "note": "n", "type": "Normal", "action": "Testing",
                "eventTime": "2026-01-02T03:04:05.000006Z", "reportingController": "ops", "reportingInstance": "ops-1"})),
        Sample::new("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true,
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}))
            .status(json!({"currentReplicas": 1, "desiredReplicas": 2})),
        Sample::new("autoscaling/v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true,
            json!({"spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}))
            .status(json!({"currentReplicas": 1, "desiredReplicas": 2})),
        Sample::new("batch/v1", "cronjobs", "CronJob", true,
            json!({"spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "nginx:1"}]}}}}}}))
            .status(json!({"lastScheduleTime": "2026-01-02T03:04:05Z"})),
        Sample::new("batch/v1", "jobs", "Job", true,
            json!({"spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "nginx:1"}]}}}}))
            .status(json!({"conditions": [{"type": "Ops", "status": "True", "reason": "Test", "message": "m", "lastTransitionTime": "2026-01-02T03:04:05Z", "lastProbeTime": "2026-01-02T03:04:05Z"}]})),
        Sample::new("certificates.k8s.io/v1", "certificatesigningrequests", "CertificateSigningRequest", false,
            json!({"spec": {"request": csr(), "signerName": "example.com/ops", "usages": ["client auth"]}}))
            .status(json!({"conditions": [{"type": "Failed", "status": "True", "reason": "Test", "message": "m"}]})),
        Sample::new("networking.k8s.io/v1", "ingressclasses", "IngressClass", false, json!({"spec": {"controller": "example.com/ops"}})),
        Sample::new("networking.k8s.io/v1", "ingresses", "Ingress", true, json!({"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}))
            .status(json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}})),
        Sample::new("networking.k8s.io/v1", "ipaddresses", "IPAddress", false,
            json!({"spec": {"parentRef": {"resource": "services", "namespace": "ops", "name": "s"}}})),
        Sample::new("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", true, json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}})),
        Sample::new("networking.k8s.io/v1", "servicecidrs", "ServiceCIDR", false, json!({"spec": {"cidrs": ["10.197.0.0/24"]}})).status(conditions()),
        Sample::new("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", true, json!({"spec": {"minAvailable": 1, "selector": selector}}))
            .status(json!({"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2})),
        Sample::new("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", false,
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "nobody"}]})),
        Sample::new("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", false, json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]})),
        Sample::new("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding", true,
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "nobody"}]})),
        Sample::new("rbac.authorization.k8s.io/v1", "roles", "Role", true, json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]})),
        Sample::new("resource.k8s.io/v1", "deviceclasses", "DeviceClass", false,
            json!({"spec": {"selectors": [{"cel": {"expression": "device.driver == \"ops.example.com\""}}]}})),
        Sample::new("resource.k8s.io/v1", "resourceclaims", "ResourceClaim", true,
            json!({"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}}))
            .status(json!({"allocation": {"devices": {"results": [{"request": "r", "driver": "ops.example.com", "pool": "p", "device": "d"}]}},
                "reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]})),
        Sample::new("resource.k8s.io/v1", "resourceclaimtemplates", "ResourceClaimTemplate", true,
            json!({"spec": {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}}})),
        Sample::new("resource.k8s.io/v1", "resourceslices", "ResourceSlice", false,
            json!({"spec": {"driver": "ops.example.com", "nodeName": "n", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
                "devices": [{"name": "d", "attributes": {"model": {"string": "m"}}, "capacity": {"memory": {"value": "1Gi"}}}]}})),
        Sample::new("storage.k8s.io/v1", "csidrivers", "CSIDriver", false, json!({"spec": {}})),
        Sample::new("storage.k8s.io/v1", "csinodes", "CSINode", false, json!({"spec": {"drivers": [{"name": "d.example.com", "nodeID": "n", "topologyKeys": []}]}})),
        Sample::new("storage.k8s.io/v1", "csistoragecapacities", "CSIStorageCapacity", true, json!({"storageClassName": "s", "capacity": "1Gi"})),
        Sample::new("storage.k8s.io/v1", "storageclasses", "StorageClass", false, json!({"provisioner": "example.com/ops"})),
        Sample::new("storage.k8s.io/v1", "volumeattachments", "VolumeAttachment", false,
            json!({"spec": {"attacher": "example.com", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}})).status(json!({"attached": true})),
        Sample::new("storage.k8s.io/v1", "volumeattributesclasses", "VolumeAttributesClass", false, json!({"driverName": "example.com", "parameters": {"a": "b"}})),
        Sample::new("admissionregistration.k8s.io/v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy", false,
            json!({"spec": {"matchConstraints": matches, "reinvocationPolicy": "Never", "mutations": [{"patchType": "ApplyConfiguration",
                "applyConfiguration": {"expression": "Object{metadata: Object.metadata{labels: {\"a\": \"b\"}}}"}}]}})),
        Sample::new("admissionregistration.k8s.io/v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", false, json!({"spec": {"policyName": "none"}})),
        Sample::new("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", false, json!({"webhooks": [webhook]})),
        Sample::new("admissionregistration.k8s.io/v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", false,
            json!({"spec": {"matchConstraints": matches, "validations": [{"expression": "true"}]}})).status(json!({"observedGeneration": 1, "conditions": [condition()]})),
        Sample::new("admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", false,
            json!({"spec": {"policyName": "none", "validationActions": ["Deny"]}})),
        Sample::new("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", false, json!({"webhooks": [webhook]})),
        Sample::new("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", false,
            json!({"spec": {"group": "ops.example.com", "scope": "Namespaced", "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}})).status(conditions()),
        Sample::new("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", false, json!({"value": 5})),
        Sample::new("coordination.k8s.io/v1", "leases", "Lease", true, json!({"spec": {"holderIdentity": "h", "leaseDurationSeconds": 15}})),
        Sample::new("node.k8s.io/v1", "runtimeclasses", "RuntimeClass", false, json!({"handler": "runc"})),
        Sample::new("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", true,
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]})),
        Sample::new("flowcontrol.apiserver.k8s.io/v1", "flowschemas", "FlowSchema", false,
            json!({"spec": {"matchingPrecedence": 9000, "priorityLevelConfiguration": {"name": "global-default"}}}))
            .status(json!({"conditions": [condition()]})),
        Sample::new("flowcontrol.apiserver.k8s.io/v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", false,
            json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}}}))
            .status(json!({"conditions": [condition()]})),
    ]
}

/// A request for a certificate, in base64.
fn csr() -> String {
    use base64::Engine;
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    base64::engine::general_purpose::STANDARD.encode(request.pem().unwrap())
}
