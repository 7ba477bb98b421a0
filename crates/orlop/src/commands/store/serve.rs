//! `orlop store serve`: the store in etcd's protocol.
use super::directory;
use crate::cli::{Retention, ServeArgs};
use crate::commands::etcd::{Serving, serve as serve_member};
use anyhow::Result;
use orlop_etcd::{CLUSTER_TOKEN, Limits, Member, QUOTA_BYTES};

pub async fn serve(arguments: ServeArgs) -> Result<()> {
    serve_member(Serving {
        directory: directory(&arguments.store)?,
        member: Member {
            client_urls: arguments.listen.clone(),
            ..Member::named("default")
        },
        listen: arguments.listen,
        listen_metrics: Vec::new(),
        tls: arguments.tls,
        cluster_token: CLUSTER_TOKEN.to_owned(),
        limits: Limits {
            quota_bytes: Some(QUOTA_BYTES),
            ..Limits::default()
        },
        retention: Retention::All,
        syncs: true,
    })
    .await
}
