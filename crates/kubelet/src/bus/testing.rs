//! A message bus with a login manager on it, and a service manager without a bus, for tests.
use super::wire::{self, Kind, Target, Writer};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::collections::HashSet;
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

/// What the fake was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// Somebody delays shutdowns.
    Delay,
    /// Nobody does any more.
    Released,
}

/// The test's end of it.
pub struct FakeLogind {
    pub asked: mpsc::UnboundedReceiver<Asked>,
    going_down: mpsc::UnboundedSender<bool>,
}

impl FakeLogind {
    /// Serves one connection at `path`; `delay_max` is what it allows.
    pub fn start(path: &Path, delay_max: Duration) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (tell, asked) = mpsc::unbounded_channel();
        let (going_down, signals) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream, delay_max, tell, signals).await;
        });
        Self { asked, going_down }
    }

    /// The machine is going down, or not any more.
    pub fn say(&self, going_down: bool) {
        self.going_down.send(going_down).unwrap();
    }

    /// The bus goes.
    pub fn hang_up(&mut self) {
        self.going_down = mpsc::unbounded_channel().0;
    }
}

/// The service manager on its own socket.
pub struct FakeSystemd {
    /// The methods that were called, with the units.
    pub asked: mpsc::UnboundedReceiver<(String, String)>,
}

impl FakeSystemd {
    /// Serves one connection at `path`.
    pub fn start(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (tell, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (mut stream, mut bytes) = greet(stream).await;
            let mut units = HashSet::new();
            loop {
                while let Some((call, length)) = wire::parse(&bytes).unwrap() {
                    bytes.drain(..length);
                    let unit = call.body.text().unwrap();
                    let refused = call.member == "StartTransientUnit" && !units.insert(unit.clone());
                    let kind = if refused { Kind::Error } else { Kind::Return };
                    let to = Some(call.serial);
                    let reply = wire::message(kind, call.serial, to, Target::default(), "", 0, &[]);
                    stream.write_all(&reply).await.unwrap();
                    tell.send((call.member, unit)).unwrap();
                }
                let mut chunk = [0; 512];
                match stream.read(&mut chunk).await {
                    Ok(count) if count > 0 => bytes.extend_from_slice(&chunk[..count]),
                    _ => return,
                }
            }
        });
        Self { asked }
    }
}

/// Lets somebody in; the stream, and what came with the last line.
async fn greet(stream: UnixStream) -> (UnixStream, Vec<u8>) {
    let mut reader = BufReader::new(stream);
    for answer in ["OK 1234\r\n", "AGREE_UNIX_FD\r\n", ""] {
        let mut line = String::new();
        reader.read_line(&mut line).await.unwrap();
        reader.get_mut().write_all(answer.as_bytes()).await.unwrap();
    }
    let bytes = reader.buffer().to_vec();
    (reader.into_inner(), bytes)
}

async fn serve(
    stream: UnixStream,
    delay_max: Duration,
    tell: mpsc::UnboundedSender<Asked>,
    mut signals: mpsc::UnboundedReceiver<bool>,
) {
    let (mut stream, mut bytes) = greet(stream).await;
    let mut serial = 0;
    loop {
        while let Some((call, length)) = wire::parse(&bytes).unwrap() {
            bytes.drain(..length);
            serial += 1;
            answer(&mut stream, &call, serial, delay_max, &tell).await;
        }
        let mut chunk = [0; 512];
        tokio::select! {
            count = stream.read(&mut chunk) => match count {
                Ok(count) if count > 0 => bytes.extend_from_slice(&chunk[..count]),
                _ => return,
            },
            going_down = signals.recv() => {
                let Some(going_down) = going_down else { return };
                let target = Target {
                    path: "/org/freedesktop/login1",
                    interface: "org.freedesktop.login1.Manager",
                    member: "PrepareForShutdown",
                    ..Target::default()
                };
                serial += 1;
                let body = u32::from(going_down).to_le_bytes();
                let signal = wire::message(Kind::Signal, serial, None, target, "b", 0, &body);
                stream.write_all(&signal).await.unwrap();
            }
        }
    }
}

async fn answer(
    stream: &mut UnixStream,
    call: &wire::Message,
    serial: u32,
    delay_max: Duration,
    tell: &mpsc::UnboundedSender<Asked>,
) {
    let mut body = Writer::default();
    let (signature, fds) = match call.member.as_str() {
        "Hello" => {
            body.text(":1.7");
            ("s", 0)
        }
        "Get"
            if call
                .body
                .second_text()
                .is_ok_and(|name| name == "PreparingForShutdown") =>
        {
            body.signature("b");
            body.u32(0);
            ("v", 0)
        }
        "Get" => {
            body.signature("t");
            body.0.resize(8, 0);
            body.0
                .extend(u64::try_from(delay_max.as_micros()).unwrap().to_le_bytes());
            ("v", 0)
        }
        "Inhibit" => {
            body.u32(0);
            ("h", 1)
        }
        _ => ("", 0),
    };
    let reply = wire::message(
        Kind::Return,
        serial,
        Some(call.serial),
        Target::default(),
        signature,
        fds,
        &body.0,
    );
    if fds == 0 {
        return stream.write_all(&reply).await.unwrap();
    }
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let passed = [theirs.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
    sendmsg(
        stream.as_fd(),
        &[IoSlice::new(&reply)],
        &mut control,
        SendFlags::empty(),
    )
    .unwrap();
    drop(theirs);
    tell.send(Asked::Delay).unwrap();
    let tell = tell.clone();
    std::thread::spawn(move || {
        // Ends when the last copy of the other end is closed.
        let _ = ours.read(&mut [0]);
        let _ = tell.send(Asked::Released);
    });
}
