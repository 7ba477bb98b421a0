//! The members of the cluster's etcd, seen by one that comes or goes.
use crate::certificates::Signer;
use crate::layout::Layout;
use crate::manifests::InitialCluster;
use crate::{ClusterError, files, wait};
pub use etcd_client::Client;
use etcd_client::{Certificate, ConnectOptions, Identity, MemberAddOptions, TlsOptions};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new member may take to get all that the others have.
const CATCH_UP: Duration = Duration::from_secs(120);
/// How long the members may take to be ready for another one.
const ADMISSION: Duration = Duration::from_secs(60);
/// Annotation of etcd's pods.
const CLIENT_URLS: &str = "kubeadm.kubernetes.io/etcd.advertise-client-urls";
/// Where they are asked for.
pub const PODS: &str =
    "/api/v1/namespaces/kube-system/pods?labelSelector=component%3Detcd%2Ctier%3Dcontrol-plane";

fn fail<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> ClusterError {
    move |error| ClusterError::Etcd {
        what,
        reason: error.to_string(),
    }
}

/// Where members are reached, from the list of etcd's pods.
pub fn endpoints(pods: &Value) -> Vec<String> {
    let items = pods["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .filter_map(|pod| pod["metadata"]["annotations"][CLIENT_URLS].as_str())
        .flat_map(|urls| urls.split(','))
        .map(str::to_owned)
        .collect()
}

/// A client with the certificate of whoever checks etcd's health.
pub async fn connect(layout: &Layout, endpoints: &[String]) -> Result<Client, ClusterError> {
    let read = |name: &str| files::read(&layout.etcd_pki().join(name));
    let authority = files::read(&Signer::Etcd.certificate(layout))?;
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(authority))
        .identity(Identity::from_pem(
            read("healthcheck-client.crt")?,
            read("healthcheck-client.key")?,
        ));
    let options = ConnectOptions::new()
        .with_connect_timeout(TIMEOUT)
        .with_timeout(TIMEOUT)
        .with_tls(tls);
    Client::connect(endpoints, Some(options))
        .await
        .map_err(fail("connect to its members"))
}

/// A member, as its static pod's manifest says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub name: String,
    pub peer_urls: Vec<String>,
    pub client_urls: Vec<String>,
    /// The members that there were when it joined them.
    pub initial: InitialCluster,
    /// Where it keeps its files on this machine.
    pub files: Option<PathBuf>,
}

/// Reads a member's manifest (pure).
pub fn told(manifest: &Value) -> Told {
    let container = &manifest["spec"]["containers"][0];
    let words = ["command", "args"]
        .into_iter()
        .flat_map(|field| container[field].as_array());
    let words: Vec<&str> = words.flatten().filter_map(Value::as_str).collect();
    let flag = |name: &str| {
        let mut values = words
            .iter()
            .filter_map(|word| word.strip_prefix("--")?.strip_prefix(name)?.strip_prefix('='));
        values.next_back().unwrap_or_default()
    };
    let urls = |name: &str| {
        let urls = flag(name).split(',').filter(|url| !url.is_empty());
        urls.map(str::to_owned).collect()
    };
    let pair = |member: &str| {
        let (name, url) = member.split_once('=')?;
        Some((name.to_owned(), url.to_owned()))
    };
    let initial = match flag("initial-cluster-state") {
        "existing" => flag("initial-cluster").split(',').filter_map(pair).collect(),
        _ => Vec::new(),
    };
    let data = flag("data-dir");
    let mut mounts = container["volumeMounts"].as_array().into_iter().flatten();
    let volume = mounts
        .find(|mount| mount["mountPath"] == data)
        .map(|mount| &mount["name"]);
    let mut volumes = manifest["spec"]["volumes"].as_array().into_iter().flatten();
    let host = volumes
        .find(|one| volume == Some(&one["name"]))
        .and_then(|one| one["hostPath"]["path"].as_str());
    Told {
        name: flag("name").to_owned(),
        peer_urls: urls("initial-advertise-peer-urls"),
        client_urls: urls("advertise-client-urls"),
        initial: InitialCluster { members: initial },
        files: host.map(PathBuf::from),
    }
}

/// Which of the members that others see is this one (pure). One that has not started yet has no name.
pub fn find<'a>(members: &'a [Seen], own: &Told) -> Option<&'a Seen> {
    let by_url = members.iter().find(|seen| own.peer_urls.contains(&seen.peer_url));
    let by_name = || {
        members
            .iter()
            .find(|seen| !own.name.is_empty() && seen.name == own.name)
    };
    by_url.or_else(by_name)
}

/// One member, as others see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub id: u64,
    /// Empty until it has started.
    pub name: String,
    pub peer_url: String,
    /// None until it has started.
    pub client_urls: Vec<String>,
    pub learner: bool,
}

