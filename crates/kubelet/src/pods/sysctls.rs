//! Which kernel settings a pod may ask for (contract, node agent §18.1). Pure.
use super::admission::Rejection;
use k8s_openapi::api::core::v1::PodSpec;
use orlop_api::pod_security::SAFE_SYSCTLS;

/// `allowed`: names and, ending in `*`, beginnings of names (`allowedUnsafeSysctls`).
pub fn check(spec: &PodSpec, allowed: &[String]) -> Result<(), Rejection> {
    let context = spec.security_context.as_ref();
    let sysctls = context.and_then(|context| context.sysctls.as_deref());
    for sysctl in sysctls.unwrap_or_default() {
        // Both ways to write a name mean the same.
        let name = sysctl.name.replace('/', ".");
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => *pattern == name,
        };
        let host_namespace = match name.split('.').next() {
            Some("net") if spec.host_network == Some(true) => Some("net"),
            Some("kernel" | "fs") if spec.host_ipc == Some(true) => Some("ipc"),
            _ => None,
        };
        let why = if let Some(host) = host_namespace {
            format!("{name:?} not allowed with host {host} enabled")
        } else if SAFE_SYSCTLS.contains(&name.as_str()) || allowed.iter().any(fits) {
            continue;
        } else {
            format!("{name:?} not allowlisted")
        };
        return Err(Rejection {
            reason: "SysctlForbidden".into(),
            message: format!("forbidden sysctl: {why}"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(spec: serde_json::Value, name: &str, allowed: &[&str]) -> Result<(), String> {
        let mut spec = spec;
        spec["securityContext"] = serde_json::json!({"sysctls": [{"name": name, "value": "1"}]});
        spec["containers"] = serde_json::json!([]);
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        check(&spec, &allowed).map_err(|rejection| {
            assert_eq!(rejection.reason, "SysctlForbidden");
            rejection.message
        })
    }

    #[test]
    fn s06_safe_sysctls_pass_and_unsafe_ones_only_where_they_are_allowed() {
        let plain = || serde_json::json!({});
        assert_eq!(checked(plain(), "net.ipv4.tcp_syncookies", &[]), Ok(()));
        assert_eq!(checked(plain(), "kernel/shm_rmid_forced", &[]), Ok(()));
        assert_eq!(
            checked(plain(), "kernel.msgmax", &[]),
            Err("forbidden sysctl: \"kernel.msgmax\" not allowlisted".into())
        );
        assert_eq!(checked(plain(), "kernel.msgmax", &["kernel.msg*"]), Ok(()));
        let host = serde_json::json!({"hostNetwork": true});
        assert_eq!(
            checked(host, "net.ipv4.tcp_syncookies", &[]),
            Err("forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host net enabled".into())
        );
    }
}
