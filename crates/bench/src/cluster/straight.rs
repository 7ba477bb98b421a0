//! What members of etcd take from etcd's own clients.
use super::writes::CLIENTS;
use super::{MASTERS, Machines};
use anyhow::Result;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, Identity, TlsOptions, Txn, TxnOp, WatchOptions,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::task::JoinSet;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// Whatever was there.
    Put,
    /// If none was there, while each member tells a watch of it: what every API server needs of etcd, whoever wrote it.
    Guarded,
}

/// Writes per second, each by the next client that is free.
pub async fn straight(
    clients: &[Client],
    bytes: usize,
    round: usize,
    writes: usize,
    how: Write,
) -> Result<f64> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.store(0, Ordering::Relaxed);
    let prefix = format!("/bench/{how:?}/{round}/");
    let mut watches = JoinSet::new();
    if how == Write::Guarded {
        for client in &clients[..MASTERS.len()] {
            let options = WatchOptions::new().with_prefix();
            let mut stream = client.clone().watch(prefix.as_str(), Some(options)).await?;
            watches.spawn(async move { while let Ok(Some(_)) = stream.message().await {} });
        }
    }
    let began = Instant::now();
    let mut running = JoinSet::new();
    for client in clients {
        let (mut client, prefix) = (client.clone(), prefix.clone());
        running.spawn(async move {
            loop {
                let number = NEXT.fetch_add(1, Ordering::Relaxed);
                if number >= writes {
                    return anyhow::Ok(());
                }
                let (key, value) = (format!("{prefix}{number:05}"), vec![b'x'; bytes]);
                match how {
                    Write::Put => drop(client.put(key, value, None).await?),
                    Write::Guarded => {
                        let is_new = Compare::mod_revision(key.as_str(), CompareOp::Equal, 0);
                        let put = TxnOp::put(key, value, None);
                        client.txn(Txn::new().when([is_new]).and_then([put])).await?;
                    }
                }
            }
        });
    }
    for ended in running.join_all().await {
        ended?;
    }
    Ok(writes as f64 / began.elapsed().as_secs_f64())
}

/// A connection each.
pub async fn connect(machines: &Machines, members: &[String]) -> Result<Vec<Client>> {
    let pki = |file: &str| -> Result<Vec<u8>> {
        let path = machines
            .lab
            .path(MASTERS[0], &format!("/etc/kubernetes/pki/{file}"))?;
        Ok(std::fs::read(path)?)
    };
    let identity = Identity::from_pem(
        pki("apiserver-etcd-client.crt")?,
        pki("apiserver-etcd-client.key")?,
    );
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(pki("etcd/ca.crt")?))
        .identity(identity);
    let mut clients = Vec::with_capacity(CLIENTS);
    for number in 0..CLIENTS {
        let member = &members[number % members.len()];
        let options = ConnectOptions::new().with_tls(tls.clone());
        clients.push(Client::connect([member], Some(options)).await?);
    }
    Ok(clients)
}
