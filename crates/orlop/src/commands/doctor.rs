//! `orlop doctor`: what is in the way of a node on this machine.
use crate::cli::{DoctorArgs, Output};
use crate::doctor::{Ask, Facts, Finding, Health, diagnose};
use crate::paths::Root;
use anyhow::{Result, bail};
use serde_json::json;

/// The ports that a node takes by itself.
pub const PORTS: [(u16, &str); 3] = [
    (6443, "the API server"),
    (10250, "the node agent"),
    (10248, "the node agent's health"),
];

pub async fn doctor(arguments: &DoctorArgs) -> Result<()> {
    let root = Root::new(arguments.root.root.as_deref())?;
    let ask = Ask {
        ports: &PORTS,
        runtime_endpoint: arguments.container_runtime_endpoint.as_deref(),
    };
    let findings = diagnose(&Facts::gather(&root, ask).await);
    match arguments.output {
        Output::Json => println!("{:#}", json!({"findings": findings})),
        Output::Text => findings.iter().for_each(|finding| println!("{}", line(finding))),
    }
    if findings.iter().any(|finding| finding.health == Health::Bad) {
        bail!("this machine cannot run a node as it is");
    }
    Ok(())
}

fn line(finding: &Finding) -> String {
    let mark = match finding.health {
        Health::Good => "ok",
        Health::Poor => "warning",
        Health::Bad => "error",
    };
    let mend = match finding.mend.as_str() {
        "" => String::new(),
        mend => format!(" -> {mend}"),
    };
    format!("{mark:<8} {:<8} {}{mend}", finding.what, finding.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_how_and_what_to_do() {
        let finding = Finding {
            what: "swap",
            health: Health::Poor,
            text: "on".into(),
            mend: "swapoff -a".into(),
        };
        assert_eq!(line(&finding), "warning  swap     on -> swapoff -a");
    }
}
