//! Who may use images that are on the node (contract, node agent §9.6): what was pulled with a secret is for pods that
//! show the same one, or one that says the same. What the node pulled for whom lies in files, in upstream's form.
//!
//! | part | job |
//! |---|---|
//! | `policy` | of which images pods must show that they may have them |
//! | `grants` | whom images were pulled for |
mod grants;
mod policy;

use super::credentials::Login;
use crate::config::KubeletConfiguration;
use crate::whole;
use grants::{Account, Grant, Key, Record};
use jiff::Timestamp;
use parking_lot::Mutex;
use policy::Verified;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";

/// What is asked of a pod that wants to use an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing.
    Open,
    /// That it has a secret or an account which opens it.
    Locked,
    /// That it is let in by the registry.
    Shut,
}

#[derive(Default)]
struct State {
    /// By what the runtime calls the image.
    pulled: HashMap<String, Record>,
    /// Images whose pull has begun and not ended.
    pulling: HashMap<String, Pulling>,
}

/// Pulls of one image that are under way.
struct Pulling {
    /// By this agent.
    count: usize,
    /// One was begun by an earlier agent, and nobody knows how it ended.
    is_cut_off: bool,
    /// What was on the node under this name before the first of them, if nobody had pulled that either.
    preloaded: Option<String>,
}

/// Who may use which image.
#[derive(Default)]
pub struct Access {
    /// `None`: nothing is kept for later agents.
    directory: Option<PathBuf>,
    verified: Verified,
    state: Mutex<State>,
}

impl Access {
    /// With what earlier agents noted below `root`.
    pub fn open(root: &Path, configuration: &KubeletConfiguration) -> Self {
        let directory = root.join("image_manager");
        let mut state = State::default();
        for kept in kept(&directory.join("pulled")) {
            if let Ok(record) = serde_json::from_value::<Record>(kept) {
                state.pulled.insert(record.image_ref.clone(), record);
            }
        }
        let begun = kept(&directory.join("pulling"));
        // Nobody knows how these ended: the image may be there, and not for everybody.
        let begun = begun.iter().filter_map(|intent| intent["image"].as_str());
        let unknown = || Pulling {
            count: 0,
            is_cut_off: true,
            preloaded: None,
        };
        state
            .pulling
            .extend(begun.map(|image| (image.to_owned(), unknown())));
        Self {
            directory: Some(directory),
            verified: Verified::of(configuration),
            state: Mutex::new(state),
        }
    }

    /// What is asked of a pod for an image that is on the node as `reference`.
    pub fn entry(&self, image: &str, reference: &str) -> Entry {
        let state = self.state.lock();
        let record = state.pulled.get(reference);
        // A pull that is under way has not made what was there before it anybody's.
        let is_new = |pulling: &Pulling| pulling.preloaded.as_deref() != Some(reference);
        let pulled = record.is_some() || state.pulling.get(image).is_some_and(is_new);
        if !self.verified.covers(image, pulled) {
            return Entry::Open;
        }
        match record.and_then(|record| record.grants.get(repository(image))) {
            Some(grant) if grant.anybody => Entry::Open,
            Some(grant) if !grant.keys.is_empty() || !grant.accounts.is_empty() => Entry::Locked,
            _ => Entry::Shut,
        }
    }

    /// Whether one of these opens a locked image; it does from now on, whatever becomes of the other.
    pub fn opens(&self, image: &str, reference: &str, logins: &[Login]) -> bool {
        let mut state = self.state.lock();
        let record = state.pulled.get_mut(reference);
        let Some(record) = record else { return false };
        let Some(grant) = record.grants.get_mut(repository(image)) else {
            return false;
        };
        let mut accounts = logins.iter().filter_map(Account::of);
        if accounts.any(|account| grant.accounts.contains(&account)) {
            return true;
        }
        let shown = logins.iter().filter_map(Key::of);
        let fits = |key: &Key| grant.keys.iter().any(|own| own.opens_like(key));
        let Some(key) = shown.into_iter().find(fits) else {
            return false;
        };
        if !grant.keys.contains(&key) {
            grant.keys.push(key);
            record.last_updated_time = Timestamp::now().to_string();
            self.write(record);
        }
        true
    }

