//! Which users of the node a pod's own users are (`hostUsers: false`). Each such pod has a range to itself, written down
//! beside its other files: its volumes outlive sandboxes and this agent.
use crate::whole;
use k8s_openapi::api::core::v1::Pod;
use orlop_api::pod::uid;
use orlop_cri::v1;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

/// In the pod's directory.
const FILE: &str = "userns";
/// Users of a pod, where the configuration names no other number, and what every number is a multiple of.
pub const LENGTH: u32 = 1 << 16;
/// Whose subordinate users pods get, if the node has such a user.
const OWNER: &str = "kubelet";

/// Why a pod got no users.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// The runtime, or the node below it, can't.
    #[error("RuntimeClass handler {0:?} does not support user namespaces")]
    Unsupported(String),
    /// Files.
    #[error("cannot read or write {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Error,
    },
    /// Two files that must agree.
    #[error(
        "/etc/subuid and /etc/subgid must give {OWNER} one and the same range, from {LENGTH} on, in multiples of {LENGTH}, \
         with room for {0} users at least"
    )]
    Range(u32),
    /// No range is left.
    #[error("all {0} ranges of users are in use")]
    Exhausted(u32),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    uid_mappings: Vec<Mapping>,
    gid_mappings: Vec<Mapping>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    host_id: u32,
    container_id: u32,
    length: u32,
}

impl Mapping {
    fn overlaps(&self, first: u32, length: u32) -> bool {
        let (own, other) = (u64::from(self.host_id), u64::from(first));
        own < other + u64::from(length) && other < own + u64::from(self.length)
    }
}

/// What there is to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    /// Pods that it is enough for.
    pods: u32,
}

/// Gives pods their users.
pub struct Users {
    pods: PathBuf,
    etc: PathBuf,
    most: u32,
    /// How many each gets.
    length: u32,
    /// One pod at a time.
    turn: Mutex<()>,
}

/// Whether the pod's users are not to be the node's.
pub fn are_own(pod: &Pod) -> bool {
    pod.spec
        .as_ref()
        .is_some_and(|spec| spec.host_users == Some(false))
}

impl Users {
    /// For up to `most` pods, with directories below `root`; each gets `length` users.
    pub fn new(root: &Path, most: i32, length: u32) -> Self {
        Self {
            pods: root.join("pods"),
            etc: "/etc".into(),
            most: u32::try_from(most).unwrap_or(0),
            length,
            turn: Mutex::new(()),
        }
    }

    /// What the pod was given.
    pub fn of(&self, pod: &Pod) -> Option<v1::UserNamespace> {
        let known = are_own(pod).then(|| load(&self.pods.join(uid(pod))))?;
        known.ok().flatten().map(namespace)
    }

    /// What the pod was given, or is now.
    pub fn take(&self, pod: &Pod) -> Result<v1::UserNamespace, UsersError> {
        let _turn = self.turn.lock();
        let directory = self.pods.join(uid(pod));
        if let Some(known) = load(&directory)? {
            return Ok(namespace(known));
        }
        let range = self.range()?;
        let taken = self.taken()?;
        let mut all = (0..range.pods).map(|number| range.first + number * self.length);
        let is_free = |first: &u32| !taken.iter().any(|other| other.overlaps(*first, self.length));
        let first = all.find(is_free).ok_or(UsersError::Exhausted(range.pods))?;
        let given = Mapping {
            host_id: first,
            container_id: 0,
            length: self.length,
        };
        save(&directory, given)?;
        Ok(namespace(given))
    }

    /// A pod whose record cannot be read may have any range: then nobody gets one.
    fn taken(&self) -> Result<Vec<Mapping>, UsersError> {
        let entries = match std::fs::read_dir(&self.pods) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                let path = self.pods.clone();
                return Err(UsersError::File { path, source });
            }
        };
        let known = entries.flatten().map(|entry| load(&entry.path()));
        known.filter_map(Result::transpose).collect()
    }

    fn range(&self) -> Result<Range, UsersError> {
        let users = given(&self.etc.join("subuid"))?;
        let groups = given(&self.etc.join("subgid"))?;
        range(&users, &groups, self.most, self.length).ok_or(UsersError::Range(self.length))
    }
}

