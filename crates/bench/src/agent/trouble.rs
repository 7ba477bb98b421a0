//! Static pods start as fast as ever while there is something wrong with the API server.
use super::ground::Ground;
use super::start::{Arena, once};
use crate::report;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// How long the slow server takes to say anything.
const SLOW: Duration = Duration::from_secs(30);
const REFUSAL: &str = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"slow down","reason":"TooManyRequests","code":429}"#;

/// A way for an API server to be of no use.
#[derive(Clone, Copy)]
enum Trouble {
    Absent,
    Slow,
    Refusing,
    HalfOpen,
}

impl Trouble {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Absent, "absent"),
        (Self::Slow, "answering after 30 s"),
        (Self::Refusing, "answering 429, Retry-After"),
        (Self::HalfOpen, "holding half-open connections"),
    ];

    /// A kubeconfig for a server in this trouble.
    async fn kubeconfig(self, ground: &Ground, healthy: u16) -> Result<PathBuf> {
        let (file, scheme, port) = match self {
            Self::Absent => ("absent.conf", "https", orlop_ports::free_port()),
            Self::Slow => ("slow.conf", "https", serve(move |to| slow(to, healthy)).await?),
            Self::Refusing => ("refusing.conf", "http", serve(refuse).await?),
            Self::HalfOpen => ("half-open.conf", "https", serve(hold).await?),
        };
        ground.kubeconfig(file, &format!("{scheme}://127.0.0.1:{port}"), Ground::node())
    }
}

/// Serves connections on a port, for as long as this process lives.
async fn serve<F: Future<Output = std::io::Result<()>> + Send + 'static>(
    each: impl Fn(TcpStream) -> F + Send + 'static,
) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(each(stream));
        }
    });
    Ok(port)
}

async fn slow(mut stream: TcpStream, healthy: u16) -> std::io::Result<()> {
    tokio::time::sleep(SLOW).await;
    let mut server = TcpStream::connect(("127.0.0.1", healthy)).await?;
    copy_bidirectional(&mut stream, &mut server).await.map(|_| ())
}

async fn refuse(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&piece[..read]);
        if request.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    let answer = format!(
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{REFUSAL}",
        REFUSAL.len()
    );
    stream.write_all(answer.as_bytes()).await
}

async fn hold(stream: TcpStream) -> std::io::Result<()> {
    std::future::pending::<()>().await;
    drop(stream);
    Ok(())
}

/// The time of one pod with an agent that has this API server: each with an agent of its own, which then goes.
async fn sample(ground: &Ground, arena: &Arena<'_>, kubeconfig: &Path, name: &str) -> Result<Duration> {
    let agent = ground.agent(Some(kubeconfig)).await?;
    let took = once(arena, name).await;
    drop(agent);
    ground.clear().await?;
    took
}

/// `rounds` in each trouble, in turn with a healthy server.
pub async fn measure(ground: &Ground, rounds: usize) -> Result<()> {
    let server = ground.api_server().await?;
    let manifests = ground.manifests();
    let arena = Arena::new(ground.remote(), &manifests)?;
    let mut troubled = Vec::new();
    for (trouble, what) in Trouble::ALL {
        troubled.push((what, trouble.kubeconfig(ground, server.port).await?, Vec::new()));
    }
    let mut healthy = Vec::new();
    for round in 0..rounds {
        healthy.push(sample(ground, &arena, &server.kubeconfig, &format!("h{round}")).await?);
        for (index, (_, kubeconfig, samples)) in troubled.iter_mut().enumerate() {
            samples.push(sample(ground, &arena, kubeconfig, &format!("x{index}{round}")).await?);
        }
    }
    for (what, _, samples) in &troubled {
        report::ratio(&format!("manifest -> runs, API {what}"), samples, &healthy, 1.1);
    }
    Ok(())
}