    /// A pull begins of an image that the node has as `reference` now, if at all.
    pub fn begun(&self, image: &str, reference: Option<&str>) {
        let mut state = self.state.lock();
        let preloaded = reference.filter(|reference| !state.pulled.contains_key(*reference));
        let preloaded = preloaded.map(str::to_owned);
        let first = || Pulling {
            count: 0,
            is_cut_off: false,
            preloaded,
        };
        let pulling = state.pulling.entry(image.to_owned()).or_insert_with(first);
        pulling.count += 1;
        let intent = json!({"kind": "ImagePullIntent", "apiVersion": API_VERSION, "image": image});
        self.put("pulling", image, &intent);
    }

    /// A pull has failed.
    pub fn failed(&self, image: &str) {
        self.no_more(&mut self.state.lock(), image);
    }

    /// An image was pulled, with this login or none.
    pub fn pulled(&self, image: &str, reference: &str, login: Option<&Login>) {
        let mut state = self.state.lock();
        let record = state
            .pulled
            .entry(reference.to_owned())
            .or_insert_with(|| Record {
                last_updated_time: String::new(),
                image_ref: reference.to_owned(),
                grants: BTreeMap::new(),
            });
        let grant = record.grants.entry(repository(image).to_owned()).or_default();
        let account = login.and_then(Account::of);
        match login.and_then(Key::of) {
            None if account.is_some() => {
                let new = account.filter(|account| !grant.anybody && !grant.accounts.contains(account));
                grant.accounts.extend(new);
            }
            // The node's own logins are for all of its pods.
            None => {
                *grant = Grant {
                    anybody: true,
                    ..Grant::default()
                }
            }
            Some(key) if !grant.anybody && !grant.keys.contains(&key) => {
                let same = |own: &Key| (&own.namespace, &own.name) == (&key.namespace, &key.name);
                grant.keys.retain(|own| !same(own));
                grant.keys.push(key);
            }
            Some(_) => {}
        }
        record.last_updated_time = Timestamp::now().to_string();
        self.write(record);
        if let Some(pulling) = state.pulling.get_mut(image) {
            // Whatever that one brought, this is what the name stands for now.
            pulling.is_cut_off = false;
        }
        self.no_more(&mut state, image);
    }

    /// Forgets images that the runtime did not have at `when`.
    pub fn keep(&self, references: &HashSet<&str>, when: Timestamp) {
        let mut state = self.state.lock();
        let is_younger = |record: &Record| {
            record
                .last_updated_time
                .parse::<Timestamp>()
                .is_ok_and(|at| at >= when)
        };
        state.pulled.retain(|reference, record| {
            let stays = references.contains(reference.as_str()) || is_younger(record);
            if !stays {
                self.remove("pulled", reference);
            }
            stays
        });
    }

    fn no_more(&self, state: &mut State, image: &str) {
        if let Some(pulling) = state.pulling.get_mut(image) {
            pulling.count = pulling.count.saturating_sub(1);
            if pulling.count > 0 || pulling.is_cut_off {
                return;
            }
        }
        state.pulling.remove(image);
        self.remove("pulling", image);
    }

    fn write(&self, record: &Record) {
        let mut object = serde_json::to_value(record).unwrap_or_default();
        object["kind"] = json!("ImagePulledRecord");
        object["apiVersion"] = json!(API_VERSION);
        self.put("pulled", &record.image_ref, &object);
    }

    fn put(&self, part: &str, name: &str, object: &Value) {
        let Some(directory) = self.directory.as_ref().map(|all| all.join(part)) else {
            return;
        };
        let path = file(&directory, name);
        if let Err(error) = whole::put(&path, object.to_string()) {
            tracing::warn!(%error, path = %path.display(), "cannot note for whom an image is pulled");
        }
    }

    fn remove(&self, part: &str, name: &str) {
        if let Some(directory) = &self.directory {
            // It may never have been written.
            let _ = whole::remove(&file(&directory.join(part), name));
        }
    }
}

