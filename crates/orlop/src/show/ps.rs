//! `orlop ps`: containers.
use super::columns::{ago, render, short_id};
use orlop_cri::v1::{Container, ContainerState};
use std::cmp::Reverse;

/// How containers are listed.
#[derive(Clone, Copy, Default)]
pub struct Options {
    /// Exited containers too.
    pub all: bool,
    /// Ids only.
    pub quiet: bool,
    pub no_trunc: bool,
}

fn state_of(container: &Container) -> &'static str {
    match ContainerState::try_from(container.state) {
        Ok(ContainerState::ContainerCreated) => "Created",
        Ok(ContainerState::ContainerRunning) => "Running",
        Ok(ContainerState::ContainerExited) => "Exited",
        _ => "Unknown",
    }
}

/// The listing, newest container first.
pub fn ps(mut containers: Vec<Container>, options: Options, now: i64) -> String {
    containers.retain(|c| options.all || c.state == ContainerState::ContainerRunning as i32);
    containers.sort_by_key(|c| Reverse(c.created_at));
    if options.quiet {
        return containers
            .iter()
            .map(|c| short_id(&c.id, options.no_trunc) + "\n")
            .collect();
    }
    let row = |c: &Container| {
        let label = |key: &str| c.labels.get(key).cloned().unwrap_or_default();
        let metadata = c.metadata.clone().unwrap_or_default();
        vec![
            short_id(&c.id, options.no_trunc),
            short_id(&c.image_ref, options.no_trunc),
            ago(c.created_at, now),
            state_of(c).to_owned(),
            metadata.name,
            metadata.attempt.to_string(),
            short_id(&c.pod_sandbox_id, options.no_trunc),
            label("io.kubernetes.pod.name"),
            label("io.kubernetes.pod.namespace"),
        ]
    };
    let rows: Vec<_> = containers.iter().map(row).collect();
    render(
        &[
            "CONTAINER",
            "IMAGE",
            "CREATED",
            "STATE",
            "NAME",
            "ATTEMPT",
            "POD ID",
            "POD",
            "NAMESPACE",
        ],
        &rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_cri::v1::ContainerMetadata;

    fn container(id: &str, created_at: i64, state: ContainerState) -> Container {
        Container {
            id: id.repeat(8),
            pod_sandbox_id: "fedcba9876543210".into(),
            metadata: Some(ContainerMetadata {
                name: "etcd".into(),
                attempt: 2,
            }),
            image_ref: "sha256:00112233445566778899".into(),
            state: state as i32,
            created_at,
            labels: [
                ("io.kubernetes.pod.name".to_owned(), "etcd-n1".to_owned()),
                ("io.kubernetes.pod.namespace".to_owned(), "kube-system".to_owned()),
            ]
            .into(),
            ..Container::default()
        }
    }

    #[test]
    fn running_containers_are_listed_newest_first() {
        let containers = vec![
            container("aaaaaaaa", 1, ContainerState::ContainerRunning),
            container("bbbbbbbb", 2, ContainerState::ContainerRunning),
            container("cccccccc", 3, ContainerState::ContainerExited),
        ];
        let text = ps(containers, Options::default(), 61_000_000_000);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let words: Vec<&str> = lines[0].split_whitespace().collect();
        let header = [
            "CONTAINER",
            "IMAGE",
            "CREATED",
            "STATE",
            "NAME",
            "ATTEMPT",
            "POD",
            "ID",
            "POD",
            "NAMESPACE",
        ];
        assert_eq!(words, header);
        assert!(
            lines[1].starts_with("bbbbbbbbbbbbb       0011223344556       About a minute ago"),
            "{text}"
        );
        assert!(lines[1].ends_with("etcd-n1             kube-system"), "{text}");
    }

    #[test]
    fn all_lists_exited_ones_too_and_quiet_only_ids() {
        let containers = vec![container("cccccccc", 3, ContainerState::ContainerExited)];
        let options = Options {
            all: true,
            quiet: true,
            no_trunc: false,
        };
        assert_eq!(ps(containers, options, 0), "ccccccccccccc\n");
    }
}
