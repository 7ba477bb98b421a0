//! A connection to the system's message bus (D-Bus): calls with their answers, and signals.
mod wire;

pub use wire::{Arg, Body, Value};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use wire::{Kind, Malformed, Message, Target};

/// Where the bus is unless the environment says otherwise.
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
/// An answer must come within this time.
const ANSWER_MAX: Duration = Duration::from_secs(25);
/// Read at a time.
const READ_BYTES: usize = 4096;
/// Descriptors that can come with one read.
const FDS_MAX: usize = 4;
/// Lines of the greeting are short.
const LINE_BYTES_MAX: usize = 1024;

/// Why the bus is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("cannot reach the system's message bus at {}: {source}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("the system's message bus: {0}")]
    Io(#[from] io::Error),
    #[error("the system's message bus does not let this process in: {0}")]
    Refused(String),
    #[error("the system's message bus sent what cannot be read: {0}")]
    Malformed(&'static str),
    #[error("{member}: {reason}")]
    Call { member: String, reason: String },
    #[error("{0} was not answered")]
    Silence(String),
}

impl From<Malformed> for BusError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed.0)
    }
}

/// The answer to a call.
pub struct Answer {
    pub body: Body,
    pub fds: Vec<OwnedFd>,
}

/// A signal that came.
pub struct Signal {
    pub interface: String,
    pub member: String,
    pub body: Body,
}

/// The connection.
pub struct Bus {
    stream: UnixStream,
    serial: u32,
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
    /// Came while an answer was waited for.
    signals: VecDeque<Signal>,
}

/// The socket of the system bus.
pub fn system_bus() -> PathBuf {
    let given = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_default();
    let path = given
        .strip_prefix("unix:path=")
        .and_then(|rest| rest.split([',', ';']).next());
    PathBuf::from(path.unwrap_or(SYSTEM_BUS))
}

impl Bus {
    /// Connects as the user of this process.
    pub async fn connect(path: &Path) -> Result<Self, BusError> {
        let mut bus = Self::connect_directly(path).await?;
        let own = "org.freedesktop.DBus";
        bus.call(own, "/org/freedesktop/DBus", own, "Hello", &[]).await?;
        Ok(bus)
    }

    /// Connects to somebody who speaks the bus' language on a socket of its own.
    pub async fn connect_directly(path: &Path) -> Result<Self, BusError> {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| BusError::Connect {
                path: path.to_owned(),
                source,
            })?;
        let mut bus = Self {
            stream,
            serial: 0,
            bytes: Vec::new(),
            fds: VecDeque::new(),
            signals: VecDeque::new(),
        };
        let greeting = bus.greet();
        tokio::time::timeout(ANSWER_MAX, greeting)
            .await
            .map_err(|_| BusError::Silence("the greeting".into()))??;
        Ok(bus)
    }

    async fn greet(&mut self) -> Result<(), BusError> {
        let user: String = rustix::process::getuid()
            .as_raw()
            .to_string()
            .bytes()
            .map(|digit| format!("{digit:02x}"))
            .collect();
        for (said, wanted) in [
            (format!("\0AUTH EXTERNAL {user}\r\n"), "OK"),
            ("NEGOTIATE_UNIX_FD\r\n".to_owned(), "AGREE_UNIX_FD"),
        ] {
            self.stream.write_all(said.as_bytes()).await?;
            let answer = self.line().await?;
            if !answer.starts_with(wanted) {
                return Err(BusError::Refused(answer));
            }
        }
        Ok(self.stream.write_all(b"BEGIN\r\n").await?)
    }

    async fn line(&mut self) -> Result<String, BusError> {
        loop {
            if let Some(end) = self.bytes.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8_lossy(&self.bytes[..end]).into_owned();
                self.bytes.drain(..end + 2);
                return Ok(line);
            }
            if self.bytes.len() > LINE_BYTES_MAX {
                return Err(BusError::Malformed("a line without an end"));
            }
            self.read().await?;
        }
    }

    /// Calls a method and waits for its answer.
    pub async fn call(
        &mut self,
        destination: &str,
        path: &str,
        interface: &str,
        member: &str,
        arguments: &[Arg<'_>],
    ) -> Result<Answer, BusError> {
        self.serial += 1;
        let serial = self.serial;
        let target = Target {
            destination,
            path,
            interface,
            member,
        };
        self.stream
            .write_all(&wire::call(serial, target, arguments))
            .await?;
        let answer = async {
            loop {
                let (message, fds) = self.message().await?;
                match message.kind {
                    Kind::Return if message.reply_to == serial => {
                        let body = message.body;
                        return Ok(Answer { body, fds });
                    }
                    Kind::Error if message.reply_to == serial => {
                        let reason = message.body.text().unwrap_or_else(|_| "refused".into());
                        let member = member.to_owned();
                        return Err(BusError::Call { member, reason });
                    }
                    Kind::Signal => self.signals.push_back(signal(message)),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(ANSWER_MAX, answer)
            .await
            .unwrap_or_else(|_| Err(BusError::Silence(member.to_owned())))
    }

    /// Asks for signals that match a rule.
    pub async fn listen(&mut self, rule: &str) -> Result<(), BusError> {
        let own = "org.freedesktop.DBus";
        let arguments = [Arg::Text(rule)];
        self.call(own, "/org/freedesktop/DBus", own, "AddMatch", &arguments)
            .await?;
        Ok(())
    }

    /// The next signal. Dropping the future loses nothing.
    pub async fn next_signal(&mut self) -> Result<Signal, BusError> {
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return Ok(signal);
            }
            let (message, _) = self.message().await?;
            if message.kind == Kind::Signal {
                return Ok(signal(message));
            }
        }
    }

    async fn message(&mut self) -> Result<(Message, Vec<OwnedFd>), BusError> {
        loop {
            if let Some((message, length)) = wire::parse(&self.bytes)? {
                self.bytes.drain(..length);
                let count = message.fds.min(self.fds.len());
                return Ok((message, self.fds.drain(..count).collect()));
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), BusError> {
        let mut chunk = [0; READ_BYTES];
        let (count, mut fds) = self
            .stream
            .async_io(Interest::READABLE, || receive(&self.stream, &mut chunk))
            .await?;
        if count == 0 {
            return Err(BusError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        self.bytes.extend_from_slice(&chunk[..count]);
        self.fds.append(&mut fds);
        Ok(())
    }
}

fn signal(message: Message) -> Signal {
    Signal {
        interface: message.interface,
        member: message.member,
        body: message.body,
    }
}

fn receive(stream: &UnixStream, chunk: &mut [u8]) -> io::Result<(usize, VecDeque<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(chunk)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut fds = VecDeque::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok((received.bytes, fds))
}

#[cfg(test)]
pub mod testing;
