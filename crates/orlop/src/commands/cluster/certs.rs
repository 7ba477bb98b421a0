//! `orlop certs`: the certificates of a master.
use super::settings::Settings;
use super::{administrator, documents, init, layout, table, this_master};
use crate::cli::{AdminArgs, CertsArgs, CertsCommand, ListOutput, RootArg};
use crate::paths::Root;
use anyhow::Result;
use jiff::Timestamp;
use orlop_cluster::certificates::Signer;
use orlop_cluster::expiration::{self, Ends};
use orlop_cluster::requests;
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
        CertsCommand::GenerateCsr {
            root,
            config,
            cert_dir,
            kubeconfig_dir,
        } => {
            let layout = layout(&Root::new(root.root.as_deref())?);
            let pki = cert_dir.unwrap_or_else(|| layout.pki());
            let directory = kubeconfig_dir.unwrap_or_else(|| layout.kubernetes());
            let Settings { cluster, node } = Settings::of(config.as_deref())?;
            for path in requests::generate(&cluster, &node, &pki, &directory)? {
                println!("[certs] Wrote {}", path.display());
            }
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

async fn check(arguments: &AdminArgs, output: ListOutput) -> Result<()> {
    let root = Root::new(arguments.root.root.as_deref())?;
    let node = this_master(&root)?;
    // Names and ends don't depend on what the cluster was made with, which may be out of reach.
    let cluster = orlop_cluster::config::ClusterConfig::new(orlop_api::KUBERNETES_VERSION);
    let (leaves, authorities) = expiration::check(&layout(&root), &cluster, &node)?;
    let missing = expiration::missing(&layout(&root), &cluster, &node)?;
    let now = Timestamp::now();
    let described = expiration::described(&leaves, &missing, &authorities, now);
    let text = documents(output, &[described])?;
    let for_people = || listing(&leaves, &missing, &authorities, now);
    print!("{}", text.unwrap_or_else(for_people));
    Ok(())
}

/// As kubeadm lists them.
fn listing(leaves: &[Ends], missing: &[String], authorities: &[Ends], now: Timestamp) -> String {
    let date = |ends: &Ends| ends.expires.strftime("%b %d, %Y %H:%M UTC").to_string();
    let external = |ends: &Ends| match ends.is_external {
        true => "yes".to_owned(),
        false => "no".to_owned(),
    };
    let row = |ends: &Ends| {
        [
            ends.name.clone(),
            date(ends),
            ends.residual(now),
            ends.authority.to_owned(),
            external(ends),
        ]
    };
    let mut rows: Vec<[String; 5]> = leaves.iter().map(row).collect();
    let nothing = String::new;
    let absent = |name: &String| [name.clone(), nothing(), nothing(), nothing(), nothing()];
    rows.extend(missing.iter().map(absent));
    rows.sort();
    for row in rows.iter_mut().filter(|row| row[1].is_empty()) {
        row[0] = format!("!MISSING! {}", row[0]);
    }
    let head = [
        "CERTIFICATE",
        "EXPIRES",
        "RESIDUAL TIME",
        "CERTIFICATE AUTHORITY",
        "EXTERNALLY MANAGED",
    ];
    rows.insert(0, head.map(str::to_owned));
    let mut of_authorities = vec![
        [
            "CERTIFICATE AUTHORITY",
            "EXPIRES",
            "RESIDUAL TIME",
            "EXTERNALLY MANAGED",
        ]
        .map(str::to_owned),
    ];
    of_authorities.extend(
        authorities
            .iter()
            .map(|ends| [ends.name.clone(), date(ends), ends.residual(now), external(ends)]),
    );
    format!("{}\n{}", table(&rows), table(&of_authorities))
}

fn renew(root: &RootArg, which: &str) -> Result<()> {
    let root = Root::new(root.root.as_deref())?;
    let node = this_master(&root)?;
    let renewed = expiration::renew(&layout(&root), &node, which)?;
    for name in &renewed {
        println!("certificate {name} renewed");
    }
    let elsewhere = Signer::ALL
        .into_iter()
        .filter(|signer| signer.is_external(&layout(&root)));
    for signer in elsewhere.filter(|_| which == "all") {
        println!(
            "certificates of the authority {} stay as they are: there is no {}",
            signer.label(),
            signer.key(&layout(&root)).display()
        );
    }
    if !renewed.is_empty() {
        println!("Every part presents them on its next connections; none needs a restart.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_listed_in_kubeadms_columns() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let ends = |name: &str, authority, is_external| Ends {
            name: name.to_owned(),
            expires: "2026-12-31T09:17:00Z".parse().unwrap(),
            authority,
            is_external,
        };
        let leaves = [ends("apiserver", "ca", false), ends("etcd-peer", "etcd-ca", true)];
        let authorities = [ends("ca", "", false), ends("etcd-ca", "", true)];
        let text = listing(&leaves, &["admin.conf".to_owned()], &authorities, now);
        assert_eq!(
            text,
            "CERTIFICATE            EXPIRES                  RESIDUAL TIME   CERTIFICATE AUTHORITY   EXTERNALLY MANAGED\n\
             !MISSING! admin.conf\n\
             apiserver              Dec 31, 2026 09:17 UTC   364d            ca                      no\n\
             etcd-peer              Dec 31, 2026 09:17 UTC   364d            etcd-ca                 yes\n\
             \n\
             CERTIFICATE AUTHORITY   EXPIRES                  RESIDUAL TIME   EXTERNALLY MANAGED\n\
             ca                      Dec 31, 2026 09:17 UTC   364d            no\n\
             etcd-ca                 Dec 31, 2026 09:17 UTC   364d            yes\n"
        );
    }
}
