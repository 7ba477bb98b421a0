//! Who and what a container is: names, rights, variables.
use crate::shared::{FOREVER, IMAGE, Shared, apply, container, node, pod, wait_phase};
use orlop_e2e::{Node, eventually};
use serde_json::json;

fn events(node: &Node, name: &str) -> String {
    node.kubectl
        .ok(&format!("get events --field-selector involvedObject.name={name}"))
}

/// The pod stays Pending, and this is why.
fn wait_refused(node: &Node, name: &str, why: &str) {
    eventually(&format!("{name} is refused"), || {
        let events = events(node, name);
        events.contains(why).then_some(()).ok_or(events)
    });
    assert_eq!(
        node.kubectl.field(&format!("pod {name}"), "/status/phase"),
        "Pending"
    );
    node.kubectl.ok(&format!("delete pod {name} --now"));
}

/// E16: the host name is the whole domain name where the pod wants it and it fits; exactly what `hostnameOverride` says.
#[test]
fn e16_host_names_are_fully_qualified_too_long_or_exactly_given() {
    let node = node();
    let shared = Shared::new(&node, "e16");
    let named = |name: &str, host: &str| {
        let mut pod = pod(
            name,
            &shared,
            vec![],
            vec![container(
                "main",
                &format!("hostname > /shared/{name}; {FOREVER}"),
            )],
        );
        pod["spec"]["hostNetwork"] = json!(false);
        pod["spec"]["hostname"] = json!(host);
        pod["spec"]["subdomain"] = json!("sub");
        pod["spec"]["setHostnameAsFQDN"] = json!(true);
        pod
    };
    apply(&node, &named("e16", "host"));
    assert_eq!(shared.wait("e16"), "host.sub.default.svc.cluster.local");
    let hosts = node.kubectl.ok("exec e16 -- cat /etc/hosts");
    assert!(
        hosts.contains("\thost.sub.default.svc.cluster.local\thost"),
        "{hosts}"
    );
    apply(&node, &named("e16-long", &"h".repeat(40)));
    wait_refused(
        &node,
        "e16-long",
        "(64 characters is the max, 70 characters requested)",
    );
    assert!(!node.running().iter().any(|one| one.pod == "e16-long"));
    node.kubectl.ok("delete pod e16 --now");
}

/// E17, S13 and S16: what this runtime or node agent cannot do for a pod is not silently left out.
#[test]
fn e17_s13_s16_what_cannot_be_had_is_refused() {
    let node = node();
    let shared = Shared::new(&node, "e17");
    let mut read_only = container("main", FOREVER);
    read_only["volumeMounts"][0] =
        json!({"name": "shared", "mountPath": "/shared", "readOnly": true, "recursiveReadOnly": "Enabled"});
    apply(&node, &pod("e17", &shared, vec![], vec![read_only]));
    eventually("E17 is refused", || {
        let pod = node.kubectl.json("get pod e17");
        let reason = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
        (reason == "CreateContainerConfigError")
            .then_some(())
            .ok_or_else(|| format!("{:#}", pod["status"]))
    });
    node.kubectl.ok("delete pod e17 --now");

    let mut user_namespace = pod("s16", &shared, vec![], vec![container("main", FOREVER)]);
    user_namespace["spec"]["hostUsers"] = json!(false);
    user_namespace["spec"]["hostNetwork"] = json!(false);
    apply(&node, &user_namespace);
    wait_refused(&node, "s16", "does not support user namespaces");

    let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "odd"}, "handler": "odd"});
    node.kubectl.feed("apply", &class.to_string());
    let mut odd = pod("s13", &shared, vec![], vec![container("main", FOREVER)]);
    odd["spec"]["runtimeClassName"] = json!("odd");
    apply(&node, &odd);
    wait_refused(&node, "s13", "no runtime for \"odd\" is configured");
    node.kubectl.ok("delete runtimeclass odd");
}