/// Lines of the owner, without the name.
fn given(path: &Path) -> Result<Vec<String>, UsersError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(source) => {
            let path = path.to_owned();
            return Err(UsersError::File { path, source });
        }
    };
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let own = lines.filter(|(name, _)| *name == OWNER);
    Ok(own.map(|(_, range)| range.trim().to_owned()).collect())
}

fn range(users: &[String], groups: &[String], most: u32, of_pod: u32) -> Option<Range> {
    let (first, length) = match (users, groups) {
        ([], []) => (LENGTH, u64::from(most) * u64::from(of_pod)),
        ([users], [groups]) if users == groups => {
            let (first, length) = users.split_once(':')?;
            (first.parse().ok()?, length.parse().ok()?)
        }
        _ => return None,
    };
    let fits = u64::from(u32::MAX - first).min(length) / u64::from(of_pod);
    let is_whole = first >= LENGTH && first.is_multiple_of(LENGTH) && fits > 0;
    is_whole.then_some(Range {
        first,
        pods: u32::try_from(fits).ok()?,
    })
}

fn namespace(given: Mapping) -> v1::UserNamespace {
    let mapping = v1::IdMapping {
        host_id: given.host_id,
        container_id: given.container_id,
        length: given.length,
    };
    v1::UserNamespace {
        mode: v1::NamespaceMode::Pod as i32,
        uids: vec![mapping],
        gids: vec![mapping],
    }
}

/// A pod's users on the node.
fn load(directory: &Path) -> Result<Option<Mapping>, UsersError> {
    let path = directory.join(FILE);
    let read = match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice::<Record>(&text).map_err(Error::from),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error),
    };
    let given = read.and_then(|record| {
        let first = record.uid_mappings.first().copied();
        first.ok_or_else(|| ErrorKind::InvalidData.into())
    });
    given
        .map(Some)
        .map_err(|source| UsersError::File { path, source })
}

/// As a whole or not at all.
fn save(directory: &Path, given: Mapping) -> Result<(), UsersError> {
    let record = Record {
        uid_mappings: vec![given],
        gid_mappings: vec![given],
    };
    let path = directory.join(FILE);
    let text = serde_json::to_vec(&record).map_err(Error::from);
    text.and_then(|text| whole::put(&path, text))
        .map_err(|source| UsersError::File { path, source })
}

/// Gives a pod's users back; harmless when it has none.
pub fn forget(directory: &Path) -> std::io::Result<()> {
    whole::remove(&directory.join(FILE))
}

