//! Blobs into containerd's content store.

use super::ImportError;
use super::registry::in_cri_namespace;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::{Info, InfoRequest, UpdateRequest, WriteAction, WriteContentRequest};
use orlop_oci::archive::Blob;
use std::collections::HashMap;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;

/// Bytes a message. containerd takes up to 16 MiB; pieces this size keep the importer's memory low.
const PIECE_SIZE: usize = 512 * 1024;
/// Pieces read ahead of the socket.
const PIECES_AHEAD: usize = 2;

/// What is written: a part of the archive, or a document in memory.
pub(super) enum Content {
    Blob(Blob),
    Bytes(Vec<u8>),
}

impl Content {
    fn size(&self) -> u64 {
        match self {
            Content::Blob(blob) => blob.size(),
            Content::Bytes(bytes) => bytes.len() as u64,
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        match self {
            Content::Blob(blob) => blob.read_at(buffer, offset),
            Content::Bytes(bytes) => {
                let rest = usize::try_from(offset)
                    .ok()
                    .and_then(|offset| bytes.get(offset..))
                    .unwrap_or_default();
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
        }
    }
}

/// Stores one blob with its labels, unless it is there; then only the labels are added. containerd checks the digest.
pub(super) async fn put(
    channel: Channel,
    lease: &str,
    digest: &str,
    content: Content,
    labels: HashMap<String, String>,
) -> Result<(), ImportError> {
    let mut client = ContentClient::new(channel.clone());
    let known = client
        .info(in_cri_namespace(
            InfoRequest {
                digest: digest.to_owned(),
            },
            Some(lease),
        ))
        .await;
    match known {
        Ok(_) => return add_labels(channel, lease, digest, labels).await,
        Err(status) if status.code() == Code::NotFound => {}
        Err(status) => return Err(ImportError::containerd("looking for content", digest)(status)),
    }
    let size = i64::try_from(content.size()).unwrap_or(i64::MAX);
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let head = WriteContentRequest {
        // Unique, because a half-written piece of an importer that died would be continued otherwise.
        r#ref: format!("{lease}-{digest}"),
        total: size,
        expected: digest.to_owned(),
        ..WriteContentRequest::default()
    };
    let reader = tokio::task::spawn_blocking(move || send_pieces(&content, &head, labels, &sender));
    let outcome = write(&mut client, lease, receiver).await;
    let read = reader.await;
    match outcome {
        Ok(()) => {}
        Err(status) if status.code() == Code::AlreadyExists => {}
        Err(status) => {
            // The archive's own trouble explains more than the broken stream it led to.
            if let Ok(Err(error)) = read {
                return Err(orlop_oci::OciError::Tar(error).into());
            }
            return Err(ImportError::containerd("writing content", digest)(status));
        }
    }
    match read {
        Ok(Err(error)) => Err(orlop_oci::OciError::Tar(error).into()),
        _ => Ok(()),
    }
}

async fn write(
    client: &mut ContentClient<Channel>,
    lease: &str,
    pieces: mpsc::Receiver<WriteContentRequest>,
) -> Result<(), tonic::Status> {
    let mut answers = client
        .write(in_cri_namespace(ReceiverStream::new(pieces), Some(lease)))
        .await?
        .into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

/// Reads the content piece by piece. Ends early when nobody takes them any more.
fn send_pieces(
    content: &Content,
    head: &WriteContentRequest,
    labels: HashMap<String, String>,
    sender: &mpsc::Sender<WriteContentRequest>,
) -> std::io::Result<()> {
    let mut offset = 0;
    loop {
        let mut piece = vec![0; PIECE_SIZE];
        let count = content.read_at(&mut piece, offset)?;
        if count == 0 {
            break;
        }
        piece.truncate(count);
        let message = WriteContentRequest {
            action: WriteAction::Write as i32,
            offset: i64::try_from(offset).unwrap_or(i64::MAX),
            data: piece,
            ..head.clone()
        };
        if sender.blocking_send(message).is_err() {
            return Ok(());
        }
        offset += count as u64;
    }
    let _ = sender.blocking_send(WriteContentRequest {
        action: WriteAction::Commit as i32,
        offset: i64::try_from(offset).unwrap_or(i64::MAX),
        labels,
        ..head.clone()
    });
    Ok(())
}

/// Labels are what containerd's garbage collector follows from one piece of content to the next.
async fn add_labels(
    channel: Channel,
    lease: &str,
    digest: &str,
    labels: HashMap<String, String>,
) -> Result<(), ImportError> {
    if labels.is_empty() {
        return Ok(());
    }
    let mut update = UpdateRequest::default();
    update.update_mask.get_or_insert_default().paths =
        labels.keys().map(|label| format!("labels.{label}")).collect();
    update.info = Some(Info {
        digest: digest.to_owned(),
        labels,
        ..Info::default()
    });
    ContentClient::new(channel)
        .update(in_cri_namespace(update, Some(lease)))
        .await
        .map(drop)
        .map_err(ImportError::containerd("labelling content", digest))
}
