//! TLS 1.3 after its handshake, with one cipher: what a client cannot do without, in place and without copies.
use anyhow::{Context, Result, bail};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// Bytes that are read at once.
const READ_BYTES: usize = 256 * 1024;
/// Bytes that a record carries.
const RECORD_DATA_MAX: usize = 16 * 1024;
/// Type, version and length.
const HEADER_BYTES: usize = 5;
const TAG_BYTES: usize = 16;
/// The types of records' contents.
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

/// Both directions of a connection, and what has been read but not yet taken.
pub struct Records {
    sending: Direction,
    receiving: Direction,
    incoming: Vec<u8>,
    used: usize,
}

struct Direction {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Direction {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self> {
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
            bail!("the server has chosen another cipher than the one offered");
        };
        let key = UnboundKey::new(&AES_128_GCM, key.as_ref())
            .ok()
            .context("no key")?;
        Ok(Self {
            key: LessSafeKey::new(key),
            iv: iv.as_ref().try_into()?,
            sequence,
        })
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, of_sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= of_sequence;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

impl Records {
    /// Shakes hands.
    pub fn open(stream: &mut TcpStream, mut tls: UnbufferedClientConnection) -> Result<Self> {
        let (mut incoming, mut used) = (vec![0; READ_BYTES], 0);
        let mut outgoing = Vec::new();
        loop {
            let UnbufferedStatus { discard, state, .. } = tls.process_tls_records(&mut incoming[..used]);
            let (mut done, mut wanting) = (false, false);
            match state? {
                ConnectionState::EncodeTlsData(mut data) => {
                    let needed = match data.encode(&mut []) {
                        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                            required_size
                        }
                        Err(error) => return Err(error.into()),
                        Ok(written) => written,
                    };
                    let from = outgoing.len();
                    outgoing.resize(from + needed, 0);
                    data.encode(&mut outgoing[from..])?;
                }
                ConnectionState::TransmitTlsData(data) => {
                    stream.write_all(&outgoing)?;
                    outgoing.clear();
                    data.done();
                }
                ConnectionState::WriteTraffic(_) => done = true,
                ConnectionState::BlockedHandshake => wanting = true,
                other => bail!("the server does not shake hands: {other:?}"),
            }
            incoming.copy_within(discard..used, 0);
            used -= discard;
            if done {
                break;
            }
            if wanting {
                used += read(stream, &mut incoming[used..])?;
            }
        }
        let (secrets, _) = tls.dangerous_into_kernel_connection()?;
        Ok(Self {
            sending: Direction::new(secrets.tx)?,
            receiving: Direction::new(secrets.rx)?,
            incoming,
            used,
        })
    }

    /// Appends `data` in records.
    pub fn seal(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<()> {
        for data in data.chunks(RECORD_DATA_MAX) {
            let header = header(data.len() + 1 + TAG_BYTES)?;
            out.extend_from_slice(&header);
            let from = out.len();
            out.extend_from_slice(data);
            out.push(DATA);
            let nonce = self.sending.nonce();
            let sealed =
                self.sending
                    .key
                    .seal_in_place_separate_tag(nonce, Aad::from(header), &mut out[from..]);
            let tag = sealed.ok().context("a record cannot be encrypted")?;
            out.extend_from_slice(tag.as_ref());
        }
        Ok(())
    }

    /// Reads what has come, and gives `take` the data of each whole record until it says that it has all.
    pub fn receive(
        &mut self,
        stream: &mut TcpStream,
        mut take: impl FnMut(&[u8]) -> Result<bool>,
    ) -> Result<bool> {
        self.used += read(stream, &mut self.incoming[self.used..])?;
        let (mut at, mut done) = (0, false);
        while !done && self.used - at >= HEADER_BYTES {
            let header: [u8; HEADER_BYTES] = self.incoming[at..at + HEADER_BYTES].try_into()?;
            let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
            let behind = at + HEADER_BYTES + length;
            if behind > self.used {
                break;
            }
            let record = &mut self.incoming[at + HEADER_BYTES..behind];
            let nonce = self.receiving.nonce();
            let opened = self.receiving.key.open_in_place(nonce, Aad::from(header), record);
            let opened = opened.ok().context("a record cannot be decrypted")?;
            match opened.split_last() {
                Some((&DATA, data)) => done = take(data)?,
                // Tickets for a later connection.
                Some((&HANDSHAKE, _)) => {}
                _ => bail!("the server has ended the connection"),
            }
            at = behind;
        }
        self.incoming.copy_within(at..self.used, 0);
        self.used -= at;
        Ok(done)
    }
}

fn header(length: usize) -> Result<[u8; HEADER_BYTES]> {
    let [high, low] = u16::try_from(length)?.to_be_bytes();
    Ok([DATA, 3, 3, high, low])
}

fn read(stream: &mut TcpStream, into: &mut [u8]) -> Result<usize> {
    loop {
        match stream.read(into) {
            Ok(0) => bail!("the server has closed the connection"),
            Ok(read) => return Ok(read),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
