//! One connection to a server of etcd's protocol: as little client as possible, since it shares the machine
//! with the server. Unary calls of one method, so many at a time, on the thread that calls.
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// What the server may send before it is told that we have read it: of a stream and of all.
const WINDOW: u32 = (1 << 31) - 1;
/// What a connection begins with.
const FIRST_WINDOW: u32 = 65_535;
/// The server learns this often that we have read.
const WINDOW_STEP: u32 = 1 << 28;
/// The setting for the window of a stream.
const INITIAL_WINDOW_SIZE: u16 = 4;

pub struct Wire {
    stream: TcpStream,
    path: &'static str,
    host: String,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    next_stream: u32,
    /// What we may send, of all streams.
    window: i64,
    read: u32,
    /// Bytes of the answers under way.
    answers: HashMap<u32, usize>,
    done: Vec<Call>,
}

/// A call that has its answer.
pub struct Call {
    pub stream: u32,
    /// Of the message.
    pub bytes: usize,
}

impl Wire {
    pub fn open(host: &str, path: &'static str) -> Result<Self> {
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        let mut wire = Self {
            stream,
            path,
            host: host.to_owned(),
            outgoing: PREFACE.to_vec(),
            incoming: Vec::new(),
            next_stream: 1,
            window: i64::from(FIRST_WINDOW),
            read: 0,
            answers: HashMap::new(),
            done: Vec::new(),
        };
        let mut settings = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
        settings.extend(WINDOW.to_be_bytes());
        wire.frame(SETTINGS, 0, 0, &settings);
        wire.frame(WINDOW_UPDATE, 0, 0, &(WINDOW - FIRST_WINDOW).to_be_bytes());
        wire.flush()?;
        Ok(wire)
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = (payload.len() as u32).to_be_bytes();
        self.outgoing.extend(&length[1..]);
        self.outgoing.extend([kind, flags]);
        self.outgoing.extend(stream.to_be_bytes());
        self.outgoing.extend(payload);
    }

    fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.outgoing)?;
        self.outgoing.clear();
        Ok(())
    }

    /// Puts a call with this message among those that go out next; answers its stream.
    pub fn call(&mut self, message: &[u8]) -> Result<u32> {
        let bytes = 5 + message.len();
        while self.window < bytes as i64 {
            self.receive()?;
        }
        self.window -= bytes as i64;
        let stream = self.next_stream;
        self.next_stream += 2;
        let block = self.header_block(stream == 1);
        self.frame(HEADERS, END_HEADERS, stream, &block);
        let mut data = vec![0];
        data.extend((message.len() as u32).to_be_bytes());
        data.extend(message);
        self.frame(DATA, END_STREAM, stream, &data);
        self.answers.insert(stream, 0);
        Ok(stream)
    }

    /// Once in full, from then on by its places in the table that both sides keep, as clients do.
    fn header_block(&self, is_first: bool) -> Vec<u8> {
        // POST, http.
        let mut block = vec![0x83, 0x86];
        if !is_first {
            block.extend([0xc1, 0xc0, 0xbf, 0xbe]);
            return block;
        }
        let mut literal = |name: &[u8], value: &str| {
            block.extend(name);
            block.push(value.len() as u8);
            block.extend(value.as_bytes());
        };
        // Path, authority, content type.
        literal(&[0x44], self.path);
        literal(&[0x41], &self.host);
        literal(&[0x5f], "application/grpc");
        literal(&[0x40, 2, b't', b'e'], "trailers");
        block
    }

    /// Sends what is to go out and waits until some calls have their answers.
    pub fn answered(&mut self) -> Result<Vec<Call>> {
        while self.done.is_empty() {
            self.receive()?;
        }
        Ok(std::mem::take(&mut self.done))
    }

    /// Sends, and reads once.
    fn receive(&mut self) -> Result<()> {
        self.flush()?;
        let mut chunk = [0; 64 << 10];
        let read = self.stream.read(&mut chunk)?;
        ensure!(read > 0, "the server has closed the connection");
        let mut incoming = std::mem::take(&mut self.incoming);
        incoming.extend(&chunk[..read]);
        let mut rest = incoming.as_slice();
        while let Some((header, behind)) = rest.split_first_chunk::<HEADER_BYTES>() {
            let [a, b, c, kind, flags, stream @ ..] = *header;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            let Some((payload, behind)) = behind.split_at_checked(length) else {
                break;
            };
            rest = behind;
            self.take(kind, flags, u32::from_be_bytes(stream), payload)?;
        }
        self.incoming = rest.to_vec();
        Ok(())
    }

    fn take(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
        match kind {
            DATA => {
                let bytes = self.answers.get_mut(&stream).context("data of no call")?;
                *bytes += payload.len();
                self.read += payload.len() as u32;
                if self.read >= WINDOW_STEP {
                    let read = std::mem::take(&mut self.read);
                    self.frame(WINDOW_UPDATE, 0, 0, &read.to_be_bytes());
                }
            }
            SETTINGS if flags & ACK == 0 => self.frame(SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => self.frame(PING, ACK, 0, payload),
            WINDOW_UPDATE if stream == 0 => {
                let more = payload.first_chunk().context("an update of nothing")?;
                self.window += i64::from(u32::from_be_bytes(*more));
            }
            RST_STREAM | GOAWAY => bail!("the server has given up a call"),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            let bytes = self.answers.remove(&stream).context("the end of no call")?;
            ensure!(bytes > 5, "a call was refused");
            self.done.push(Call { stream, bytes });
        }
        Ok(())
    }
}

/// A field of bytes in a message.
pub fn field(number: u8, bytes: &[u8], message: &mut Vec<u8>) {
    message.push(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        message.push(length as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend(bytes);
}
