//! `/statusz` and `/flagz`: for people, about this very process.
use crate::pods::PodsHandle;
use jiff::{Timestamp, tz::TimeZone};
use orlop_api::KUBERNETES_VERSION;
use std::fmt::Write;

/// What upstream's pages begin with too: nobody should read them by program.
const WARNING: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility \
                       guarantees and is for debugging purposes only.";
/// What the secure port answers.
const PATHS: &str = "/configz /containerLogs /flagz /healthz /logs /metrics /metrics/cadvisor /metrics/probes \
                     /metrics/resource /metrics/slis /pods /runningpods /stats/summary /statusz";

/// The agent as it is.
pub fn status(began: Timestamp, now: Timestamp, pods: &PodsHandle) -> String {
    let up = now.duration_since(began).as_secs().max(0);
    let version = KUBERNETES_VERSION.trim_start_matches('v');
    let started = began.to_zoned(TimeZone::UTC).strftime("%a %b %e %H:%M:%S UTC %Y");
    format!(
        "\nkubelet statusz\n{WARNING}\n\nStarted: {started}\nUp: {} hr {:02} min {:02} sec\nBinary version: {version} \
         (orlop {})\nPods: {}\nPaths: {PATHS}\n",
        up / 3600,
        up / 60 % 60,
        up % 60,
        env!("CARGO_PKG_VERSION"),
        pods.list().len(),
    )
}

/// The flags that this process was started with.
pub fn flags(given: &[(String, String)]) -> String {
    let mut given: Vec<_> = given.iter().collect();
    given.sort();
    let mut text = format!("\nkubelet flagz\n{WARNING}\n\n");
    for (flag, value) in given {
        // A String takes everything.
        let _ = writeln!(text, "{flag}={value}");
    }
    text
}

/// `--flag value`, `--flag=value` and `--flag` of a command line. What gives access is not shown.
pub fn flags_of(words: impl IntoIterator<Item = String>) -> Vec<(String, String)> {
    let mut words = words.into_iter().peekable();
    let mut flags = Vec::new();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--").filter(|flag| !flag.is_empty()) else {
            continue;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => {
                let value = words.next_if(|next| !next.starts_with('-'));
                (flag.to_owned(), value.unwrap_or_else(|| "true".to_owned()))
            }
        };
        let is_secret = ["token", "password", "url-header"]
            .iter()
            .any(|end| name.ends_with(end));
        flags.push((name, if is_secret { "[hidden]".to_owned() } else { value }));
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_shown_in_order_and_secrets_are_not() {
        let words = "kubelet --v=2 --root /srv/n --local-api --token abc --config=/a=b \
                     --manifest-url-header=Authorization:x"
            .split_whitespace();
        let given = flags_of(words.map(str::to_owned));
        let text = flags(&given);
        let shown: Vec<&str> = text.lines().skip(4).collect();
        let expected = [
            "config=/a=b",
            "local-api=true",
            "manifest-url-header=[hidden]",
            "root=/srv/n",
            "token=[hidden]",
            "v=2",
        ];
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn status_tells_version_and_age() {
        let began: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let now: Timestamp = "2026-01-02T04:05:07Z".parse().unwrap();
        let text = status(began, now, &PodsHandle::default());
        for line in [
            "kubelet statusz",
            "Started: Fri Jan  2 03:04:05 UTC 2026",
            "Up: 1 hr 01 min 02 sec",
            "Pods: 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
