//! The face alone, for measuring it without the rest of the binary: `etcd --data-dir DIR
//! --listen-client-urls=URL`; other flags are let by.
use orlop_etcd::{Endpoint, Face, Listener, Member};
use orlop_store::embedded::{EmbeddedStore, Options};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |flag: &str| {
        let joined = arguments
            .iter()
            .find_map(|argument| argument.strip_prefix(&format!("{flag}=")).map(str::to_owned));
        joined.or_else(|| {
            let at = arguments.iter().position(|argument| argument == flag)?;
            arguments.get(at + 1).cloned()
        })
    };
    let directory = after("--data-dir").ok_or("--data-dir is missing")?;
    let url = after("--listen-client-urls").ok_or("--listen-client-urls is missing")?;
    let options = Options {
        history: Duration::MAX,
        cache_bytes: 64 << 20,
        tail_bytes: 16 << 20,
        ..Options::default()
    };
    let store = EmbeddedStore::open(directory.as_ref(), options)?;
    let member = Member {
        client_urls: vec![url.clone()],
        ..Member::named("default")
    };
    let endpoint: Endpoint = url.parse()?;
    let listener = Listener::bind(endpoint, None).await?;
    Face::new(store, member)
        .serve(vec![listener], CancellationToken::new())
        .await;
    Ok(())
}
