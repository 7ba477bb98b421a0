//! `orlop kubeconfig`: kubeconfigs of further users.
use super::layout;
use super::settings::Settings;
use crate::cli::{KubeconfigArgs, KubeconfigCommand, KubeconfigUserArgs};
use crate::paths::Root;
use anyhow::{Context, Result};
use orlop_cluster::certificates::Signer;
use orlop_cluster::layout::Layout;
use orlop_cluster::{files, kubeconfigs, yaml};
use orlop_pki::Identity;
use serde_json::json;

pub async fn kubeconfig(arguments: KubeconfigArgs) -> Result<()> {
    match arguments.command {
        KubeconfigCommand::User(arguments) => {
            print!("{}", of_user(&arguments)?);
            Ok(())
        }
    }
}

/// The text of a user's kubeconfig.
fn of_user(arguments: &KubeconfigUserArgs) -> Result<String> {
    let layout = layout(&Root::new(arguments.root.root.as_deref())?);
    let name = &arguments.client_name;
    let (server, cluster) = match &arguments.config {
        Some(config) => {
            let Settings { cluster, node } = Settings::of(Some(config))?;
            (cluster.server(&node), cluster.cluster_name)
        }
        None => of_admin(&layout)?,
    };
    let authority = files::read(&Signer::Cluster.certificate(&layout))?;
    let user = match &arguments.token {
        Some(token) => json!({"token": token}),
        None => {
            anyhow::ensure!(
                !arguments.validity_period.is_zero(),
                "--validity-period must be longer than nothing"
            );
            // As of a script whose variable is empty: `--org ""`.
            let groups = arguments.org.iter().map(String::as_str);
            let groups: Vec<&str> = groups.filter(|group| !group.is_empty()).collect();
            let identity = Identity::new(name.as_str(), &groups);
            kubeconfigs::signed(&layout, identity, arguments.validity_period)?
        }
    };
    let document = kubeconfigs::of_user(&server, &authority, &cluster, name, &user);
    Ok(format!("{}\n", yaml::write(&document)?.trim_end()))
}

/// Where the administrator of this master reaches the cluster, and what it is called there.
fn of_admin(layout: &Layout) -> Result<(String, String)> {
    let path = layout.kubeconfig("admin");
    let text =
        files::read(&path).context("give --config, for this node is no master that knows its cluster")?;
    let document = yaml::read("admin.conf", &text)?;
    let entry = &document["clusters"][0];
    let server = entry["cluster"]["server"].as_str();
    let server = server.with_context(|| format!("{} names no server: give --config", path.display()))?;
    let cluster = entry["name"].as_str().unwrap_or("kubernetes");
    Ok((server.to_owned(), cluster.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command, parse};
    use serde_json::Value;
    use std::path::Path;

    fn printed(root: &Path, line: &str) -> Result<Value> {
        let line = format!("orlop kubeconfig user --root={} {line}", root.display());
        let Cli { command } = parse(line.split(' ').map(Into::into))?;
        let Command::Kubeconfig(KubeconfigArgs {
            command: KubeconfigCommand::User(arguments),
        }) = command
        else {
            panic!("{line}")
        };
        Ok(yaml::read("it", &of_user(&arguments)?)?)
    }

    #[test]
    fn another_user_reaches_the_cluster_where_the_administrator_does() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        Signer::Cluster.ensure(&layout).unwrap();
        let error = printed(dir.path(), "--client-name=a").unwrap_err();
        assert!(format!("{error:#}").contains("give --config"), "{error:#}");
        let user = json!({"token": "x"});
        let admin = kubeconfigs::of_user("https://a:6443", "", "mine", "admin", &user);
        files::write_private(&layout.kubeconfig("admin"), &yaml::write(&admin).unwrap()).unwrap();

        let by_token = printed(dir.path(), "--client-name=alice --token=abc").unwrap();
        assert_eq!(by_token["users"][0]["user"], json!({"token": "abc"}));
        assert_eq!(by_token["clusters"][0]["cluster"]["server"], "https://a:6443");
        assert_eq!(by_token["current-context"], "alice@mine");
        let signed = printed(
            dir.path(),
            "--client-name=alice --org=devs,ops --validity-period=1h",
        )
        .unwrap();
        assert!(signed["users"][0]["user"]["client-certificate-data"].is_string());
        let alone = printed(dir.path(), "--client-name=alice --org=").unwrap();
        let certificate = orlop_cluster::expiration::client_certificate(&alone.to_string()).unwrap();
        assert_eq!(
            orlop_pki::identity_of(&certificate),
            Some(Identity::new("alice", &[]))
        );
        let error = printed(dir.path(), "--client-name=alice --validity-period=0s").unwrap_err();
        assert!(error.to_string().contains("--validity-period"), "{error}");
        assert!(printed(dir.path(), "--client-name=").is_err());
    }

    #[test]
    fn a_file_says_where_the_cluster_is() {
        let dir = tempfile::tempdir().unwrap();
        Signer::Cluster.ensure(&Layout::new(dir.path())).unwrap();
        let file = dir.path().join("kubeadm.yaml");
        let text = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n\
                    localAPIEndpoint: {advertiseAddress: 10.0.0.1, bindPort: 6444}\n---\n\
                    apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nclusterName: other\n";
        std::fs::write(&file, text).unwrap();
        let line = format!("--client-name=alice --token=abc --config={}", file.display());
        let document = printed(dir.path(), &line).unwrap();
        assert_eq!(
            document["clusters"][0]["cluster"]["server"],
            "https://10.0.0.1:6444"
        );
        assert_eq!(document["current-context"], "alice@other");
    }
}
