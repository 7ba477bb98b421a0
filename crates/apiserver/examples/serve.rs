//! Serves the API alone, from a directory: `cargo run --example serve -- DIR [PORT]`.
//!
//! The directory receives a throwaway authority, `admin.conf` for kubectl, and the store.
use orlop_apiserver::{ApiServer, Config, KubeletClientTls, TrustedAuthorities};
use orlop_pki::{Authority, Identity, Kubeconfig, LeafRequest, Usage};
use orlop_store::embedded::{EmbeddedStore, Options};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use tokio::net::TcpListener;

type Failure = Box<dyn std::error::Error>;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("usage: serve DIR [PORT]")?);
    let port: u16 = arguments.next().map_or(Ok(6443), |port| port.parse())?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;

    let authority = Authority::ensure(&directory.join("pki"), "ca", "kubernetes")?;
    let leaf = |identity: Identity, usage| LeafRequest {
        identity,
        usage,
        dns_names: vec!["localhost".to_owned()],
        addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
    };
    let serving = authority.ensure_leaf(
        "apiserver",
        &leaf(Identity::new("kube-apiserver", &[]), Usage::Server),
    )?;
    let kubelet_client = authority.ensure_leaf(
        "apiserver-kubelet-client",
        &leaf(
            Identity::new("kube-apiserver-kubelet-client", &["system:masters"]),
            Usage::Client,
        ),
    )?;
    let server_url = format!("https://{address}");
    for (file, identity) in [
        (
            "admin.conf",
            Identity::new("kubernetes-admin", &["system:masters"]),
        ),
        ("alice.conf", Identity::new("alice", &["devs"])),
    ] {
        let config = Kubeconfig {
            server: &server_url,
            cluster: "kubernetes",
            identity,
        };
        config.ensure(&directory.join(file), &authority)?;
    }

    let store = EmbeddedStore::open(&directory.join("store"), Options::default())?;
    let mut config = Config::new(address);
    let client_ca = TrustedAuthorities::of_clients(authority.certificate())?;
    config.authentication.client_ca = Some(client_ca);
    config.kubelet_client = KubeletClientTls {
        ca: Some(authority.certificate().to_owned()),
        identity: Some(kubelet_client.into()),
    };
    let shutdown = config.shutdown.clone();
    let server = ApiServer::start(config, store).await?;
    let tls = orlop_pki::server_config(&serving.certificate, &serving.key, authority.certificate())?;
    println!("export KUBECONFIG={}", directory.join("admin.conf").display());
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            let _ = tokio::signal::ctrl_c().await;
            shutdown.cancel();
        }
    });
    server.serve(listener, tls, shutdown).await?;
    Ok(())
}
