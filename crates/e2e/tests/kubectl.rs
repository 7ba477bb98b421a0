//! What people do with kubectl, against a control plane without a node. Names cite the contract's cases.
#![allow(clippy::unwrap_used)]
use orlop_e2e::{ControlPlane, Kubectl};

const CONFIG: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, labels: {tier: web}}\ndata: {a: '1'}\n";
const NODE: &str = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {zone: a}}\n\
                    status: {capacity: {cpu: '4', memory: 8Gi, pods: '110'}, \
                    conditions: [{type: Ready, status: 'True', reason: KubeletReady}]}\n";

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The header of a table.
fn header(kubectl: &Kubectl, line: &str) -> Vec<String> {
    let text = kubectl.ok(line);
    let first = text.lines().next().unwrap_or_default();
    // Columns are separated by three blanks; their names may hold one.
    first
        .split("   ")
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Cases T07, D06, D07, D10: generators, discovery, explain.
#[test]
fn kubectl_creates_discovers_and_explains() {
    let plane = ControlPlane::start();
    let kubectl = &plane.kubectl;
    assert!(kubectl.ok("version").contains("Server Version: v1."));
    for line in [
        "create configmap c --from-literal=a=b",
        "create ns n",
        "create secret generic s --from-literal=p=q",
        "create serviceaccount robot",
        "create role reader --verb=get,list --resource=pods",
        "create rolebinding reader --role=reader --serviceaccount=default:robot",
        "create clusterrole all-reader --verb=get --resource=nodes",
        "create clusterrolebinding all-reader --clusterrole=all-reader --user=alice",
        "create deployment web --image=nginx --replicas=2",
        "create service clusterip web --tcp=80:8080",
        "create job once --image=busybox",
        "create cronjob often --image=busybox --schedule=@hourly",
        "create quota q --hard=pods=5",
        "create poddisruptionbudget pdb --selector=app=web --min-available=1",
        "create priorityclass high --value=1000",
        "create ingress i --rule=a.example/=web:80",
        "create token robot",
    ] {
        kubectl.ok(line);
    }
    let versions = kubectl.ok("api-versions");
    for version in ["v1", "apps/v1", "batch/v1", "rbac.authorization.k8s.io/v1"] {
        assert!(versions.lines().any(|line| line == version), "{versions}");
    }
    let resources = kubectl.ok("api-resources");
    for (short, kind) in [
        ("po", "Pod"),
        ("ds", "DaemonSet"),
        ("no", "Node"),
        ("cm", "ConfigMap"),
        ("ns", "Namespace"),
    ] {
        let listed = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.contains(&short) && words.last() == Some(&kind)
        };
        assert!(resources.lines().any(listed), "{short}: {resources}");
    }
    let explained = kubectl.ok("explain pod.spec.nodeName");
    for part in ["KIND:", "VERSION:", "FIELD: nodeName", "DESCRIPTION:"] {
        assert!(explained.contains(part), "{explained}");
    }
    assert!(
        kubectl
            .ok("explain ds.spec.updateStrategy --recursive")
            .contains("maxUnavailable")
    );
    kubectl.ok("explain deployment.spec.strategy.rollingUpdate");
    kubectl.ok("cluster-info");
}

/// Cases P16, P17, V02: apply, diff, and what a misspelt field comes to.
#[test]
fn kubectl_applies_and_tells_what_changed() {
    let plane = ControlPlane::start();
    let kubectl = &plane.kubectl;
    assert_eq!(kubectl.feed("apply", CONFIG), "configmap/c created\n");
    let changed = CONFIG.replace("tier: web", "tier: db");
    let difference = kubectl.fed("diff", &changed);
    assert_eq!(difference.status.code(), Some(1), "{}", stderr(&difference));
    let text = String::from_utf8_lossy(&difference.stdout).into_owned();
    assert!(
        text.contains("-    tier: web") && text.contains("+    tier: db"),
        "{text}"
    );
    assert_eq!(kubectl.feed("apply", &changed), "configmap/c configured\n");
    assert_eq!(kubectl.feed("apply", &changed), "configmap/c unchanged\n");
    assert_eq!(
        kubectl.feed("apply --server-side", &changed),
        "configmap/c serverside-applied\n"
    );
    let managers =
        kubectl.ok("get configmap c --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}");
    assert!(!managers.contains("client-side-apply"), "{managers}");
    assert_eq!(
        kubectl.feed("apply --dry-run=server", &changed.replace("'1'", "'2'")),
        "configmap/c configured (server dry run)\n"
    );
    assert_eq!(kubectl.ok("get configmap c -o jsonpath={.data.a}"), "1");

    let misspelt = CONFIG.replace("name: c", "name: d").replace("\ndata:", "\ndaat:");
    let refused = kubectl.fed("apply", &misspelt);
    assert!(!refused.status.success());
    assert!(
        stderr(&refused).contains("Error from server (BadRequest)")
            && stderr(&refused).contains("strict decoding error: unknown field \"daat\""),
        "{}",
        stderr(&refused)
    );
    assert!(kubectl.fails("get configmap d").contains("(NotFound)"));
    let warned = kubectl.fed("apply --validate=warn", &misspelt);
    assert!(warned.status.success(), "{}", stderr(&warned));
    assert!(
        stderr(&warned).contains("Warning: unknown field \"daat\""),
        "{}",
        stderr(&warned)
    );
}