/// An image's name without tag and digest.
fn repository(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    match name.rsplit_once(':') {
        Some((front, tag)) if !tag.contains('/') => front,
        _ => name,
    }
}

/// SHA-256, in hexadecimal digits.
pub(super) fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("sha256-{}", hash(name)))
}

fn kept(directory: &Path) -> Vec<Value> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    // Read in order, so that nothing depends on the file system.
    let paths: BTreeSet<PathBuf> = entries.map(|entry| entry.path()).collect();
    let texts = paths.iter().filter_map(|path| std::fs::read(path).ok());
    texts
        .filter_map(|text| serde_json::from_slice(&text).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::{Credentials, Owner};

    const IMAGE: &str = "r.example:5000/team/app:1";

    fn logins(uid: &str, name: &str, password: &str) -> Vec<Login> {
        let mut credentials = Credentials::default();
        let owner = Owner::secret(uid.into(), "d".into(), name.into());
        let content = json!({"auths": {"r.example:5000": {"username": "u", "password": password}}});
        credentials.add(content.to_string().as_bytes(), Some(owner));
        credentials.of(IMAGE)
    }

    fn open(dir: &Path, policy: &str) -> Access {
        let configuration = KubeletConfiguration {
            image_pull_credentials_verification_policy: policy.into(),
            preloaded_images_verification_allowlist: vec![
                "r.example:5000/team/*".into(),
                "k8s.io/pause".into(),
            ],
            ..KubeletConfiguration::default()
        };
        Access::open(dir, &configuration)
    }

    #[test]
    fn image_that_was_pulled_with_a_secret_is_for_those_who_show_it() {
        let dir = tempfile::tempdir().unwrap();
        let access = open(dir.path(), "NeverVerifyPreloadedImages");
        assert_eq!(
            access.entry(IMAGE, "sha256:a"),
            Entry::Open,
            "somebody else put it here"
        );
        access.begun(IMAGE, None);
        assert_eq!(access.entry(IMAGE, "sha256:a"), Entry::Shut);
        let own = logins("1", "own", "right");
        access.pulled(IMAGE, "sha256:a", own.first());
        // So it is for the next agent.
        let access = open(dir.path(), "NeverVerifyPreloadedImages");
        assert_eq!(access.entry(IMAGE, "sha256:a"), Entry::Locked);
        for (shown, opens) in [
            (own, true),
            (vec![], false),
            (logins("2", "other", "wrong"), false),
            (logins("2", "other", "right"), true),
            (logins("2", "other", "changed since"), true),
            (logins("3", "own", "never seen"), false),
        ] {
            assert_eq!(access.opens(IMAGE, "sha256:a", &shown), opens, "{shown:?}");
        }
        let elsewhere = "r.example:5000/other/app:1";
        assert_eq!(
            access.entry(elsewhere, "sha256:a"),
            Entry::Shut,
            "the same image from elsewhere"
        );
        access.pulled(IMAGE, "sha256:a", None);
        assert_eq!(access.entry(IMAGE, "sha256:a"), Entry::Open, "everybody gets it");
        access.keep(
            &HashSet::new(),
            Timestamp::now() + jiff::SignedDuration::from_secs(1),
        );
        let access = open(dir.path(), "NeverVerifyPreloadedImages");
        assert_eq!(
            access.entry(IMAGE, "sha256:a"),
            Entry::Open,
            "forgotten with the image"
        );
    }

    #[test]
    fn image_that_was_pulled_on_behalf_of_an_account_is_for_its_pods() {
        let dir = tempfile::tempdir().unwrap();
        let logins = |uid: &str, name: &str| {
            let mut credentials = Credentials::default();
            let owner = Owner::account(uid.into(), "d".into(), name.into());
            credentials.add_login("r.example:5000", "u", "p", Some(owner));
            credentials.of(IMAGE)
        };
        let access = open(dir.path(), "");
        access.begun(IMAGE, Some("sha256:a"));
        access.pulled(IMAGE, "sha256:a", logins("1", "own").first());
        let access = open(dir.path(), "");
        assert_eq!(access.entry(IMAGE, "sha256:a"), Entry::Locked);
        for (shown, opens) in [
            (logins("1", "own"), true),
            (logins("2", "own"), false),
            (logins("1", "other"), false),
            (vec![], false),
        ] {
            assert_eq!(access.opens(IMAGE, "sha256:a", &shown), opens, "{shown:?}");
        }
    }

    #[test]
    fn pull_whose_end_nobody_saw_lets_nobody_in_and_one_that_failed_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), "").begun(IMAGE, Some("sha256:a"));
        let access = open(dir.path(), "");
        assert_eq!(access.entry(IMAGE, "sha256:a"), Entry::Shut);
        access.begun(IMAGE, Some("sha256:a"));
        access.failed(IMAGE);
        assert_eq!(
            access.entry(IMAGE, "sha256:a"),
            Entry::Shut,
            "what the first one brought may be there"
        );
        // Nor does the next agent know more.
        let access = open(dir.path(), "");
        assert_eq!(access.entry(IMAGE, "sha256:a"), Entry::Shut);
        access.begun(IMAGE, Some("sha256:a"));
        access.pulled(IMAGE, "sha256:b", None);
        for access in [access, open(dir.path(), "")] {
            assert_eq!(access.entry(IMAGE, "sha256:b"), Entry::Open);
            // One that somebody else puts there under this name.
            assert_eq!(
                access.entry(IMAGE, "sha256:c"),
                Entry::Open,
                "no pull is under way"
            );
        }
        assert_eq!(
            std::fs::read_dir(dir.path().join("image_manager/pulling"))
                .unwrap()
                .count(),
            0
        );

        let access = Access::default();
        access.begun(IMAGE, None);
        access.begun(IMAGE, None);
        access.failed(IMAGE);
        assert_eq!(
            access.entry(IMAGE, "sha256:a"),
            Entry::Shut,
            "one is still under way"
        );
        access.failed(IMAGE);
        assert_eq!(access.entry(IMAGE, "sha256:a"), Entry::Open);
    }

    #[test]
    fn image_of_the_node_stays_everybodys_while_a_pod_pulls_it_again() {
        let access = Access::default();
        access.begun(IMAGE, Some("sha256:a"));
        access.begun(IMAGE, None);
        assert_eq!(access.entry(IMAGE, "sha256:a"), Entry::Open);
        assert_eq!(access.entry(IMAGE, "sha256:b"), Entry::Shut, "it came since");
        access.pulled(IMAGE, "sha256:b", logins("u", "secret", "p").first());
        assert_eq!(access.entry(IMAGE, "sha256:b"), Entry::Locked);
        let pulled = Access::default();
        pulled.pulled(IMAGE, "sha256:a", logins("u", "secret", "p").first());
        pulled.begun(IMAGE, Some("sha256:a"));
        assert_eq!(pulled.entry(IMAGE, "sha256:a"), Entry::Locked);
    }

    #[test]
    fn policy_says_of_which_images_it_must_be_shown() {
        let dir = tempfile::tempdir().unwrap();
        for (policy, unknown, listed, pulled) in [
            (
                "NeverVerifyPreloadedImages",
                Entry::Open,
                Entry::Open,
                Entry::Shut,
            ),
            ("NeverVerify", Entry::Open, Entry::Open, Entry::Open),
            ("AlwaysVerify", Entry::Shut, Entry::Shut, Entry::Shut),
            (
                "NeverVerifyAllowlistedImages",
                Entry::Shut,
                Entry::Open,
                Entry::Shut,
            ),
        ] {
            let access = open(dir.path(), policy);
            access.begun("r.example:5000/app:1", None);
            let entry = |image: &str| access.entry(image, "sha256:b");
            assert_eq!(entry("quay.io/x:1"), unknown, "{policy}");
            assert_eq!(
                (entry("k8s.io/pause:3"), entry(IMAGE)),
                (listed, listed),
                "{policy}"
            );
            assert_eq!(entry("r.example:5000/app:1"), pulled, "{policy}");
            access.failed("r.example:5000/app:1");
        }
    }
}
