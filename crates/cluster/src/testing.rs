//! For tests: an API server that answers what it is told to, a request a connection, and a master on no machine.
use crate::config::{ClusterConfig, NodeConfig};
use crate::control_plane::ControlPlane;
use crate::discovery;
use crate::given::Registration;
use crate::kubelet::MachineFacts;
use crate::layout::Layout;
use crate::patches::Patches;
use kube::Client;
use serde_json::Value;
use std::net::IpAddr;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A machine that is none.
pub fn node(name: &str) -> NodeConfig {
    NodeConfig {
        name: name.to_owned(),
        address: IpAddr::from([10, 0, 0, 1]),
        api_port: 6443,
    }
}

/// A master on no machine.
pub fn plane(cluster: ClusterConfig, root: &Path) -> ControlPlane {
    ControlPlane {
        layout: Layout::new(root),
        cluster,
        node: node("master-01"),
        machine: MachineFacts::default(),
        host_name: String::new(),
        registration: Registration::default(),
        ca_directories: Vec::new(),
        patches: Patches::default(),
    }
}

/// A client of an API server; `answer` gets method and path, and makes status and body.
pub async fn api(answer: impl Fn(&str, &str) -> (u16, Value) + Clone + Send + Sync + 'static) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(respond(stream, answer.clone()));
        }
    });
    discovery::client(&format!("http://{address}"), None, None).unwrap()
}

async fn respond(mut stream: TcpStream, answer: impl Fn(&str, &str) -> (u16, Value)) {
    let mut text = String::new();
    let mut piece = [0; 4096];
    while !is_whole(&text) {
        match stream.read(&mut piece).await {
            Ok(count) if count > 0 => text.push_str(&String::from_utf8_lossy(&piece[..count])),
            _ => return,
        }
    }
    let mut words = text.split_whitespace();
    let (code, body) = answer(words.next().unwrap(), words.next().unwrap());
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all((head + &body).as_bytes()).await;
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    length.map_or(0, |length| length.trim().parse().unwrap()) <= body.len()
}
