use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The bridge network of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Name of the bridge interface (at most 15 bytes) and of the network.
    pub bridge: String,
    /// The node's pod range, `10.244.0.0/24`.
    pub subnet: String,
    /// Where addresses given out are noted.
    pub data_dir: PathBuf,
}

impl Network {
    /// A network whose names and range belong to `root` alone, so that several nodes live side by side on one machine.
    /// The root `/` gets `orlop0` and 10.244.0.0/24.
    pub fn of_root(root: &Path, data_dir: PathBuf) -> Self {
        if root == Path::new("/") {
            return Self {
                bridge: "orlop0".to_owned(),
                subnet: "10.244.0.0/24".to_owned(),
                data_dir,
            };
        }
        let hash = Sha256::digest(root.as_os_str().as_encoded_bytes());
        Self {
            bridge: format!("orl{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3]),
            // 10.128.0.0/10: apart from the default root's range and from 10.96.0.0/12, the services' one.
            subnet: format!("10.{}.{}.0/24", 128 + hash[4] % 64, hash[5]),
            data_dir,
        }
    }

    /// The configuration file.
    pub fn to_conflist(&self) -> String {
        let document = json!({
            "cniVersion": "1.0.0",
            "name": self.bridge,
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": self.bridge,
                    "isGateway": true,
                    "ipMasq": true,
                    // A pod reaches itself through its own host port or service address.
                    "hairpinMode": true,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{ "subnet": self.subnet }]],
                        "routes": [{ "dst": "0.0.0.0/0" }],
                        "dataDir": self.data_dir,
                    },
                },
                { "type": "portmap", "capabilities": { "portMappings": true } },
            ],
        });
        format!("{document:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_do_not_share_bridge_or_range() {
        let one = Network::of_root(Path::new("/tmp/a"), PathBuf::from("/tmp/a/cni"));
        let two = Network::of_root(Path::new("/tmp/b"), PathBuf::from("/tmp/b/cni"));
        assert_ne!(one.bridge, two.bridge);
        assert_ne!(one.subnet, two.subnet);
        assert!(one.bridge.len() <= 15);
        assert_eq!(Network::of_root(Path::new("/"), PathBuf::new()).bridge, "orlop0");
    }

    #[test]
    fn conflist_has_bridge_and_host_ports() {
        let network = Network::of_root(Path::new("/"), PathBuf::from("/d"));
        let document: serde_json::Value = serde_json::from_str(&network.to_conflist()).unwrap();
        assert_eq!(document["plugins"][0]["ipam"]["dataDir"], "/d");
        assert_eq!(document["plugins"][1]["capabilities"]["portMappings"], true);
    }
}
