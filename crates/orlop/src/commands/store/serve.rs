//! `orlop store serve`: the store in etcd's protocol.
use super::directory;
use crate::cli::ServeArgs;
use crate::commands::etcd::{Serving, serve as serve_member};
use anyhow::Result;
use orlop_etcd::{Member, REQUEST_BYTES_MAX};

pub async fn serve(arguments: ServeArgs) -> Result<()> {
    serve_member(Serving {
        directory: directory(&arguments.store)?,
        member: Member {
            name: "default".to_owned(),
            client_urls: arguments.listen.clone(),
            peer_urls: Vec::new(),
        },
        listen: arguments.listen,
        tls: arguments.tls,
        request_bytes_max: REQUEST_BYTES_MAX,
    })
    .await
}
