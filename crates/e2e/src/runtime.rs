//! What a node's runtime has, as `orlop ps` and `orlop pods` list it.
use crate::Node;
use std::collections::BTreeMap;

/// A running container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Running {
    pub pod: String,
    pub container: String,
    pub attempt: u32,
    pub id: String,
}

impl Node {
    /// All containers that run, by pod.
    pub fn running(&self) -> Vec<Running> {
        let output = self.orlop("ps --no-trunc");
        assert!(
            output.status.success(),
            "orlop ps: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut running: Vec<Running> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .skip(1)
            .map(running)
            .collect();
        running.sort();
        running
    }

    /// How many sandboxes the runtime has, ready or not, by pod.
    pub fn sandboxes(&self) -> BTreeMap<String, usize> {
        let output = self.orlop("pods");
        assert!(
            output.status.success(),
            "orlop pods: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut counts = BTreeMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines().skip(1) {
            *counts.entry(sandbox(line)).or_default() += 1;
        }
        counts
    }
}

/// The age, in the middle, is several words: CONTAINER IMAGE CREATED STATE NAME ATTEMPT POD-ID POD NAMESPACE.
fn running(line: &str) -> Running {
    let words: Vec<&str> = line.split_whitespace().collect();
    let from_end = |place: usize| words[words.len() - place].to_owned();
    Running {
        pod: from_end(2),
        container: from_end(5),
        attempt: from_end(4).parse().expect("an attempt"),
        id: words[0].to_owned(),
    }
}

/// POD-ID CREATED STATE NAME NAMESPACE ATTEMPT RUNTIME.
fn sandbox(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let state = words
        .iter()
        .position(|word| matches!(*word, "Ready" | "NotReady"))
        .unwrap_or_else(|| panic!("no state in {line:?}"));
    words[state + 1].to_owned()
}
