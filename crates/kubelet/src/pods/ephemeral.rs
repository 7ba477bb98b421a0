//! Containers that `kubectl debug` puts into a pod that runs. They are started once, whatever becomes of them, and neither
//! the pod's phase nor its end waits for them.
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod};

/// The ephemeral containers of a pod.
pub fn ephemeral_containers(pod: &Pod) -> &[EphemeralContainer] {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.ephemeral_containers.as_deref())
        .unwrap_or_default()
}

/// The container that one is, in the form that everything else takes.
pub fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let EphemeralContainer {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy,
        lifecycle,
        liveness_probe,
        name,
        ports,
        readiness_probe,
        resize_policy,
        resources,
        restart_policy,
        restart_policy_rules,
        security_context,
        startup_probe,
        stdin,
        stdin_once,
        target_container_name: _,
        termination_message_path,
        termination_message_policy,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
    } = ephemeral.clone();
    Container {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy,
        lifecycle,
        liveness_probe,
        name,
        ports,
        readiness_probe,
        resize_policy,
        resources,
        restart_policy,
        restart_policy_rules,
        security_context,
        startup_probe,
        stdin,
        stdin_once,
        termination_message_path,
        termination_message_policy,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
    }
}
