//! `orlop pods`: pod sandboxes.
use super::columns::{ago, render, short_id};
use orlop_cri::v1::{PodSandbox, PodSandboxState};
use std::cmp::Reverse;

/// How sandboxes are listed.
#[derive(Clone, Copy, Default)]
pub struct Options {
    /// Ids only.
    pub quiet: bool,
    pub no_trunc: bool,
}

/// The listing, newest sandbox first.
pub fn pods(mut sandboxes: Vec<PodSandbox>, options: Options, now: i64) -> String {
    sandboxes.sort_by_key(|s| Reverse(s.created_at));
    if options.quiet {
        return sandboxes
            .iter()
            .map(|s| short_id(&s.id, options.no_trunc) + "\n")
            .collect();
    }
    let row = |s: &PodSandbox| {
        let metadata = s.metadata.clone().unwrap_or_default();
        let ready = s.state == PodSandboxState::SandboxReady as i32;
        let handler = if s.runtime_handler.is_empty() {
            "(default)"
        } else {
            &s.runtime_handler
        };
        vec![
            short_id(&s.id, options.no_trunc),
            ago(s.created_at, now),
            if ready { "Ready" } else { "NotReady" }.to_owned(),
            metadata.name,
            metadata.namespace,
            metadata.attempt.to_string(),
            handler.to_owned(),
        ]
    };
    let rows: Vec<_> = sandboxes.iter().map(row).collect();
    render(
        &[
            "POD ID",
            "CREATED",
            "STATE",
            "NAME",
            "NAMESPACE",
            "ATTEMPT",
            "RUNTIME",
        ],
        &rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_cri::v1::PodSandboxMetadata;

    #[test]
    fn sandboxes_show_crictls_columns() {
        let sandbox = PodSandbox {
            id: "0123456789abcdef".into(),
            metadata: Some(PodSandboxMetadata {
                name: "etcd-n1".into(),
                namespace: "kube-system".into(),
                uid: "u".into(),
                attempt: 0,
            }),
            state: PodSandboxState::SandboxReady as i32,
            created_at: 0,
            ..PodSandbox::default()
        };
        let text = pods(vec![sandbox], Options::default(), 7_200_000_000_000);
        let lines: Vec<&str> = text.lines().collect();
        let header: Vec<&str> = lines[0].split_whitespace().collect();
        assert_eq!(
            header,
            [
                "POD",
                "ID",
                "CREATED",
                "STATE",
                "NAME",
                "NAMESPACE",
                "ATTEMPT",
                "RUNTIME"
            ]
        );
        let cells: Vec<&str> = lines[1].split_whitespace().collect();
        let expected = [
            "0123456789abc",
            "2",
            "hours",
            "ago",
            "Ready",
            "etcd-n1",
            "kube-system",
            "0",
            "(default)",
        ];
        assert_eq!(cells, expected);
    }
}
