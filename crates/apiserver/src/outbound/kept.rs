//! Connections that are kept for the next question, as upstream's client keeps them.
use super::{Outbound, OutboundError, Trust};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::client::TlsStream;

/// Idle connections that are kept to one server (upstream's limit).
const IDLE_MAX: usize = 25;
/// How long one is kept that is not used (upstream's limit).
const IDLE_TIME_MAX: Duration = Duration::from_secs(90);

type Connection = SendRequest<Full<Bytes>>;

/// Idle connections to one server, the one that was used last behind.
#[derive(Default)]
pub struct Kept(Mutex<Idle>);

#[derive(Default)]
struct Idle {
    connections: VecDeque<(Instant, Connection)>,
    /// Somebody closes those that are not used.
    watched: bool,
}

/// Why a request brought no answer.
enum Lost {
    /// The connection had ended, or ended before there was one.
    Connection(OutboundError),
    Answer(OutboundError),
}

impl Kept {
    /// Sends a request over a connection that is kept, or over what `connect` makes, and reads the answer.
    pub async fn exchange(
        self: &Arc<Self>,
        request: Request<Full<Bytes>>,
        answer_bytes_max: usize,
        connect: impl Future<Output = Result<TlsStream<TcpStream>, OutboundError>>,
    ) -> Result<Response<Bytes>, OutboundError> {
        loop {
            let Some(connection) = self.take() else { break };
            match self.over(connection, request.clone(), answer_bytes_max).await {
                Ok(answer) => return Ok(answer),
                Err(Lost::Answer(error)) => return Err(error),
                // It was ended by the other side, or is about to: another is worth a try.
                Err(Lost::Connection(_)) => {}
            }
        }
        let (connection, driven) = handshake(TokioIo::new(connect.await?)).await.map_err(failed)?;
        tokio::spawn(async move {
            if let Err(error) = driven.await {
                tracing::debug!(%error, "a connection to another server ended");
            }
        });
        let answer = self.over(connection, request, answer_bytes_max).await;
        answer.map_err(|lost| match lost {
            Lost::Connection(error) | Lost::Answer(error) => error,
        })
    }

    async fn over(
        self: &Arc<Self>,
        mut connection: Connection,
        request: Request<Full<Bytes>>,
        answer_bytes_max: usize,
    ) -> Result<Response<Bytes>, Lost> {
        // What may have been read is not asked twice.
        let lost = |error: hyper::Error| match error.is_canceled()
            || error.is_closed()
            || error.is_incomplete_message()
        {
            true => Lost::Connection(failed(error)),
            false => Lost::Answer(failed(error)),
        };
        // Right after an answer it is busy for a moment.
        connection.ready().await.map_err(lost)?;
        let answer = connection.send_request(request).await.map_err(lost)?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, answer_bytes_max).collect().await;
        let body = body.map_err(|error| Lost::Answer(OutboundError::Failed(error)))?;
        self.keep(connection);
        Ok(Response::from_parts(parts, body.to_bytes()))
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = self.0.lock();
        let connections = std::iter::from_fn(|| idle.connections.pop_back());
        connections
            .map(|(_, connection)| connection)
            .find(|connection| !connection.is_closed())
    }

    fn keep(self: &Arc<Self>, connection: Connection) {
        if connection.is_closed() {
            return;
        }
        let mut idle = self.0.lock();
        if idle.connections.len() >= IDLE_MAX {
            idle.connections.pop_front();
        }
        idle.connections.push_back((Instant::now(), connection));
        if !std::mem::replace(&mut idle.watched, true) {
            tokio::spawn(close_unused(Arc::downgrade(self)));
        }
    }

    /// Closes connections that have not been used for long, or have ended; when the next one is due, if there is one.
    fn close(&self, now: Instant) -> Option<Instant> {
        let mut idle = self.0.lock();
        idle.connections
            .retain(|(since, connection)| *since + IDLE_TIME_MAX > now && !connection.is_closed());
        let due = idle.connections.front().map(|(since, _)| *since + IDLE_TIME_MAX);
        idle.watched = due.is_some();
        due
    }
}

/// Ends when nothing is kept any more.
async fn close_unused(kept: Weak<Kept>) {
    while let Some(due) = kept.upgrade().and_then(|kept| kept.close(Instant::now())) {
        sleep_until(due).await;
    }
}

