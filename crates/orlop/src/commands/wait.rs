//! `orlop wait`: returns when the node runs this very version of a manifest.
use super::ask_agent;
use crate::cli::{Goal, WaitArgs};
use crate::paths::Root;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two questions: a person or a script waits, for seconds.
const ASK_EVERY: Duration = Duration::from_millis(200);

pub async fn wait(arguments: &WaitArgs) -> Result<()> {
    let root = Root::new(arguments.root.root.as_deref())?;
    let path = std::path::absolute(&arguments.path)?;
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let digest = format!("{:032x}", orlop_api::fnv::fnv1a128(&bytes));
    let give_up = Instant::now() + arguments.timeout;
    let mut has_answered = false;
    loop {
        let why = match ask_agent::status(&root).await {
            Ok(status) => {
                has_answered = true;
                let name = name_of(&status, &path);
                match progress(&status, &name, &digest, arguments.goal) {
                    Progress::Done => return Ok(()),
                    Progress::Never(why) => bail!("{}: {why}", path.display()),
                    Progress::NotYet(why) => why,
                }
            }
            // It is being restarted, perhaps.
            Err(error) if has_answered => format!("{error:#}"),
            Err(error) => return Err(error),
        };
        if Instant::now() >= give_up {
            let goal = match arguments.goal {
                Goal::Running => "running",
                Goal::Ready => "ready",
            };
            let seconds = arguments.timeout.as_secs();
            bail!("{}: not {goal} within {seconds} s: {why}", path.display());
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// What the agent calls a file: by its own path of it, which may lead there another way.
fn name_of(status: &Value, path: &Path) -> String {
    let own = path.display().to_string();
    let identity = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    let manifests = status["manifests"].as_array().into_iter().flatten();
    let names: Vec<&str> = manifests
        .filter_map(|manifest| manifest["manifest"].as_str())
        .collect();
    let wanted = match names.contains(&own.as_str()) {
        true => None,
        false => identity(path),
    };
    let is_it = |name: &&str| wanted.is_some() && identity(Path::new(name)) == wanted;
    names.into_iter().find(is_it).map_or(own, str::to_owned)
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Done,
    NotYet(String),
    /// Waiting will not help.
    Never(String),
}

fn progress(status: &Value, path: &str, digest: &str, goal: Goal) -> Progress {
    let mut manifests = status["manifests"].as_array().into_iter().flatten();
    let Some(found) = manifests.find(|manifest| manifest["manifest"] == path) else {
        return Progress::NotYet("the agent has not read it; is it in its manifest directory?".into());
    };
    if found["digest"] != digest {
        return Progress::NotYet("the agent has not read this version".into());
    }
    let text = |key: &str| found[key].as_str().unwrap_or_default();
    for refusal in ["error", "ignored"] {
        if found[refusal].is_string() {
            return Progress::Never(text(refusal).to_owned());
        }
    }
    let is_there = match goal {
        Goal::Running => text("phase") == "Running",
        Goal::Ready => found["ready"] == true,
    };
    match (is_there, text("phase")) {
        (true, _) => Progress::Done,
        (false, "Succeeded") => Progress::Never("it has come to its end".into()),
        (false, "") => Progress::NotYet("not started".into()),
        (false, phase) => {
            let why = [text("reason"), text("message")].join(" ");
            Progress::NotYet(format!("{phase} {}", why.trim()).trim().to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(manifest: Value, goal: Goal) -> Progress {
        progress(&json!({"manifests": [manifest]}), "/m/a.yaml", "d1", goal)
    }

    #[test]
    fn this_version_must_run_not_another() {
        let running = |digest: &str, ready: bool| json!({"manifest": "/m/a.yaml", "digest": digest, "phase": "Running", "ready": ready});
        assert_eq!(of(running("d1", false), Goal::Running), Progress::Done);
        assert_eq!(of(running("d1", true), Goal::Ready), Progress::Done);
        assert!(matches!(
            of(running("d1", false), Goal::Ready),
            Progress::NotYet(_)
        ));
        assert!(matches!(
            of(running("d0", true), Goal::Running),
            Progress::NotYet(_)
        ));
        let nothing = progress(&json!({"manifests": []}), "/m/a.yaml", "d1", Goal::Running);
        assert!(matches!(nothing, Progress::NotYet(_)));
    }

    #[test]
    fn manifest_is_known_by_whatever_path_leads_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("manifests")).unwrap();
        for name in ["manifests/a.yaml", "manifests/b.yaml"] {
            std::fs::write(at(name), "").unwrap();
        }
        std::os::unix::fs::symlink("manifests", at("link")).unwrap();
        let name = |name: &str| at(name).display().to_string();
        let status = json!({"manifests": [{"manifest": "http://x/pods"}, {"manifest": name("manifests/b.yaml")},
            {"manifest": name("manifests/a.yaml")}]});
        for given in ["manifests/a.yaml", "link/a.yaml", "manifests/../manifests/a.yaml"] {
            assert_eq!(name_of(&status, &at(given)), name("manifests/a.yaml"), "{given}");
        }
        assert_eq!(name_of(&status, &at("gone")), name("gone"));
    }

    #[test]
    fn manifest_that_cannot_be_used_is_not_waited_for() {
        let bad = json!({"manifest": "/m/a.yaml", "digest": "d1", "error": "line 3: no"});
        assert_eq!(of(bad, Goal::Running), Progress::Never("line 3: no".into()));
        let rejected = json!({"manifest": "/m/a.yaml", "digest": "d1", "phase": "Failed",
            "reason": "OutOfcpu", "message": "no room"});
        assert_eq!(
            of(rejected, Goal::Running),
            Progress::NotYet("Failed OutOfcpu no room".into())
        );
    }
}
