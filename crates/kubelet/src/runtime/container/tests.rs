use super::security::seccomp;
use super::*;
use k8s_openapi::api::core::v1::{PodSpec, SeccompProfile};
use std::path::Path;

fn spec_of(value: serde_json::Value) -> PodSpec {
    serde_json::from_value(value).unwrap()
}

fn check(spec: serde_json::Value, user: ImageUser) -> Option<String> {
    let spec = spec_of(spec);
    non_root_violation(&spec, &spec.containers[0], &user)
}

#[test]
fn s01_non_root_is_checked_against_spec_and_image() {
    let required =
        serde_json::json!({"securityContext": {"runAsNonRoot": true}, "containers": [{"name": "c"}]});
    let root = ImageUser {
        uid: Some(0),
        name: String::new(),
    };
    let user = ImageUser {
        uid: Some(1234),
        name: String::new(),
    };
    let named = ImageUser {
        uid: None,
        name: "www".into(),
    };
    assert!(
        check(required.clone(), root.clone())
            .unwrap()
            .contains("image will run as root")
    );
    assert!(
        check(required.clone(), named)
            .unwrap()
            .contains("non-numeric user (www)")
    );
    assert_eq!(check(required.clone(), user), None);
    let mut explicit = required;
    explicit["containers"][0]["securityContext"] = serde_json::json!({"runAsUser": 0});
    assert!(check(explicit, root).unwrap().contains("breaks non-root policy"));
}

fn plain() -> Security<'static> {
    Security {
        seccomp_directory: Path::new("/s"),
        seccomp_default: false,
        thermal_throttles: &[],
    }
}

fn config_of(container: serde_json::Value, security: &Security<'_>) -> v1::ContainerConfig {
    let object = serde_json::json!({"metadata": {"name": "p"}, "spec": {"containers": [container]}});
    let pod: Pod = serde_json::from_value(object).unwrap();
    let prepared = Prepared {
        image: v1::ImageSpec::default(),
        restart_count: 0,
        env: vec![("X".to_owned(), "1".to_owned())],
        mounts: Vec::new(),
        resources: v1::LinuxContainerResources::default(),
        image_user: ImageUser::default(),
        devices: Vec::new(),
        cdi_devices: Vec::new(),
        annotations: BTreeMap::new(),
    };
    container_config(
        &pod,
        &pod.spec.as_ref().unwrap().containers[0],
        prepared,
        security,
    )
}

fn context_of(container: serde_json::Value) -> v1::LinuxContainerSecurityContext {
    let config = config_of(container, &plain());
    config.linux.unwrap().security_context.unwrap()
}

/// P06: what is not said is left to the image; a command without arguments is one without the image's.
#[test]
fn p06_command_and_args_are_the_images_unless_given() {
    let words = |container: serde_json::Value| {
        let config = config_of(container, &plain());
        (config.command, config.args)
    };
    let none: Vec<String> = Vec::new();
    assert_eq!(
        words(serde_json::json!({"name": "c"})),
        (none.clone(), none.clone())
    );
    assert_eq!(
        words(serde_json::json!({"name": "c", "command": ["sh", "-c", "$(X)"]})),
        (
            vec!["sh".to_owned(), "-c".to_owned(), "1".to_owned()],
            none.clone()
        )
    );
    assert_eq!(
        words(serde_json::json!({"name": "c", "args": ["a"]})),
        (none, vec!["a".to_owned()])
    );
}

#[test]
fn s02_root_is_read_only_and_privileges_do_not_grow_only_where_it_is_said() {
    let of = |context: serde_json::Value| {
        let context = context_of(serde_json::json!({"name": "c", "securityContext": context}));
        (context.readonly_rootfs, context.no_new_privs)
    };
    assert_eq!(
        of(serde_json::json!({"readOnlyRootFilesystem": true})),
        (true, false)
    );
    assert_eq!(
        of(serde_json::json!({"allowPrivilegeEscalation": false})),
        (false, true)
    );
    assert_eq!(
        of(serde_json::json!({"allowPrivilegeEscalation": true})),
        (false, false)
    );
    assert_eq!(of(serde_json::json!({"runAsUser": 1000})), (false, false));
}

#[test]
fn s05_paths_are_masked_unless_proc_is_unmasked() {
    let machine = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(machine.path().join("cpu0/thermal_throttle")).unwrap();
    std::fs::create_dir_all(machine.path().join("cpu1")).unwrap();
    let throttles = thermal_throttles(machine.path());
    let security = Security {
        thermal_throttles: &throttles,
        ..plain()
    };
    let config = config_of(serde_json::json!({"name": "c"}), &security);
    let context = config.linux.unwrap().security_context.unwrap();
    let (masked, read_only) = (context.masked_paths, context.readonly_paths);
    assert!(masked.contains(&"/proc/kcore".to_owned()) && masked.contains(&"/sys/firmware".to_owned()));
    assert_eq!(masked.last(), throttles.first());
    assert!(read_only.contains(&"/proc/sys".to_owned()));
    let unmasked = context_of(serde_json::json!({"name": "c", "securityContext": {"procMount": "Unmasked"}}));
    assert!(unmasked.masked_paths.is_empty() && unmasked.readonly_paths.is_empty());
}

#[test]
fn s14_apparmor_profile_is_told_in_both_forms() {
    #[allow(deprecated, reason = "both are sent")]
    let of = |profile: serde_json::Value| {
        let context =
            context_of(serde_json::json!({"name": "c", "securityContext": {"appArmorProfile": profile}}));
        let field = context.apparmor.unwrap();
        (field.profile_type, field.localhost_ref, context.apparmor_profile)
    };
    use v1::security_profile::ProfileType;
    assert_eq!(
        of(serde_json::json!({"type": "Localhost", "localhostProfile": "deny-write"})),
        (
            ProfileType::Localhost as i32,
            "deny-write".into(),
            "localhost/deny-write".into()
        )
    );
    assert_eq!(
        of(serde_json::json!({"type": "RuntimeDefault"})),
        (
            ProfileType::RuntimeDefault as i32,
            String::new(),
            "runtime/default".into()
        )
    );
    assert_eq!(context_of(serde_json::json!({"name": "c"})).apparmor, None);
}

#[test]
fn s03_seccomp_container_beats_pod_beats_default() {
    let security = plain();
    let kind = |profile: Option<&str>, security: &Security<'_>| {
        let profile = profile.map(|type_| SeccompProfile {
            type_: type_.into(),
            localhost_profile: Some("p.json".into()),
        });
        seccomp(profile.as_ref(), security)
    };
    use v1::security_profile::ProfileType;
    assert_eq!(kind(None, &security).profile_type, ProfileType::Unconfined as i32);
    assert_eq!(
        kind(Some("RuntimeDefault"), &security).profile_type,
        ProfileType::RuntimeDefault as i32
    );
    assert_eq!(kind(Some("Localhost"), &security).localhost_ref, "/s/p.json");
    let on = Security {
        seccomp_default: true,
        ..security
    };
    assert_eq!(kind(None, &on).profile_type, ProfileType::RuntimeDefault as i32);
}
