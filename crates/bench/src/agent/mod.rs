//! The node agent alone, on a containerd of its own.
mod ends;
mod exit;
mod ground;
mod idle;
mod pods;
mod process;
mod start;
mod trouble;

use anyhow::Result;
use ground::Ground;
use orlop_cri::Remote;
use start::Arena;
use std::path::Path;

/// Rounds of figures with many pods: each takes half a minute.
const LONG_ROUNDS_MAX: usize = 3;

/// What of it to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AgentFigures {
    /// From manifest to process, one and many, and their end.
    Start,
    /// Containers that end by themselves.
    Exit,
    /// Memory, processor and wake-ups while nothing happens.
    Idle,
    /// Starts while the API server is in trouble.
    Trouble,
}

/// An agent that runs already, on its runtime; with a kubeconfig, what the API shows of it too.
pub async fn measure_other(
    manifests: &Path,
    endpoint: &str,
    kubeconfig: Option<&Path>,
    rounds: usize,
) -> Result<()> {
    let runtime = Remote::connect(endpoint).await?;
    let arena = Arena::new(&runtime, manifests)?;
    start::one(&arena, rounds).await?;
    start::many(&arena, rounds.min(LONG_ROUNDS_MAX)).await?;
    match kubeconfig {
        Some(kubeconfig) => {
            let client = orlop_client::connect(kubeconfig).await?;
            exit::measure(&arena, &client, rounds).await
        }
        None => Ok(()),
    }
}

/// All figures of `orlop kubelet`, or only some.
pub async fn measure(orlop: &Path, images: &Path, figures: &[AgentFigures], rounds: usize) -> Result<()> {
    let wanted = |figure| figures.is_empty() || figures.contains(&figure);
    let ground = Ground::lay_out(orlop, images).await?;
    let manifests = ground.manifests();
    {
        let server = ground.api_server().await?;
        let agent = ground.agent(Some(&server.kubeconfig)).await?;
        if wanted(AgentFigures::Idle) {
            idle::measure(&ground, &agent, &server.client).await?;
        }
        let arena = Arena::new(ground.remote(), &manifests)?;
        if wanted(AgentFigures::Start) {
            start::one(&arena, rounds).await?;
            start::many(&arena, rounds.min(LONG_ROUNDS_MAX)).await?;
        }
        if wanted(AgentFigures::Exit) {
            exit::measure(&arena, &server.client, rounds).await?;
        }
    }
    ground.clear().await?;
    if wanted(AgentFigures::Trouble) {
        trouble::measure(&ground, rounds.min(7)).await?;
    }
    Ok(())
}
