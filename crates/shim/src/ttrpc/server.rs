//! Connections and their calls, each call a task of its own on the one thread.

use super::frame::{Frame, REQUEST, RESPONSE};
use super::{Code, Refusal};
use crate::log;
use crate::proto::ttrpc::{Request, Response};
use prost::Message;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, watch};
use tokio::task::spawn_local;

/// Out of file descriptors, most likely: some have this long to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who answers.
pub trait Service: 'static {
    /// Carries a call out; its answer encoded.
    async fn call(&self, service: &str, method: &str, payload: &[u8]) -> Result<Vec<u8>, Refusal>;
    /// Calls that change nothing and end when the caller has gone. All others are carried out to their end.
    fn only_waits(&self, method: &str) -> bool;
    /// An answer went out.
    fn answered(&self);
}

/// Accepts connections for ever.
pub async fn serve<S: Service>(listener: UnixListener, service: Rc<S>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(spawn_local(connection(stream, service.clone()))),
            Err(error) => {
                log::warn(&format!("a connection can't be accepted: {error}"));
                // It would fail again at once, and keep the one thread from what ends connections.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<S: Service>(stream: UnixStream, service: Rc<S>) {
    let (mut from, to) = stream.into_split();
    let to = Rc::new(Mutex::new(to));
    // Dropped when the caller has gone.
    let (_open, is_open) = watch::channel(());
    loop {
        match Frame::read(&mut from).await {
            Ok(Some(frame)) if frame.kind == REQUEST => {
                spawn_local(call(frame, service.clone(), to.clone(), is_open.clone()));
            }
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(error) => return log::warn(&format!("a connection ends: {error}")),
        }
    }
}

async fn call<S: Service>(
    frame: Frame,
    service: Rc<S>,
    to: Rc<Mutex<OwnedWriteHalf>>,
    mut is_open: watch::Receiver<()>,
) {
    let Frame { stream, payload, .. } = frame;
    let outcome = match Request::decode(&*payload) {
        Err(error) => Err(Refusal::new(Code::InvalidArgument, error.to_string())),
        Ok(request) => {
            drop(payload);
            let answer = service.call(&request.service, &request.method, &request.payload);
            if service.only_waits(&request.method) {
                tokio::select! {
                    answer = answer => answer,
                    _ = is_open.changed() => return,
                }
            } else {
                answer.await
            }
        }
    };
    let response = match outcome {
        Ok(payload) => Response {
            status: None,
            payload,
        },
        Err(refusal) => Response {
            status: Some(refusal.into()),
            payload: Vec::new(),
        },
    };
    let frame = Frame {
        stream,
        kind: RESPONSE,
        payload: response.encode_to_vec(),
    };
    // The caller may have gone; what it asked for is done all the same.
    let _ = frame.write(&mut *to.lock().await).await;
    service.answered();
}
