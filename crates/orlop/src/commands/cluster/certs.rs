//! `orlop certs`: the certificates of a master.
use super::{administrator, init, layout, table, this_master};
use crate::cli::{AdminArgs, CertsArgs, CertsCommand, Output, RootArg};
use crate::paths::Root;
use anyhow::Result;
use jiff::Timestamp;
use orlop_cluster::expiration::{self, Ends};
use orlop_cluster::shared_certificates::CertificateKey;

pub async fn certs(arguments: CertsArgs) -> Result<()> {
    match arguments.command {
        CertsCommand::CheckExpiration { admin, output } => check(&admin, output).await,
        CertsCommand::Renew { root, which } => renew(&root, &which),
        CertsCommand::Upload {
            admin,
            certificate_key,
        } => upload(&admin, certificate_key).await,
        CertsCommand::CertificateKey => {
            println!("{}", CertificateKey::generate()?);
            Ok(())
        }
    }
}

/// Leaves what masters share in the cluster, and prints the key to it.
pub async fn upload(admin: &AdminArgs, key: Option<CertificateKey>) -> Result<()> {
    let root = Root::new(admin.root.root.as_deref())?;
    let client = administrator(admin).await?;
    let key = init::upload(&layout(&root), &client, key).await?;
    println!("[upload-certs] Using certificate key:\n{key}");
    Ok(())
}

async fn check(arguments: &AdminArgs, output: Output) -> Result<()> {
    let root = Root::new(arguments.root.root.as_deref())?;
    let node = this_master(&root)?;
    // Names and ends don't depend on what the cluster was made with, which may be out of reach.
    let cluster = orlop_cluster::config::ClusterConfig::new(orlop_api::KUBERNETES_VERSION);
    let (leaves, authorities) = expiration::check(&layout(&root), &cluster, &node)?;
    let now = Timestamp::now();
    if output == Output::Json {
        println!("{:#}", expiration::described(&leaves, &authorities, now));
        return Ok(());
    }
    let date = |ends: &Ends| ends.expires.strftime("%b %d, %Y %H:%M UTC").to_string();
    let mut rows =
        vec![["CERTIFICATE", "EXPIRES", "RESIDUAL TIME", "CERTIFICATE AUTHORITY"].map(str::to_owned)];
    rows.extend(leaves.iter().map(|ends| {
        [
            ends.name.clone(),
            date(ends),
            ends.residual(now),
            ends.authority.to_owned(),
        ]
    }));
    println!("{}", table(&rows));
    let mut rows = vec![["CERTIFICATE AUTHORITY", "EXPIRES", "RESIDUAL TIME"].map(str::to_owned)];
    rows.extend(
        authorities
            .iter()
            .map(|ends| [ends.name.clone(), date(ends), ends.residual(now)]),
    );
    print!("{}", table(&rows));
    Ok(())
}

fn renew(root: &RootArg, which: &str) -> Result<()> {
    let root = Root::new(root.root.as_deref())?;
    let node = this_master(&root)?;
    for name in expiration::renew(&layout(&root), &node, which)? {
        println!("certificate {name} renewed");
    }
    println!("Every part presents them on its next connections; none needs a restart.");
    Ok(())
}
