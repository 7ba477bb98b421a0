//! A registry of images on loopback that asks who is there. It has one image.
use crate::images;
use base64::Engine;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// Serves `busybox:debian` to those who know the password, until the test's process ends.
pub struct Registry {
    address: SocketAddr,
    content: Arc<Content>,
}

/// What connections are answered from.
struct Content {
    layout: TempDir,
    authorization: String,
}

impl Registry {
    /// Starts it, with an image like the example's busybox. It is one of its own: once it has been pulled with a secret, it
    /// is only for those who have that, under all of its names.
    pub fn start(user: &str, password: &str) -> Self {
        let layout = tempfile::tempdir().expect("a directory");
        let archive = archive_of("busybox");
        let status = Command::new("tar")
            .arg("-xf")
            .arg(&archive)
            .arg("-C")
            .arg(layout.path())
            .status()
            .expect("tar runs");
        assert!(status.success(), "tar -xf {}", archive.display());
        make_own(layout.path());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let secret = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let content = Arc::new(Content {
            layout,
            authorization: format!("Basic {secret}"),
        });
        let served = content.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let content = served.clone();
                std::thread::spawn(move || content.serve(stream));
            }
        });
        Self { address, content }
    }

    /// The digest of its image.
    pub fn digest(&self) -> String {
        self.content.tagged().expect("the image has a digest")
    }

    /// What image names begin with.
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

fn blob(layout: &Path, digest: &Value) -> PathBuf {
    let digest = digest.as_str().and_then(|digest| digest.strip_prefix("sha256:"));
    layout.join("blobs/sha256").join(digest.expect("a digest"))
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file of the image")).expect("JSON")
}

/// Gives the image of a layout another configuration, and so another identity.
fn make_own(layout: &Path) {
    let path = layout.join("index.json");
    let mut index = read(&path);
    let described = &mut index["manifests"][0];
    let mut manifest = read(&blob(layout, &described["digest"]));
    let mut config = read(&blob(layout, &manifest["config"]["digest"]));
    config["author"] = json!("somebody");
    put(layout, &config, &mut manifest["config"]);
    put(layout, &manifest, described);
    std::fs::write(path, index.to_string()).expect("the index is written");
}

/// Adds a blob, and has a descriptor name it.
fn put(layout: &Path, content: &Value, descriptor: &mut Value) {
    let new = layout.join("new");
    let content = content.to_string();
    std::fs::write(&new, &content).expect("a blob is written");
    let summed = Command::new("sha256sum")
        .arg(&new)
        .output()
        .expect("sha256sum runs");
    let sum = String::from_utf8(summed.stdout).expect("text");
    let sum = sum.split_whitespace().next().expect("a sum");
    descriptor["digest"] = json!(format!("sha256:{sum}"));
    descriptor["size"] = json!(content.len());
    std::fs::rename(new, blob(layout, &descriptor["digest"])).expect("a blob has its name");
}

/// The archive whose name has this word in it.
fn archive_of(word: &str) -> PathBuf {
    let archives = std::fs::read_dir(images()).expect("the images").flatten();
    archives
        .map(|entry| entry.path())
        .find(|path| path.display().to_string().contains(word))
        .expect("an archive of that image")
}

impl Content {
    /// One request a connection.
    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                break;
            }
            head.push(line.trim_end().to_owned());
        }
        let request = head.first().cloned().unwrap_or_default();
        let mut words = request.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is_known = head.iter().any(|line| {
            line.split_once(": ").is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("authorization") && value == self.authorization
            })
        });
        let (status, headers, body) = match () {
            () if !is_known => (
                "401 Unauthorized",
                "WWW-Authenticate: Basic realm=\"test\"\r\n".to_owned(),
                Vec::new(),
            ),
            () if path == "/v2/" => ("200 OK", String::new(), b"{}".to_vec()),
            () => match self.object(path) {
                Some((kind, body)) => ("200 OK", kind, body),
                None => ("404 Not Found", String::new(), Vec::new()),
            },
        };
        let length = body.len();
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        if method == "GET" {
            let _ = stream.write_all(&body);
        }
    }

    /// The digest of what the tag stands for.
    fn tagged(&self) -> Option<String> {
        let index = std::fs::read(self.layout.path().join("index.json")).ok()?;
        let index: serde_json::Value = serde_json::from_slice(&index).ok()?;
        index["manifests"][0]["digest"].as_str().map(str::to_owned)
    }

    /// A manifest by tag or digest, or a blob.
    fn object(&self, path: &str) -> Option<(String, Vec<u8>)> {
        let tagged = self.tagged()?;
        let (kind, reference) = path.rsplit_once('/')?;
        let digest = if reference.starts_with("sha256:") {
            reference
        } else {
            &tagged
        };
        let blob = Path::new("blobs/sha256").join(digest.strip_prefix("sha256:")?);
        let body = std::fs::read(self.layout.path().join(blob)).ok()?;
        let media_type = if kind.ends_with("/manifests") {
            let manifest: serde_json::Value = serde_json::from_slice(&body).ok()?;
            manifest["mediaType"]
                .as_str()
                .unwrap_or("application/vnd.oci.image.manifest.v1+json")
                .to_owned()
        } else {
            "application/octet-stream".to_owned()
        };
        Some((
            format!("Content-Type: {media_type}\r\nDocker-Content-Digest: {digest}\r\n"),
            body,
        ))
    }
}
