//! The bridge that joins the machines, and the way to their API from outside.
use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The bridge's interface.
pub const BRIDGE: &str = "lab0";
/// How long a master that does not answer is waited for.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// What is copied at once.
const BUFFER_BYTES: usize = 32 * 1024;

/// Makes a network of its own with the bridge in it, says `ready`, and forwards connections, for ever: those to `outside`
/// (of the host, taken before) and those to `inside` (of the bridge).
pub fn run(
    outside: Option<SocketAddr>,
    gateway: &str,
    inside: SocketAddr,
    masters: Vec<SocketAddr>,
) -> Result<()> {
    let outside = match outside {
        Some(address) => {
            Some(TcpListener::bind(address).with_context(|| format!("listening on {address} of the host"))?)
        }
        None => None,
    };
    // Sockets that are open stay in the network they were made in; new ones are in the new one.
    unshare(CloneFlags::CLONE_NEWNET).context("making a network")?;
    for words in [
        "link set lo up".to_owned(),
        format!("link add name {BRIDGE} type bridge"),
        format!("addr add {gateway} dev {BRIDGE}"),
        format!("link set {BRIDGE} up"),
    ] {
        ip(&words)?;
    }
    let masters = Arc::new(Masters {
        addresses: masters,
        last: AtomicUsize::new(0),
    });
    let inside = TcpListener::bind(inside).with_context(|| format!("listening on {inside} of the bridge"))?;
    let mut threads = vec![forward(inside, masters.clone())];
    threads.extend(outside.map(|listener| forward(listener, masters)));
    println!("ready");
    std::io::stdout().flush()?;
    for thread in threads {
        let _ = thread.join();
    }
    Ok(())
}

fn ip(words: &str) -> Result<()> {
    let output = Command::new("ip")
        .args(words.split_whitespace())
        .output()
        .context("ip")?;
    anyhow::ensure!(
        output.status.success(),
        "ip {words}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

struct Masters {
    addresses: Vec<SocketAddr>,
    /// The one that answered last.
    last: AtomicUsize,
}

impl Masters {
    /// A connection to the first that answers, beginning with the one that did last.
    fn connect(&self) -> Option<TcpStream> {
        let count = self.addresses.len();
        let first = self.last.load(Ordering::Relaxed);
        (0..count).map(|step| (first + step) % count).find_map(|index| {
            let stream = TcpStream::connect_timeout(&self.addresses[index], CONNECT_TIMEOUT).ok()?;
            self.last.store(index, Ordering::Relaxed);
            Some(stream)
        })
    }
}

fn forward(listener: TcpListener, masters: Arc<Masters>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let masters = masters.clone();
            std::thread::spawn(move || {
                if let Some(server) = masters.connect() {
                    join(client, server);
                }
            });
        }
    })
}

/// Copies both ways until both have ended.
fn join(client: TcpStream, server: TcpStream) {
    let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let up = std::thread::spawn(move || copy(from_client, server));
    copy(from_server, client);
    let _ = up.join();
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    use std::io::Read;
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
    let _ = from.shutdown(std::net::Shutdown::Read);
}
