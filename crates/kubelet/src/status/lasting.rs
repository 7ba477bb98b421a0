//! Containers that ended for good. Pure.
//!
//! They may begin anew all the same: with the sandbox their init containers run again, whatever the restart policy says, and
//! a runtime that lost its records knows of no end. An API server takes no such status (contract, API server §12.5), and
//! with that nothing of what else is true of the pod by now.
use crate::pods::restart_all::may_happen;
use crate::pods::restart_policy::should_restart;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodStatus};
use orlop_api::pod::init_containers;
use std::borrow::Cow;

/// `wanted` as the object can tell it: who was told to have ended for good stays so.
pub fn with_lasting_ends<'s>(object: &Pod, wanted: &'s PodStatus) -> Cow<'s, PodStatus> {
    let mut status = Cow::Borrowed(wanted);
    let (Some(spec), Some(told)) = (&object.spec, &object.status) else {
        return status;
    };
    let all_restart = may_happen(object);
    let again = |containers: &[Container], name: &str, code: i32| {
        let container = containers.iter().find(|one| one.name == name);
        all_restart || container.is_none_or(|container| should_restart(object, container, false, code))
    };
    let inits = kept(
        told.init_container_statuses.as_deref(),
        wanted.init_container_statuses.as_deref(),
        |name, code| again(init_containers(spec), name, code),
    );
    let regular = kept(
        told.container_statuses.as_deref(),
        wanted.container_statuses.as_deref(),
        |name, code| again(&spec.containers, name, code),
    );
    let ephemeral = kept(
        told.ephemeral_container_statuses.as_deref(),
        wanted.ephemeral_container_statuses.as_deref(),
        |_, _| false,
    );
    if inits.is_some() {
        status.to_mut().init_container_statuses = inits;
    }
    if regular.is_some() {
        status.to_mut().container_statuses = regular;
    }
    if ephemeral.is_some() {
        status.to_mut().ephemeral_container_statuses = ephemeral;
    }
    status
}

/// The wanted statuses with those put back that cannot change; `None`: there are none.
fn kept(
    told: Option<&[ContainerStatus]>,
    wanted: Option<&[ContainerStatus]>,
    may_restart: impl Fn(&str, i32) -> bool,
) -> Option<Vec<ContainerStatus>> {
    let (told, wanted) = (told?, wanted?);
    let lasting = |now: &ContainerStatus| {
        let was = told.iter().find(|was| was.name == now.name)?;
        let code = exit_code(was)?;
        (exit_code(now).is_none() && !may_restart(&was.name, code)).then_some(was)
    };
    if !wanted.iter().any(|now| lasting(now).is_some()) {
        return None;
    }
    let list = wanted.iter().map(|now| lasting(now).unwrap_or(now).clone());
    Some(list.collect())
}

fn exit_code(status: &ContainerStatus) -> Option<i32> {
    let ended = status.state.as_ref()?.terminated.as_ref()?;
    Some(ended.exit_code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn one(state: &Value) -> Value {
        json!([{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}])
    }

    fn ended(code: i32) -> Value {
        json!({"terminated": {"exitCode": code}})
    }

    /// Whether the end that was told of stays, with a container of that spec in these lists.
    fn stays(policy: &str, container: Value, lists: (&str, &str), code: i32, now: Value) -> bool {
        let (list, statuses) = lists;
        let mut spec = json!({"containers": [], "restartPolicy": policy});
        spec[list] = json!([container]);
        let told = json!({statuses: one(&ended(code))});
        let pod = json!({"metadata": {}, "spec": spec, "status": told});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let told: PodStatus = serde_json::from_value(told).unwrap();
        let wanted = json!({"phase": "Running", statuses: one(&now)});
        let wanted: PodStatus = serde_json::from_value(wanted).unwrap();
        let status = with_lasting_ends(&pod, &wanted);
        assert_eq!(status.phase.as_deref(), Some("Running"), "all else is told");
        let is_kept = *status != wanted;
        if is_kept {
            assert_eq!(status.init_container_statuses, told.init_container_statuses);
            assert_eq!(status.container_statuses, told.container_statuses);
            assert_eq!(
                status.ephemeral_container_statuses,
                told.ephemeral_container_statuses
            );
        }
        is_kept
    }

    #[test]
    fn who_was_told_to_have_ended_for_good_stays_so() {
        let running = || json!({"running": {}});
        let plain = || json!({"name": "c", "image": "i"});
        let own = |policy: &str| json!({"name": "c", "image": "i", "restartPolicy": policy});
        let rules = |action: &str| {
            let codes = json!({"operator": "In", "values": [3]});
            json!({"name": "c", "image": "i", "restartPolicyRules": [{"action": action, "exitCodes": codes}]})
        };
        let init = ("initContainers", "initContainerStatuses");
        for lists in [("containers", "containerStatuses"), init] {
            for (policy, container, code, want) in [
                ("OnFailure", plain(), 0, true),
                ("OnFailure", plain(), 1, false),
                ("Never", plain(), 1, true),
                ("Always", plain(), 0, false),
                ("Never", own("Always"), 0, false),
                ("Always", own("Never"), 1, true),
                ("Never", rules("Restart"), 3, false),
                ("Never", rules("Restart"), 4, true),
                ("Never", rules("RestartAllContainers"), 4, false),
            ] {
                let found = stays(policy, container.clone(), lists, code, running());
                assert_eq!(found, want, "{policy} {container} {code}");
            }
        }
        let waiting = json!({"waiting": {"reason": "PodInitializing"}});
        assert!(stays("OnFailure", plain(), init, 0, waiting));
        assert!(
            !stays("Never", plain(), init, 0, ended(1)),
            "another end is an end"
        );
        let ephemeral = ("ephemeralContainers", "ephemeralContainerStatuses");
        assert!(stays("Always", plain(), ephemeral, 1, running()));
    }
}
