//! Clients that ask too often whether the server is there, told the same as by a real etcd: frame by frame.
#![allow(clippy::unwrap_used)]
mod servers;

use servers::{Etcd, Face, Server};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// Nothing here takes as long.
const NEVER: Duration = Duration::from_secs(30);

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, 0], payload].concat()
}

/// The answers to pings, and what a client is told when it is sent away.
fn told(server: &dyn Server, pings: usize) -> Vec<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream.set_read_timeout(Some(NEVER)).unwrap();
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&frame(SETTINGS, 0, &[])).unwrap();
    let mut told = Vec::new();
    for number in 0..pings {
        stream.write_all(&frame(PING, 0, &[number as u8; 8])).unwrap();
        while let Some((kind, flags, payload)) = next(&mut stream) {
            match kind {
                PING if flags == 1 => {
                    told.push(format!("ping {}", payload[0]));
                    break;
                }
                GOAWAY => told.push(away(&payload)),
                _ => {}
            }
        }
    }
    // Where nothing more is to come, the connection stays as it is.
    if told.len() == pings && pings < 4 {
        return told;
    }
    while let Some((kind, _, payload)) = next(&mut stream) {
        if kind == GOAWAY {
            told.push(away(&payload));
        }
    }
    told.push("the end".to_owned());
    told
}

fn away(payload: &[u8]) -> String {
    let (numbers, reason) = payload.split_at(8);
    format!("away {numbers:?} {}", String::from_utf8_lossy(reason))
}

fn next(stream: &mut TcpStream) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).ok()?;
    Some((head[3], head[4], payload))
}

#[test]
fn who_pings_too_often_is_sent_away_as_by_etcd() {
    let (etcd, face) = (Etcd::start(), Face::start());
    for pings in [3, 4] {
        let expected = told(&etcd, pings);
        assert_eq!(told(&face, pings), expected, "{pings} pings");
        let last = expected.last().unwrap();
        assert_eq!(last, if pings == 3 { "ping 2" } else { "the end" });
    }
    assert!(told(&face, 4)[4].ends_with("too_many_pings"));
}