/// A container has its pod's users, and sees what it mounts as theirs.
pub fn share(config: &mut v1::ContainerConfig, sandbox: &v1::PodSandboxConfig) {
    let of_sandbox = sandbox
        .linux
        .as_ref()
        .and_then(|linux| linux.security_context.as_ref())
        .and_then(|context| context.namespace_options.as_ref())
        .and_then(|namespaces| namespaces.userns_options.as_ref());
    let context = config
        .linux
        .as_mut()
        .and_then(|linux| linux.security_context.as_mut());
    let (Some(users), Some(context)) = (of_sandbox, context) else {
        return;
    };
    context.namespace_options.get_or_insert_default().userns_options = Some(users.clone());
    for mount in &mut config.mounts {
        mount.uid_mappings.clone_from(&users.uids);
        mount.gid_mappings.clone_from(&users.gids);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str) -> Pod {
        let object =
            json!({"metadata": {"name": uid, "uid": uid}, "spec": {"hostUsers": false, "containers": []}});
        serde_json::from_value(object).unwrap()
    }

    fn first(given: Result<v1::UserNamespace, UsersError>) -> Result<u32, String> {
        match given {
            Ok(users) => Ok(users.uids[0].host_id),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn every_pod_has_users_of_its_own_and_keeps_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut users = Users::new(dir.path(), 2, LENGTH);
        users.etc = dir.path().into();
        assert_eq!(users.of(&pod("a")), None);
        assert_eq!(first(users.take(&pod("a"))), Ok(65_536));
        assert_eq!(first(users.take(&pod("b"))), Ok(131_072));
        assert_eq!(first(users.take(&pod("a"))), Ok(65_536));
        assert_eq!(users.of(&pod("a")).map(|own| own.gids[0].length), Some(65_536));
        assert_eq!(
            first(users.take(&pod("c"))),
            Err("all 2 ranges of users are in use".to_owned())
        );
        forget(&dir.path().join("pods/a")).unwrap();
        forget(&dir.path().join("pods/a")).unwrap();
        assert_eq!(first(users.take(&pod("c"))), Ok(65_536));
        let text = std::fs::read_to_string(dir.path().join("pods/c/userns")).unwrap();
        let mapping = json!([{"hostId": 65536, "containerId": 0, "length": 65536}]);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            json!({"uidMappings": mapping, "gidMappings": mapping})
        );
    }

    #[test]
    fn pods_get_as_many_users_as_the_configuration_says_and_none_twice() {
        let dir = tempfile::tempdir().unwrap();
        let with = |most, length| {
            let mut users = Users::new(dir.path(), most, length);
            users.etc = dir.path().into();
            users
        };
        assert_eq!(first(with(3, LENGTH).take(&pod("a"))), Ok(LENGTH));
        // Another number since: what was given stays.
        let users = with(3, 2 * LENGTH);
        assert_eq!(users.take(&pod("a")).unwrap().uids[0].length, LENGTH);
        let more = users.take(&pod("b")).unwrap();
        assert_eq!(
            (more.uids[0].host_id, more.uids[0].length),
            (3 * LENGTH, 2 * LENGTH)
        );
        assert_eq!(first(with(9, LENGTH).take(&pod("c"))), Ok(2 * LENGTH));
        assert_eq!(first(with(9, LENGTH).take(&pod("d"))), Ok(5 * LENGTH));
    }

    #[test]
    fn ranges_come_from_the_subordinate_users_of_the_kubelet() {
        let lines = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
        let found = |users: &[&str], groups: &[&str]| range(&lines(users), &lines(groups), 110, LENGTH);
        let of = |first, pods| Some(Range { first, pods });
        assert_eq!(found(&[], &[]), of(65_536, 110));
        assert_eq!(found(&["131072:7208960"], &["131072:7208960"]), of(131_072, 110));
        assert_eq!(found(&["131072:7208960"], &["65536:7208960"]), None);
        assert_eq!(found(&["131072:7208960"], &[]), None);
        assert_eq!(found(&["0:7208960"], &["0:7208960"]), None);
        assert_eq!(found(&["100000:7208960"], &["100000:7208960"]), None);
    }

    #[test]
    fn containers_share_their_sandboxs_users() {
        let users = namespace(Mapping {
            host_id: LENGTH,
            container_id: 0,
            length: LENGTH,
        });
        let mut sandbox = v1::PodSandboxConfig::default();
        let options = v1::NamespaceOption {
            userns_options: Some(users.clone()),
            ..v1::NamespaceOption::default()
        };
        sandbox.linux.get_or_insert_default().security_context = Some(v1::LinuxSandboxSecurityContext {
            namespace_options: Some(options),
            ..v1::LinuxSandboxSecurityContext::default()
        });
        let mut config = v1::ContainerConfig {
            mounts: vec![v1::Mount::default()],
            ..v1::ContainerConfig::default()
        };
        config.linux.get_or_insert_default().security_context =
            Some(v1::LinuxContainerSecurityContext::default());
        share(&mut config, &v1::PodSandboxConfig::default());
        assert_eq!(config.mounts[0].uid_mappings, []);
        share(&mut config, &sandbox);
        assert_eq!(config.mounts[0].uid_mappings, users.uids);
        assert_eq!(config.mounts[0].gid_mappings, users.gids);
        let context = config.linux.unwrap().security_context.unwrap();
        assert_eq!(context.namespace_options.unwrap().userns_options, Some(users));
    }
}