pub async fn members(client: &mut Client) -> Result<Vec<Seen>, ClusterError> {
    let list = client.member_list().await.map_err(fail("list its members"))?;
    Ok(list
        .members()
        .iter()
        .map(|member| Seen {
            id: member.id(),
            name: member.name().to_owned(),
            peer_url: member.peer_urls().first().cloned().unwrap_or_default(),
            client_urls: member.client_urls().to_vec(),
            learner: member.is_learner(),
        })
        .collect())
}

/// What a member that joins is told of the others (pure): all of them, for etcd ends when it is told of fewer than there are.
/// One that has not started yet has no name, and gets its id for one.
pub fn initial_cluster(members: &[Seen], name: &str, peer_url: &str) -> InitialCluster {
    let name_of = |member: &Seen| match member.name.is_empty() {
        true => format!("{:x}", member.id),
        false => member.name.clone(),
    };
    let mut all: Vec<(String, String)> = members
        .iter()
        .filter(|member| member.peer_url != peer_url)
        .map(|member| (name_of(member), member.peer_url.clone()))
        .collect();
    all.push((name.to_owned(), peer_url.to_owned()));
    InitialCluster { members: all }
}

/// Members that a machine which joins with nothing has left behind: of a join that was cut short, or of an earlier life of
/// it (pure). None may be gone on with: a member that has lost its files and keeps its id makes etcd end.
pub fn left_behind<'a>(members: &'a [Seen], name: &str, peer_url: &str) -> Vec<&'a Seen> {
    members
        .iter()
        .filter(|member| member.peer_url == peer_url || member.name == name)
        .collect()
}

/// Takes out what a machine that joins has left behind; what was taken out.
///
/// # Errors
/// One of its name lives, elsewhere: it is another machine's.
pub async fn clear(
    layout: &Layout,
    client: &mut Client,
    name: &str,
    peer_url: &str,
) -> Result<Vec<Seen>, ClusterError> {
    let members = members(client).await?;
    let stale: Vec<Seen> = left_behind(&members, name, peer_url)
        .into_iter()
        .cloned()
        .collect();
    for member in &stale {
        if member.peer_url != peer_url && lives(layout, member).await {
            return Err(ClusterError::Configuration(format!(
                "etcd has a member {name} at {} already, which is well: give this node another --node-name",
                member.peer_url
            )));
        }
        remove(client, member.id).await?;
    }
    Ok(stale)
}

/// Whether a member answers where it is reached, as itself.
async fn lives(layout: &Layout, member: &Seen) -> bool {
    let asked = async {
        let mut client = connect(layout, &member.client_urls).await.ok()?;
        let status = client.status().await.ok()?;
        Some(status.header()?.member_id())
    };
    !member.client_urls.is_empty() && asked.await == Some(member.id)
}

/// Why etcd may take no further member, as far as the list of members tells it (pure).
fn in_the_way(members: &[Seen], peer_url: &str) -> Option<String> {
    let learner = members
        .iter()
        .find(|member| member.learner && member.peer_url != peer_url)?;
    Some(format!(
        "the member {:x} at {} only learns as yet: if nobody is joining there any more, take it out with `etcdctl member remove {0:x}`",
        learner.id, learner.peer_url
    ))
}

/// Adds a member that only learns, unless it is one already; its id. etcd takes none while a member that came just
/// before is not yet connected to all others, nor a second learner.
pub async fn add_learner(client: &Client, peer_url: &str, hint: &str) -> Result<u64, ClusterError> {
    let what = format!("etcd takes no new member {peer_url}");
    wait::until(&what, ADMISSION, hint, async || {
        let mut client = client.clone();
        let members = members(&mut client).await.map_err(|error| error.to_string())?;
        if let Some(known) = members.iter().find(|member| member.peer_url == peer_url) {
            return Ok(known.id);
        }
        let options = MemberAddOptions::new().with_is_learner();
        let added = client.member_add([peer_url], Some(options)).await;
        let added = added.map_err(|error| match in_the_way(&members, peer_url) {
            Some(why) => format!("{error}; {why}"),
            None => error.to_string(),
        })?;
        let added = added.member().map(|member| member.id());
        added.ok_or_else(|| "it does not tell which".to_owned())
    })
    .await
}

/// Lets a member vote when it has caught up.
pub async fn promote(client: &Client, id: u64, hint: &str) -> Result<(), ClusterError> {
    let what = format!("etcd's new member {id:x} has not caught up with the others");
    wait::until(&what, CATCH_UP, hint, async || {
        let mut client = client.clone();
        let members = members(&mut client).await.map_err(|error| error.to_string())?;
        match members.iter().find(|member| member.id == id) {
            Some(member) if !member.learner => return Ok(()),
            Some(_) => {}
            None => return Err("it is no member any more".to_owned()),
        }
        client
            .member_promote(id)
            .await
            .map(|_| ())
            .map_err(|error| error.to_string())
    })
    .await
}

