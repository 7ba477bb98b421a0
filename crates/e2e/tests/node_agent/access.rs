//! Who may ask a node's agent.
use crate::shared::node;
use orlop_e2e::Node;
use serde_json::json;
use std::process::Command;

/// The status of an answer of the agent's own port.
fn ask(node: &Node, token: Option<&str>, method: &str, path: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--insecure",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
    ]);
    curl.args(["--request", method]);
    if let Some(token) = token {
        curl.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    let output = curl
        .arg(format!("https://127.0.0.1:{}{path}", node.agent_port()))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// N10: a service account's token is one's name, and rights on the node's subresources are what it may.
#[test]
fn n10_service_account_may_what_its_role_says_and_nobody_else_anything() {
    let node = node();
    for name in ["scraper", "stranger"] {
        node.kubectl.ok(&format!("create serviceaccount n10-{name}"));
    }
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "n10"},
        "rules": [{"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]}]});
    node.kubectl.feed("apply", &role.to_string());
    node.kubectl
        .ok("create clusterrolebinding n10 --clusterrole=n10 --serviceaccount=default:n10-scraper");
    let token = |name: &str| {
        node.kubectl
            .ok(&format!("create token n10-{name}"))
            .trim()
            .to_owned()
    };
    let (scraper, stranger) = (token("scraper"), token("stranger"));
    assert_eq!(ask(&node, None, "GET", "/pods"), "401");
    assert_eq!(ask(&node, Some("nonsense"), "GET", "/metrics"), "401");
    assert_eq!(ask(&node, Some(&stranger), "GET", "/metrics"), "403");
    assert_eq!(ask(&node, Some(&stranger), "POST", "/exec/default/p/c"), "403");
    for page in ["/metrics", "/metrics/resource", "/metrics/cadvisor"] {
        assert_eq!(ask(&node, Some(&scraper), "GET", page), "200", "{page}");
    }
    assert_eq!(ask(&node, Some(&scraper), "GET", "/pods"), "403");
    node.kubectl.ok("delete clusterrolebinding n10");
    node.kubectl.ok("delete clusterrole n10");
    node.kubectl.ok("delete serviceaccount n10-scraper n10-stranger");
}
