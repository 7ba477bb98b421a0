//! Commands that say why, and what would be.
use super::Output;
use clap::Args;
use std::path::PathBuf;

/// Which cluster is asked.
#[derive(Clone, Debug, Args)]
pub struct ClusterArgs {
    /// Kubeconfig of the API server [default: $KUBECONFIG, ~/.kube/config, /etc/kubernetes/admin.conf].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Ask no server: read what `kubectl get nodes,pods,daemonsets,controllerrevisions -A -o json` printed.
    #[arg(long, value_name = "FILE", conflicts_with = "kubeconfig")]
    pub from: Option<PathBuf>,
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    pub namespace: String,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct WhyArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// `daemonset/NAME` or `pod/NAME`.
    #[arg(value_name = "KIND/NAME", value_parser = subject)]
    pub subject: Subject,
    /// This node only.
    #[arg(value_name = "NODE")]
    pub node: Option<String>,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Manifest with the DaemonSet; `-` is standard input.
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
}

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    DaemonSet(String),
    Pod(String),
}

fn subject(text: &str) -> Result<Subject, String> {
    let (kind, name) = text.split_once('/').unwrap_or(("", ""));
    match kind.split('.').next().unwrap_or_default() {
        _ if name.is_empty() => Err(format!("{text} is not KIND/NAME, such as daemonset/web")),
        "daemonset" | "daemonsets" | "ds" => Ok(Subject::DaemonSet(name.to_owned())),
        "pod" | "pods" | "po" => Ok(Subject::Pod(name.to_owned())),
        other => Err(format!("{other} cannot be explained; daemonset and pod can")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_as_kubectl_names_them() {
        for name in ["ds/web", "daemonsets/web", "daemonset.apps/web"] {
            assert_eq!(subject(name), Ok(Subject::DaemonSet("web".into())), "{name}");
        }
        assert_eq!(subject("po/p"), Ok(Subject::Pod("p".into())));
        assert!(subject("web").is_err() && subject("ds/").is_err() && subject("job/x").is_err());
    }
}
