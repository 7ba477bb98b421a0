//! `orlop status`: every manifest of the node, what became of it, and why.
use super::ask_agent;
use crate::cli::{Output, StatusArgs};
use crate::paths::Root;
use crate::show::render;
use anyhow::Result;
use serde_json::Value;

pub async fn status(arguments: &StatusArgs) -> Result<()> {
    let status = ask_agent::status(&Root::new(arguments.root.root.as_deref())?).await?;
    match arguments.output {
        Output::Json => println!("{status:#}"),
        Output::Text => print!("{}", table(&status)),
    }
    Ok(())
}

/// A row a manifest.
fn table(status: &Value) -> String {
    let manifests = status["manifests"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let rows: Vec<Vec<String>> = manifests.iter().map(row).collect();
    render(&["MANIFEST", "POD", "STATUS", "WHY"], &rows)
}

fn row(manifest: &Value) -> Vec<String> {
    let text = |key: &str| manifest[key].as_str().unwrap_or_default().to_owned();
    let pod = match text("pod") {
        pod if pod.is_empty() => "-".to_owned(),
        pod => pod,
    };
    let (state, why) = if manifest["ignored"].is_string() {
        ("Ignored".to_owned(), text("ignored"))
    } else if manifest["error"].is_string() {
        let runs_on = if pod == "-" {
            ""
        } else {
            " (an earlier version runs on)"
        };
        (
            "InvalidManifest".to_owned(),
            format!("{}{runs_on}", text("error")),
        )
    } else if !text("reason").is_empty() {
        (text("reason"), text("message"))
    } else {
        let ready = match (text("phase").as_str(), manifest["ready"].as_bool()) {
            ("Running", Some(false)) => ", not ready",
            _ => "",
        };
        let phase = match text("phase") {
            phase if phase.is_empty() => "Pending".to_owned(),
            phase => phase,
        };
        (format!("{phase}{ready}"), String::new())
    };
    let why = match (text("mirrorRefused"), why.is_empty()) {
        (refused, _) if refused.is_empty() => why,
        (refused, true) => format!("no mirror pod: {refused}"),
        (refused, false) => format!("{why}; no mirror pod: {refused}"),
    };
    vec![text("manifest"), pod, state, why]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_manifest_has_a_row_that_says_why() {
        let status = json!({"node": "n1", "manifests": [
            {"manifest": "/m/a.yaml", "pod": "a-n1_default", "phase": "Running", "ready": true},
            {"manifest": "/m/b.yaml", "pod": "b-n1_default", "phase": "Running", "ready": false},
            {"manifest": "/m/c.yaml", "error": "line 3, column 1: spec: no"},
            {"manifest": "/m/d.yaml", "pod": "d-n1_default", "error": "line 3", "phase": "Running"},
            {"manifest": "/m/e.yaml~", "ignored": "a copy of /m/e.yaml"},
            {"manifest": "/m/f.yaml", "pod": "f-n1_default", "phase": "Failed", "reason": "OutOfcpu", "message": "no room"},
            {"manifest": "/m/g.yaml", "pod": "g-n1_shop", "phase": "Running", "ready": true,
             "mirrorRefused": "namespaces \"shop\" not found"},
        ]});
        let table = table(&status);
        let rows: Vec<Vec<&str>> = table
            .lines()
            .skip(1)
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|cell| !cell.is_empty())
                    .collect()
            })
            .collect();
        assert_eq!(rows[0], ["/m/a.yaml", "a-n1_default", "Running"]);
        assert_eq!(rows[1][2], "Running, not ready");
        assert_eq!(
            rows[2],
            ["/m/c.yaml", "-", "InvalidManifest", "line 3, column 1: spec: no"]
        );
        assert_eq!(rows[3][3], "line 3 (an earlier version runs on)");
        assert_eq!(rows[4][2..], ["Ignored", "a copy of /m/e.yaml"]);
        assert_eq!(rows[5][2..], ["OutOfcpu", "no room"]);
        assert_eq!(
            rows[6][2..],
            ["Running", "no mirror pod: namespaces \"shop\" not found"]
        );
    }
}