/// Cases X13, B02: deletion returns, and wide tables.
#[test]
fn kubectl_deletes_and_lists() {
    let plane = ControlPlane::start();
    let kubectl = &plane.kubectl;
    kubectl.ok("run p --image=nginx");
    assert_eq!(
        header(kubectl, "get pods -o wide"),
        [
            "NAME",
            "READY",
            "STATUS",
            "RESTARTS",
            "AGE",
            "IP",
            "NODE",
            "NOMINATED NODE",
            "READINESS GATES"
        ]
    );
    // Newer ones add the namespace.
    assert!(
        kubectl
            .ok("delete pod p --timeout=30s")
            .starts_with("pod \"p\" deleted")
    );
    assert!(kubectl.fails("get pod p").contains("(NotFound)"));
    kubectl.feed("create", NODE);
    assert_eq!(
        header(kubectl, "get nodes -o wide"),
        [
            "NAME",
            "STATUS",
            "ROLES",
            "AGE",
            "VERSION",
            "INTERNAL-IP",
            "EXTERNAL-IP",
            "OS-IMAGE",
            "KERNEL-VERSION",
            "CONTAINER-RUNTIME"
        ]
    );
    kubectl.feed("apply", include_str!("../../../examples/kube-proxy-like.yaml"));
    assert_eq!(
        header(kubectl, "get ds -n kube-system -o wide"),
        [
            "NAME",
            "DESIRED",
            "CURRENT",
            "READY",
            "UP-TO-DATE",
            "AVAILABLE",
            "NODE SELECTOR",
            "AGE",
            "CONTAINERS",
            "IMAGES",
            "SELECTOR"
        ]
    );
    kubectl.ok("delete ds kube-proxy -n kube-system --cascade=foreground --timeout=60s");
    kubectl.ok("create ns gone");
    kubectl.ok("-n gone create configmap c");
    assert_eq!(
        kubectl.ok("delete ns gone --timeout=60s"),
        "namespace \"gone\" deleted\n"
    );
    assert!(kubectl.ok("get all -A").contains("service/kubernetes"));
}

/// Cases N03, N16, N17: cordon, taint, drain, and what describe fills in.
#[test]
fn kubectl_cordons_drains_and_describes() {
    let plane = ControlPlane::start();
    let kubectl = &plane.kubectl;
    kubectl.feed("create", NODE);
    kubectl.ok("cordon n1");
    assert!(kubectl.ok("get node n1").contains(",SchedulingDisabled"));
    kubectl.ok("uncordon n1");
    assert!(!kubectl.ok("get node n1").contains("SchedulingDisabled"));
    kubectl.ok("taint nodes n1 disk=full:NoSchedule");
    assert!(
        kubectl
            .ok("get node n1 -o jsonpath={.spec.taints[*].key}")
            .contains("disk")
    );
    kubectl.ok("taint nodes n1 disk-");
    kubectl.feed(
        "create",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {nodeName: n1, terminationGracePeriodSeconds: 0, \
         containers: [{name: c, image: i, resources: {requests: {cpu: 500m}}}]}\n",
    );
    let node = kubectl.ok("describe node n1");
    for part in [
        "Allocated resources:",
        "500m (12%)",
        "Conditions:",
        "Non-terminated Pods:",
        "Lease:",
    ] {
        assert!(node.contains(part), "{part}: {node}");
    }
    let pod = kubectl.ok("describe pod p");
    for part in ["Node:", "QoS Class:", "Tolerations:", "Events:"] {
        assert!(pod.contains(part), "{part}: {pod}");
    }
    kubectl.ok("drain n1 --force --ignore-daemonsets --timeout=60s");
    assert!(kubectl.ok("get node n1").contains(",SchedulingDisabled"));
    assert!(kubectl.fails("get pod p").contains("(NotFound)"));
}

/// Cases S14, S03, S05, N15, M13 by kubectl: rights, scale, labels, patches.
#[test]
fn kubectl_asks_for_rights_scales_labels_and_patches() {
    let plane = ControlPlane::start();
    let kubectl = &plane.kubectl;
    let alice = plane.kubectl_as("alice", &["devs"]);
    assert!(alice.ok("auth whoami").contains("alice"));
    assert_eq!(
        alice.fails("get pods"),
        "Error from server (Forbidden): pods is forbidden: User \"alice\" cannot list resource \"pods\" in API group \
         \"\" in the namespace \"default\"\n"
    );
    kubectl.ok("create rolebinding devs --clusterrole=view --group=devs");
    assert_eq!(alice.ok("auth can-i list pods"), "yes\n");
    alice.ok("get pods");
    assert!(alice.ok("auth can-i --list").contains("configmaps"));

    kubectl.ok("create deployment web --image=nginx");
    kubectl.ok("scale deployment web --replicas=3");
    assert_eq!(kubectl.ok("get deployment web -o jsonpath={.spec.replicas}"), "3");
    assert!(
        kubectl
            .fails("scale deployment web --replicas=3 --current-replicas=1")
            .contains("replicas")
    );
    kubectl.ok("set image deployment/web nginx=nginx:2");
    kubectl.ok("label deployment web tier=front");
    assert!(
        kubectl
            .fails("label deployment web tier=back")
            .contains("overwrite")
    );
    kubectl.ok("annotate deployment web note=x");
    kubectl.ok("patch deployment web -p {\"spec\":{\"minReadySeconds\":3}}");
    kubectl
        .ok("patch deployment web --type=json -p [{\"op\":\"remove\",\"path\":\"/spec/minReadySeconds\"}]");
    kubectl.ok("expose deployment web --port=80");
    assert_eq!(kubectl.ok("get svc web -o jsonpath={.spec.selector.app}"), "web");
    assert!(
        kubectl
            .ok("get deployment --sort-by=.metadata.name -L tier")
            .contains("front")
    );
    let events = kubectl.run("events");
    assert!(events.status.success(), "{}", stderr(&events));
}