pub async fn remove(client: &mut Client, id: u64) -> Result<(), ClusterError> {
    client
        .member_remove(id)
        .await
        .map(|_| ())
        .map_err(fail("remove a member"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClusterConfig, NodeConfig};
    use crate::manifests::{Machine, render};
    use serde_json::json;
    use std::net::IpAddr;
    use std::path::Path;

    fn seen(id: u64, name: &str, url: &str) -> Seen {
        Seen {
            id,
            name: name.to_owned(),
            peer_url: url.to_owned(),
            learner: name.is_empty(),
            ..Seen::default()
        }
    }

    /// etcd compares how many there are.
    #[test]
    fn a_member_is_told_of_all_others_and_of_itself() {
        let members = [
            seen(1, "a", "https://a:2380"),
            seen(2, "", "https://b:2380"),
            seen(0xc0, "", "https://c:2380"),
        ];
        let initial = initial_cluster(&members, "b", "https://b:2380");
        let want = [
            ("a", "https://a:2380"),
            ("c0", "https://c:2380"),
            ("b", "https://b:2380"),
        ];
        assert_eq!(
            initial.members,
            want.map(|(name, url)| (name.to_owned(), url.to_owned()))
        );
    }

    #[test]
    fn what_a_machine_left_behind_has_its_address_or_its_name() {
        let members = [
            seen(1, "m1", "https://10.0.0.1:2380"),
            seen(2, "", "https://10.0.0.2:2380"),
            seen(3, "m2", "https://10.0.0.9:2380"),
            seen(4, "", "https://10.0.0.4:2380"),
        ];
        let ids = |name: &str, url: &str| -> Vec<u64> {
            left_behind(&members, name, url)
                .iter()
                .map(|member| member.id)
                .collect()
        };
        assert_eq!(ids("m2", "https://10.0.0.2:2380"), [2, 3]);
        assert_eq!(ids("m1", "https://10.0.0.1:2380"), [1]);
        assert!(ids("m5", "https://10.0.0.5:2380").is_empty());
    }

    #[test]
    fn a_learner_that_keeps_others_out_is_named() {
        let members = [
            seen(1, "m1", "https://10.0.0.1:2380"),
            seen(0xab, "", "https://10.0.0.2:2380"),
        ];
        let why = in_the_way(&members, "https://10.0.0.3:2380").unwrap();
        assert!(
            why.contains("https://10.0.0.2:2380") && why.ends_with("`etcdctl member remove ab`"),
            "{why}"
        );
        assert_eq!(in_the_way(&members, "https://10.0.0.2:2380"), None);
    }

    #[test]
    fn a_member_is_found_by_its_manifest_started_or_not() {
        let node = NodeConfig {
            name: "m2".to_owned(),
            address: IpAddr::from([10, 0, 0, 2]),
            api_port: 6443,
        };
        let machine = Machine {
            root: Path::new("/srv"),
            ca_directories: &[],
            has_key: true,
        };
        let cluster = ClusterConfig::new("v1.36.0");
        let manifest = render("etcd", &cluster, &node, &InitialCluster::default(), machine).unwrap();
        let own = told(&manifest);
        let want = Told {
            name: "m2".to_owned(),
            peer_urls: vec!["https://10.0.0.2:2380".to_owned()],
            client_urls: vec!["https://10.0.0.2:2379".to_owned()],
            initial: InitialCluster::default(),
            files: Some("/srv/var/lib/etcd".into()),
        };
        assert_eq!(own, want);
        let id = |members: &[Seen]| find(members, &own).map(|seen| seen.id);
        let first = seen(1, "m1", "https://10.0.0.1:2380");
        assert_eq!(
            id(&[first.clone(), seen(2, "", "https://10.0.0.2:2380")]),
            Some(2)
        );
        assert_eq!(
            id(&[first.clone(), seen(3, "m2", "https://10.0.0.9:2380")]),
            Some(3)
        );
        assert_eq!(id(std::slice::from_ref(&first)), None);
        let nobody = told(&json!({}));
        assert_eq!(nobody, Told::default());
        assert_eq!(find(&[seen(4, "", "")], &nobody), None);
        assert_eq!(find(&[first], &nobody), None);
    }

    #[test]
    fn members_are_found_by_their_pods() {
        let pods = json!({"items": [
            {"metadata": {"annotations": {CLIENT_URLS: "https://10.0.0.1:2379"}}},
            {"metadata": {"name": "other"}},
        ]});
        assert_eq!(endpoints(&pods), ["https://10.0.0.1:2379"]);
        assert!(endpoints(&json!({})).is_empty());
    }
}
