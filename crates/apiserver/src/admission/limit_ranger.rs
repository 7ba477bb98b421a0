//! A namespace's LimitRanges: containers get what they leave open, and nothing asks for more or less than allowed
//! (contract §17). What they mean is `orlop_api::limit_range`.
use super::{Attempt, Operation};
use crate::resources::{edit, read};
use crate::status::ApiError;
use k8s_openapi::api::core::v1::{LimitRange, PersistentVolumeClaim, Pod};
use orlop_api::limit_range::{claim_problems, give_defaults, pod_problems};
use orlop_api::validation::summary;

pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    if !attempt.is("pods", "") || attempt.operation != Operation::Create {
        return Ok(());
    }
    let ranges = ranges(attempt);
    if let Some(pod) = attempt.object.as_deref_mut().filter(|_| !ranges.is_empty()) {
        edit::<Pod>(pod, |pod| {
            ranges.iter().for_each(|range| give_defaults(range, pod))
        });
    }
    Ok(())
}

pub fn validate(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    // What a pod asks for changes by resizing only.
    let pod = match attempt.operation {
        Operation::Create => attempt.is("pods", ""),
        Operation::Update => attempt.is("pods", "resize"),
        _ => false,
    };
    let claim = attempt.is("persistentvolumeclaims", "")
        && matches!(attempt.operation, Operation::Create | Operation::Update);
    let Some(object) = attempt.object.as_deref().filter(|_| pod || claim) else {
        return Ok(());
    };
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    for range in ranges(attempt) {
        let problems = if pod {
            read::<Pod, _>(object, |pod| {
                pod.spec.as_ref().map(|spec| pod_problems(&range, spec))
            })
            .flatten()
        } else {
            read::<PersistentVolumeClaim, _>(object, |claim| claim_problems(&range, claim))
        };
        match problems {
            Some(problems) if !problems.is_empty() => return Err(attempt.forbidden(&summary(&problems))),
            _ => {}
        }
    }
    Ok(())
}

/// By name: where two give the same default, the first does.
fn ranges(attempt: &Attempt<'_>) -> Vec<LimitRange> {
    let found = attempt
        .server
        .cache
        .core_objects("limitranges", attempt.namespace);
    found
        .iter()
        .filter_map(|range| read(&range.value(), LimitRange::clone))
        .collect()
}
