//! `orlop ps` and `orlop pods`: ask the runtime, print.
use crate::cli::{PodsArgs, PsArgs, RuntimeArgs};
use crate::paths::Root;
use crate::show;
use anyhow::{Context, Result};
use orlop_cri::{Endpoint, Remote, RuntimeService};
use std::time::Duration;

/// The CRI socket that the node under `root` was last started on.
pub fn recorded_endpoint(root: &Root) -> Result<Option<String>> {
    let path = root.runtime_endpoint_file();
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// A person waits for the listing.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(2);

async fn connect(arguments: &RuntimeArgs) -> Result<Remote> {
    let root = Root::new(arguments.root.root.as_deref())?;
    let endpoint = match &arguments.runtime_endpoint {
        Some(endpoint) => endpoint.clone(),
        None => recorded_endpoint(&root)?.with_context(|| {
            format!(
                "no node has been started under {}; name a CRI socket with --runtime-endpoint",
                root.as_path().display()
            )
        })?,
    };
    Ok(Remote::connect_within(&Endpoint::parse(&endpoint)?, RUNTIME_PATIENCE).await?)
}

fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

pub async fn ps(arguments: &PsArgs) -> Result<()> {
    let containers = connect(&arguments.runtime).await?.list_containers(None).await?;
    let options = show::PsOptions {
        all: arguments.all,
        quiet: arguments.quiet,
        no_trunc: arguments.no_trunc,
    };
    print!("{}", show::ps(containers, options, now()));
    Ok(())
}

pub async fn pods(arguments: &PodsArgs) -> Result<()> {
    let sandboxes = connect(&arguments.runtime)
        .await?
        .list_pod_sandboxes(None)
        .await?;
    let options = show::PodsOptions {
        quiet: arguments.quiet,
        no_trunc: arguments.no_trunc,
    };
    print!("{}", show::pods(sandboxes, options, now()));
    Ok(())
}
