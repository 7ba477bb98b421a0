//! Pods: the row everybody reads (contract api-server §11.1).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cells::{NONE, age, count, list, name, number, or, text, time, truth};
use super::{AGE, NAME, TableSpec, string};
use crate::conditions::{condition, is_true};

pub(super) static PODS: TableSpec = TableSpec {
    columns: &[
        NAME,
        string("Ready", "Containers that are ready, of all that should be."),
        string("Status", "What the pod is doing, or why it isn't."),
        string(
            "Restarts",
            "How often its containers were restarted, and when last.",
        ),
        AGE,
        string("IP", "Address of the pod.").wide(),
        string("Node", "Node the pod runs on.").wide(),
        string(
            "Nominated Node",
            "Node the pod is meant for while others are evicted from it.",
        )
        .wide(),
        string("Readiness Gates", "Readiness gates that are open, of all.").wide(),
    ],
    cells,
    conditions,
};

fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = Summary::of(pod);
    let gates = list(pod, "/spec/readinessGates");
    let open = gates
        .iter()
        .filter(|gate| is_true(pod, text(gate, "/conditionType")))
        .count();
    vec![
        name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.status.clone().into(),
        summary.restarts_cell(now).into(),
        age(pod, now),
        or(text(pod, "/status/podIPs/0/ip"), NONE).into(),
        or(text(pod, "/spec/nodeName"), NONE).into(),
        or(text(pod, "/status/nominatedNodeName"), NONE).into(),
        if gates.is_empty() {
            NONE.into()
        } else {
            format!("{open}/{}", gates.len()).into()
        },
    ]
}

fn conditions(pod: &Value) -> Option<Value> {
    let (reason, message) = match text(pod, "/status/phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

/// Restarts of some containers and when the last of them ended before it.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += number(status, "/restartCount");
        self.last = self.last.max(time(status, "/lastState/terminated/finishedAt"));
    }
}

struct Summary {
    ready: usize,
    total: usize,
    status: String,
    restarts: Restarts,
}

impl Summary {
    fn of(pod: &Value) -> Summary {
        let restartable = |status: &Value| {
            let name = text(status, "/name");
            let container = list(pod, "/spec/initContainers")
                .iter()
                .find(|c| text(c, "/name") == name);
            container.is_some_and(|c| text(c, "/restartPolicy") == "Always")
        };
        let sidecars = list(pod, "/spec/initContainers")
            .iter()
            .filter(|c| text(c, "/restartPolicy") == "Always")
            .count();

        let mut status = or(text(pod, "/status/reason"), text(pod, "/status/phase")).to_owned();
        if condition(pod, "PodScheduled").is_some_and(|c| text(c, "/reason") == "SchedulingGated") {
            status = "SchedulingGated".to_owned();
        }
        let mut ready = 0;
        let mut restarts = Restarts::default();
        let mut of_sidecars = Restarts::default();
        let mut initializing = false;
        for (index, container) in list(pod, "/status/initContainerStatuses").iter().enumerate() {
            restarts.add(container);
            let restartable = restartable(container);
            if restartable {
                of_sidecars.add(container);
            }
            if state(container, "terminated").is_some_and(|t| number(t, "/exitCode") == 0) {
                continue;
            }
            if restartable && truth(container, "/started") {
                ready += usize::from(truth(container, "/ready"));
                continue;
            }
            status = init_status(container, index, count(pod, "/spec/initContainers"));
            initializing = true;
            break;
        }

        if !initializing || is_true(pod, "Initialized") {
            restarts = of_sidecars;
            let mut running = false;
            let mut error = None;
            // From last to first, so that the first container has the last word.
            for container in list(pod, "/status/containerStatuses").iter().rev() {
                restarts.add(container);
                let waiting = state(container, "waiting").map_or("", |w| text(w, "/reason"));
                if !waiting.is_empty() {
                    status = waiting.to_owned();
                } else if let Some(terminated) = state(container, "terminated") {
                    status = termination(terminated);
                    if number(terminated, "/exitCode") != 0 {
                        error = Some(status.clone());
                    }
                } else if truth(container, "/ready") && state(container, "running").is_some() {
                    running = true;
                    ready += 1;
                }
            }
            if status == "Completed" {
                if running && is_true(pod, "Ready") {
                    status = "Running".to_owned();
                } else if let Some(error) = error {
                    status = error;
                } else if running {
                    status = "NotReady".to_owned();
                }
            }
        }

        if !text(pod, "/metadata/deletionTimestamp").is_empty() {
            if text(pod, "/status/reason") == "NodeLost" {
                status = "Unknown".to_owned();
            } else if !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed") {
                status = "Terminating".to_owned();
            }
        }
        Summary {
            ready,
            total: count(pod, "/spec/containers") + sidecars,
            status,
            restarts,
        }
    }

    fn restarts_cell(&self, now: Timestamp) -> String {
        match self.restarts {
            Restarts {
                count,
                last: Some(last),
            } if count != 0 => {
                format!("{count} ({} ago)", crate::age::since(Some(last), now))
            }
            Restarts { count, .. } => count.to_string(),
        }
    }
}

fn state<'a>(container: &'a Value, which: &str) -> Option<&'a Value> {
    container
        .get("state")
        .and_then(|s| s.get(which))
        .filter(|s| s.is_object())
}

fn init_status(container: &Value, index: usize, total: usize) -> String {
    if let Some(terminated) = state(container, "terminated") {
        return format!("Init:{}", termination(terminated));
    }
    match state(container, "waiting").map_or("", |w| text(w, "/reason")) {
        "" | "PodInitializing" => format!("Init:{index}/{total}"),
        reason => format!("Init:{reason}"),
    }
}

fn termination(terminated: &Value) -> String {
    let (reason, signal) = (text(terminated, "/reason"), number(terminated, "/signal"));
    if !reason.is_empty() {
        reason.to_owned()
    } else if signal != 0 {
        format!("Signal:{signal}")
    } else {
        format!("ExitCode:{}", number(terminated, "/exitCode"))
    }
}
