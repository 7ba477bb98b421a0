use super::*;
use crate::spdy::data_header;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio_tungstenite::tungstenite::protocol::Role;

const BUFFER: usize = 1024 * 1024;

struct Conversed {
    client: WebSocketStream<DuplexStream>,
    runtime: DuplexStream,
    ends: tokio::task::JoinHandle<Result<(), SpdyError>>,
}

/// A client and a runtime's side of one conversation; the streams are open.
async fn converse(version: &str, streams: Streams) -> Conversed {
    let (here, there) = tokio::io::duplex(BUFFER);
    let (backend, mut runtime) = tokio::io::duplex(BUFFER);
    let server = WebSocketStream::from_raw_socket(there, Role::Server, None).await;
    let version = Subprotocol::named(version).unwrap();
    let ends = tokio::spawn(command(server, version, backend, streams));
    let client = WebSocketStream::from_raw_socket(here, Role::Client, None).await;
    for (_, name) in streams.channels() {
        let mut header = [0; 8];
        runtime.read_exact(&mut header).await.unwrap();
        let mut payload = vec![0; usize::from(header[7])];
        runtime.read_exact(&mut payload).await.unwrap();
        assert!(
            payload.windows(name.len()).any(|part| part == name.as_bytes()),
            "{name}"
        );
    }
    Conversed {
        client,
        runtime,
        ends,
    }
}

async fn speak(runtime: &mut DuplexStream, stream: StreamId, text: &str, last: bool) {
    runtime
        .write_all(&data_header(stream, text.len(), last))
        .await
        .unwrap();
    runtime.write_all(text.as_bytes()).await.unwrap();
}

/// Messages until the close, as channel and text.
async fn messages(client: &mut WebSocketStream<DuplexStream>) -> Vec<(u8, String)> {
    let mut all = Vec::new();
    while let Some(Ok(message)) = client.next().await {
        match message {
            Message::Binary(bytes) => {
                all.push((bytes[0], String::from_utf8_lossy(&bytes[1..]).into_owned()));
            }
            Message::Close(frame) => {
                assert_eq!(frame.unwrap().code, CloseCode::Normal);
                break;
            }
            _ => {}
        }
    }
    all
}

const ALL: Streams = Streams {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

fn pairs(expected: &[(u8, &str)]) -> Vec<(u8, String)> {
    expected
        .iter()
        .map(|(c, text)| (*c, (*text).to_owned()))
        .collect()
}

#[tokio::test]
async fn o15_output_and_exit_status_reach_the_client_then_it_is_closed() {
    let Conversed {
        mut client,
        mut runtime,
        ends,
    } = converse("v5.channel.k8s.io", ALL).await;
    speak(&mut runtime, 5, "out", false).await;
    speak(&mut runtime, 7, "err", true).await;
    speak(&mut runtime, 1, "{\"status\":", false).await;
    speak(&mut runtime, 1, "\"Success\"}", true).await;
    let expected = [(1, ""), (1, "out"), (2, "err"), (3, "{\"status\":\"Success\"}")];
    assert_eq!(messages(&mut client).await, pairs(&expected));
    drop(client);
    ends.await.unwrap().unwrap();
}

#[tokio::test]
async fn o15_stdin_is_cut_into_frames_and_closed_on_the_clients_word() {
    let Conversed {
        mut client,
        mut runtime,
        ends,
    } = converse("v5.channel.k8s.io", ALL).await;
    let mut message = vec![0];
    message.resize(1 + spdy::DATA_BYTES_MAX + 2, b'x');
    client.send(Message::Binary(message.into())).await.unwrap();
    client.send(Message::Binary(vec![255, 0].into())).await.unwrap();
    let mut reader = Reader::new(&mut runtime);
    let mut seen = Vec::new();
    for _ in 0..3 {
        match reader.next().await.unwrap().unwrap() {
            Heard::Data(3, bytes, last) => seen.push((bytes.len(), last)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, [(spdy::DATA_BYTES_MAX, false), (2, false), (0, true)]);
    drop(client);
    ends.await.unwrap().unwrap();
    assert_eq!(
        reader.next().await.unwrap(),
        None,
        "a client that goes takes the connection with it"
    );
}

#[tokio::test]
async fn o19_terminals_have_sizes_and_one_output() {
    let streams = Streams { tty: true, ..ALL };
    let Conversed {
        mut client,
        mut runtime,
        ..
    } = converse("v4.channel.k8s.io", streams).await;
    client
        .send(Message::Binary(b"\x04{}".to_vec().into()))
        .await
        .unwrap();
    let mut reader = Reader::new(&mut runtime);
    let heard = reader.next().await.unwrap();
    assert_eq!(heard, Some(Heard::Data(7, Bytes::from_static(b"{}"), false)));
}

#[tokio::test]
async fn a_runtime_that_goes_silently_is_an_internal_error() {
    let Conversed {
        mut client, runtime, ..
    } = converse("v4.channel.k8s.io", ALL).await;
    drop(runtime);
    let all = messages(&mut client).await;
    let status: serde_json::Value = serde_json::from_str(&all[1].1).unwrap();
    assert_eq!((all[1].0, &status["reason"]), (3, &"InternalError".into()));
}

#[tokio::test]
async fn pings_of_the_runtime_are_answered() {
    let Conversed {
        client: _client,
        mut runtime,
        ..
    } = converse("v4.channel.k8s.io", ALL).await;
    runtime.write_all(&spdy::pong(2)).await.unwrap();
    let mut answer = [0; 12];
    runtime.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[..], spdy::pong(2)[..]);
}
