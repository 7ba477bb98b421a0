//! Bytes of clients, counted on their way past, as they are within TLS.
use crate::metrics::Counters;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::{InspectReader, InspectWriter};

/// A connection whose bytes are counted.
pub fn counted<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    counters: Arc<Counters>,
) -> impl AsyncRead + AsyncWrite + Unpin {
    let of_reads = counters.clone();
    let stream = InspectReader::new(stream, move |bytes| of_reads.received.add(bytes.len() as u64));
    InspectWriter::new(stream, move |bytes| counters.sent.add(bytes.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::IoSlice;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn bytes_are_counted_in_both_directions() {
        let counters = Arc::new(Counters::default());
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = counted(server, counters.clone());
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut asked = String::new();
        server.read_to_string(&mut asked).await.unwrap();
        server.write_all(b"yes").await.unwrap();
        let (one, two) = (IoSlice::new(b"a"), IoSlice::new(b"bc"));
        let written = server.write_vectored(&[one, two]).await.unwrap();
        assert_eq!(asked, "question");
        assert_eq!(counters.received.get(), 8);
        assert_eq!(counters.sent.get(), 3 + written as u64);
    }
}
