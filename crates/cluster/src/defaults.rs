//! Documents of kubeadm's for people to begin with, which say what is so where nobody says otherwise (pure). Names, addresses
//! and tokens in them are kubeadm's examples: to be replaced.
use crate::config::{API_PORT, ClusterConfig};
use crate::token::GROUP;
use crate::{ClusterError, yaml};
use serde_json::{Value, json};

const VERSION: &str = "kubeadm.k8s.io/v1beta4";
const TOKEN: &str = "abcdef.0123456789abcdef";

/// InitConfiguration and ClusterConfiguration; `version`: that of the cluster.
pub fn of_init(version: &str) -> Result<[Value; 2], ClusterError> {
    let init = json!({
        "apiVersion": VERSION,
        "bootstrapTokens": [{
            "groups": [GROUP],
            "token": TOKEN,
            "ttl": "24h0m0s",
            "usages": ["signing", "authentication"],
        }],
        "kind": "InitConfiguration",
        "localAPIEndpoint": {"advertiseAddress": "1.2.3.4", "bindPort": API_PORT},
        "nodeRegistration": registration(),
        "timeouts": timeouts(),
    });
    let mut cluster = yaml::read("ClusterConfiguration", &ClusterConfig::new(version).to_yaml()?)?;
    // That of the image that the machine has.
    let etcd = cluster.pointer_mut("/etcd/local").and_then(Value::as_object_mut);
    if let Some(etcd) = etcd {
        etcd.remove("imageTag");
    }
    Ok([init, cluster])
}

/// JoinConfiguration.
pub fn of_join() -> Value {
    json!({
        "apiVersion": VERSION,
        "caCertPath": "/etc/kubernetes/pki/ca.crt",
        "discovery": {
            "bootstrapToken": {
                "apiServerEndpoint": format!("kube-apiserver:{API_PORT}"),
                "token": TOKEN,
                "unsafeSkipCAVerification": true,
            },
            "tlsBootstrapToken": TOKEN,
        },
        "kind": "JoinConfiguration",
        "nodeRegistration": registration(),
        "timeouts": timeouts(),
    })
}

/// Without `criSocket` the node has its own runtime.
fn registration() -> Value {
    json!({
        "imagePullPolicy": "IfNotPresent",
        "imagePullSerial": true,
        "name": "node",
        "taints": Value::Null,
    })
}

/// The one that is followed.
fn timeouts() -> Value {
    json!({"controlPlaneComponentHealthCheck": "4m0s"})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::given;

    #[test]
    fn what_people_begin_with_is_followed_whole() {
        let [init, cluster] = of_init("v1.36.0").unwrap();
        let given = given::read(vec![init, cluster, of_join()]).unwrap();
        let cluster = ClusterConfig::from_given(&given.cluster.unwrap(), "v0.0.0").unwrap();
        let usual = ClusterConfig::new("v1.36.0");
        let read = ClusterConfig {
            document: None,
            ..cluster
        };
        assert_eq!(read, usual);
        let init = given.init.unwrap();
        assert_eq!(init.tokens[0].token.to_string(), TOKEN);
        assert_eq!(
            (init.local.port, init.node.name.as_deref()),
            (Some(API_PORT), Some("node"))
        );
        let join = given.join.unwrap();
        assert!(join.any_authority && !join.control_plane && join.endpoint.is_some());
        assert_eq!((init.node.cri_socket, join.node.cri_socket), (None, None));
    }
}