/// Daemonsets S09: a pod finds its token, the cluster's CA and its namespace at the usual place, and the token is good.
#[test]
fn s09_a_pod_reads_its_token_the_ca_and_its_namespace() {
    let node = node();
    let shared = Shared::new(&node, "s09");
    let at = "/var/run/secrets/kubernetes.io/serviceaccount";
    let script =
        format!("cp {at}/token {at}/ca.crt /shared/ && cp {at}/namespace /shared/namespace; {FOREVER}");
    let mut pod = pod("s09", &shared, vec![], vec![container("main", &script)]);
    pod["spec"]["automountServiceAccountToken"] = json!(true);
    apply(&node, &pod);
    assert_eq!(shared.wait("namespace"), "default");
    let published = node.kubectl.field("configmap kube-root-ca.crt", "/data/ca.crt");
    assert_eq!(shared.read("ca.crt"), published.trim());
    assert!(published.contains("BEGIN CERTIFICATE"), "{published}");
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": shared.read("token")}});
    let user = node
        .kubectl
        .feed("create -o jsonpath={.status.user.username}", &review.to_string());
    assert_eq!(user, "system:serviceaccount:default:default");
    node.kubectl.ok("delete pod s09 --now");
}

/// E18: the variable that an init container has written is there; a key that isn't keeps the container from starting.
#[test]
fn e18_variables_come_from_a_file_that_an_init_container_wrote() {
    let node = node();
    let shared = Shared::new(&node, "e18");
    let init = json!({
        "name": "init", "image": IMAGE, "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", "echo \"WRITTEN='by init'\" > /made/file.env"],
        "volumeMounts": [{"name": "made", "mountPath": "/made"}],
    });
    let with_key = |name: &str, key: &str| {
        let mut main = container("main", &format!("echo \"$V\" > /shared/{name}; {FOREVER}"));
        main["env"] = json!([{"name": "V", "valueFrom":
            {"fileKeyRef": {"volumeName": "made", "path": "file.env", "key": key}}}]);
        let mut pod = pod(name, &shared, vec![init.clone()], vec![main]);
        let volumes = pod["spec"]["volumes"].as_array_mut().unwrap();
        volumes.push(json!({"name": "made", "emptyDir": {}}));
        pod
    };
    apply(&node, &with_key("e18", "WRITTEN"));
    assert_eq!(shared.wait("e18"), "by init");
    apply(&node, &with_key("e18-missing", "MISSING"));
    eventually("the missing key is told of", || {
        let pod = node.kubectl.json("get pod e18-missing");
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        let text = waiting["message"].as_str().unwrap_or_default();
        (waiting["reason"] == "CreateContainerConfigError" && text.contains("\"MISSING\" not found"))
            .then_some(())
            .ok_or_else(|| format!("{:#}", pod["status"]))
    });
    node.kubectl.ok("delete pod e18 e18-missing --now");
}

/// S09, the agent's part: it is the last to be killed for memory, where it may say so; elsewhere it runs with the score
/// that it was given.
#[test]
fn s09_agent_is_hardly_ever_killed_for_memory() {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let node = node();
    let of = |pid: &str, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let pid = node.pid().to_string();
    let status = of(&pid, "status");
    let capabilities = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .unwrap();
    let may = u64::from_str_radix(capabilities.trim(), 16).unwrap() & CAP_SYS_RESOURCE != 0;
    let expected = if may {
        "-999".to_owned()
    } else {
        of("self", "oom_score_adj").trim().to_owned()
    };
    assert_eq!(of(&pid, "oom_score_adj").trim(), expected);
}

/// S15: a privileged container can make a network device, another cannot.
#[test]
fn s15_only_privileged_containers_make_network_devices() {
    let node = node();
    let shared = Shared::new(&node, "s15");
    let script = |file: &str| {
        format!("ip link add br9 type bridge > /shared/{file}.out 2>&1; echo $? > /shared/{file}; {FOREVER}")
    };
    for privileged in [true, false] {
        let name = format!("s15-{privileged}");
        let mut main = container("main", &script(&name));
        main["securityContext"] = json!({"privileged": privileged});
        let mut pod = pod(&name, &shared, vec![], vec![main]);
        pod["spec"]["hostNetwork"] = json!(false);
        apply(&node, &pod);
        let code = shared.wait(&name);
        assert_eq!(code == "0", privileged, "{}", shared.read(&format!("{name}.out")));
        wait_phase(&node, &name, "Running");
        node.kubectl.ok(&format!("delete pod {name} --now"));
    }
}