fn failed(error: hyper::Error) -> OutboundError {
    OutboundError::Failed(error.into())
}

/// The way to one server: how its certificate is judged, as whom one comes, and connections that are kept.
pub struct Way {
    to: Arc<To>,
    tls: OnceLock<Result<Outbound, String>>,
    pub kept: Arc<Kept>,
}

impl Way {
    fn new(to: Arc<To>) -> Self {
        Self {
            to,
            tls: OnceLock::new(),
            kept: Arc::default(),
        }
    }

    /// # Errors
    /// What of it is no authority, certificate or key.
    pub fn tls(&self) -> Result<&Outbound, String> {
        let tls = self.tls.get_or_init(|| self.to.tls().map_err(|e| e.to_string()));
        tls.as_ref().map_err(Clone::clone)
    }
}

/// What ways differ by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct To {
    /// Host, or name of a Service, and port.
    pub server: String,
    /// PEM; empty: the machine's own.
    pub authorities: String,
    /// Certificate and key to present, PEM.
    pub identity: Option<(String, String)>,
}

impl To {
    fn tls(&self) -> Result<Outbound, OutboundError> {
        let trust = match self.authorities.as_str() {
            "" => Trust::Machine,
            authorities => Trust::Authorities(authorities),
        };
        let identity = self.identity.as_ref();
        Outbound::new(
            trust,
            identity.map(|(certificate, key)| (certificate.as_str(), key.as_str())),
        )
    }
}

/// The ways that are used now. Those who go the same one share it, and what is made anew finds the way of its
/// predecessor.
#[derive(Default)]
pub struct Ways(Mutex<HashMap<Arc<To>, Weak<Way>>>);

impl Ways {
    pub fn to(&self, to: To) -> Arc<Way> {
        let mut ways = self.0.lock();
        if let Some(way) = ways.get(&to).and_then(Weak::upgrade) {
            return way;
        }
        ways.retain(|_, way| way.strong_count() > 0);
        let to = Arc::new(to);
        let way = Arc::new(Way::new(to.clone()));
        ways.insert(to, Arc::downgrade(&way));
        way
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    /// A connection, with the other side of it.
    async fn connection() -> (Connection, tokio::io::DuplexStream) {
        let (ours, theirs) = duplex(1024);
        let (sender, driven) = handshake(TokioIo::new(ours)).await.unwrap();
        tokio::spawn(driven);
        (sender, theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded_in_number_and_time() {
        let kept = Arc::new(Kept::default());
        let mut others = Vec::new();
        for _ in 0..IDLE_MAX + 2 {
            let (ours, theirs) = connection().await;
            kept.keep(ours);
            others.push(theirs);
        }
        let count = || kept.0.lock().connections.len();
        assert_eq!(count(), IDLE_MAX);
        tokio::time::sleep(IDLE_TIME_MAX / 2).await;
        let (ours, _theirs) = connection().await;
        kept.keep(ours);
        tokio::time::sleep(IDLE_TIME_MAX / 2 + Duration::from_secs(1)).await;
        assert_eq!(count(), 1, "the others were not used");
        tokio::time::sleep(IDLE_TIME_MAX / 2).await;
        assert_eq!(count(), 0);
        assert!(!kept.0.lock().watched, "nobody looks after nothing");
    }

    #[tokio::test]
    async fn who_goes_the_same_way_shares_it_and_each_identity_has_its_own() {
        let ways = Ways::default();
        let to = |server: &str, authorities: &str, identity: Option<&str>| To {
            server: server.to_owned(),
            authorities: authorities.to_owned(),
            identity: identity.map(|pem| (pem.to_owned(), pem.to_owned())),
        };
        let first = ways.to(to("a.svc:443", "CA", None));
        assert!(Arc::ptr_eq(&first, &ways.to(to("a.svc:443", "CA", None))));
        let others = [
            to("a.svc:444", "CA", None),
            to("a.svc:443", "CB", None),
            to("a.svc:443", "CA", Some("me")),
        ];
        for other in others {
            assert!(!Arc::ptr_eq(&first, &ways.to(other.clone())), "{other:?}");
        }
        drop(first);
        ways.to(to("b.svc:443", "CA", None));
        assert_eq!(ways.0.lock().len(), 1, "what nobody goes is forgotten");
    }
}
