//! Watches of the face, by a client of etcd: many on one stream, resumed, filtered, given up.
#![allow(clippy::unwrap_used)]
mod servers;

use etcd_client::{
    Client, DeleteOptions, EventType, WatchClient, WatchFilterType, WatchOptions, WatchResponse, WatchStream,
};
use servers::{Face, Server};
use std::time::Duration;

/// Nothing a test waits for takes this long unless it never comes.
const NEVER: Duration = Duration::from_secs(30);

async fn client(face: &Face) -> Client {
    Client::connect([face.url()], None).await.unwrap()
}

async fn open(client: &mut WatchClient, key: &str, options: WatchOptions) -> (i64, WatchStream) {
    let mut stream = client.watch(key, Some(options)).await.unwrap();
    let created = next(&mut stream).await;
    assert!(created.created());
    (created.watch_id(), stream)
}

async fn next(stream: &mut WatchStream) -> WatchResponse {
    tokio::time::timeout(NEVER, stream.message())
        .await
        .expect("the watch says nothing")
        .unwrap()
        .expect("the stream has ended")
}

fn described(response: &WatchResponse) -> Vec<String> {
    let one = |event: &etcd_client::Event| {
        let kv = event.kv().unwrap();
        let sign = match event.event_type() {
            EventType::Put => '+',
            EventType::Delete => '-',
        };
        format!(
            "{}{sign}{}={}",
            response.watch_id(),
            kv.key_str().unwrap(),
            kv.value_str().unwrap()
        )
    };
    response.events().iter().map(one).collect()
}

#[test]
fn watches_on_one_stream_have_ids_and_end_apart() {
    let face = Face::start();
    face.block_on(async {
        let mut client = client(&face).await;
        let (first, mut stream) = open(&mut client.watch_client(), "a", WatchOptions::new()).await;
        let second = WatchOptions::new().with_prefix().with_watch_id(7);
        stream.watch("b", Some(second)).await.unwrap();
        assert_eq!(next(&mut stream).await.watch_id(), 7);
        stream
            .watch("c", Some(WatchOptions::new().with_watch_id(7)))
            .await
            .unwrap();
        let refused = next(&mut stream).await;
        assert!(refused.created() && refused.canceled(), "{refused:?}");
        client.put("a", "1", None).await.unwrap();
        assert_eq!(described(&next(&mut stream).await), [format!("{first}+a=1")]);
        client.put("bb", "2", None).await.unwrap();
        assert_eq!(described(&next(&mut stream).await), ["7+bb=2"]);
        stream.cancel(7).await.unwrap();
        let canceled = next(&mut stream).await;
        assert!(canceled.canceled() && canceled.watch_id() == 7, "{canceled:?}");
        client.put("bb", "3", None).await.unwrap();
        client.put("a", "4", None).await.unwrap();
        assert_eq!(described(&next(&mut stream).await), [format!("{first}+a=4")]);
    });
}

#[test]
fn filters_and_previous_values_are_as_asked() {
    let face = Face::start();
    face.block_on(async {
        let mut client = client(&face).await;
        let only_deletes = WatchOptions::new()
            .with_prev_key()
            .with_filters([WatchFilterType::NoPut]);
        let (id, mut stream) = open(&mut client.watch_client(), "a", only_deletes).await;
        client.put("a", "1", None).await.unwrap();
        client.delete("a", None::<DeleteOptions>).await.unwrap();
        let response = next(&mut stream).await;
        assert_eq!(described(&response), [format!("{id}-a=")]);
        assert_eq!(response.events()[0].prev_kv().unwrap().value(), b"1");
    });
}

#[test]
fn a_watch_from_before_compaction_is_given_up_with_the_revision() {
    let face = Face::start();
    face.block_on(async {
        let mut client = client(&face).await;
        for value in ["1", "2", "3"] {
            client.put("a", value, None).await.unwrap();
        }
        client.compact(4, None).await.unwrap();
        let old = WatchOptions::new().with_start_revision(2);
        let (_, mut stream) = open(&mut client.watch_client(), "a", old).await;
        let end = next(&mut stream).await;
        assert!(end.canceled());
        assert_eq!(end.compact_revision(), 4);
    });
}

/// What consistent reads from a cache rest on: the answer comes after everything up to its revision.
#[test]
fn asked_for_progress_the_stream_tells_it_after_all_events() {
    let face = Face::start();
    face.block_on(async {
        let mut client = client(&face).await;
        let (_, mut stream) = open(&mut client.watch_client(), "a", WatchOptions::new().with_prefix()).await;
        for round in 0..50 {
            client.put("a", "1", None).await.unwrap();
            let other = client.put("z", "1", None).await.unwrap();
            let revision = other.header().unwrap().revision();
            stream.request_progress().await.unwrap();
            let first = next(&mut stream).await;
            assert_eq!(first.events().len(), 1, "round {round}");
            let progress = next(&mut stream).await;
            assert!(progress.events().is_empty());
            assert_eq!(progress.watch_id(), -1);
            assert!(progress.header().unwrap().revision() >= revision);
        }
    });
}

/// A watch that is told of is cancelled while its client takes nothing.
#[test]
fn a_cancelled_watch_is_silent_and_its_id_may_be_anothers() {
    let face = Face::start();
    face.block_on(async {
        let mut watching = client(&face).await;
        // On a connection of its own: that one's is full before long.
        let mut writing = client(&face).await;
        let large = "x".repeat(10_000);
        let named = || WatchOptions::new().with_watch_id(7);
        let mut stream = watching.watch("a", Some(named())).await.unwrap();
        assert!(next(&mut stream).await.created());
        for round in 0..6 {
            // More than may wait for the client, on the stream and before it.
            for _ in 0..150 {
                writing.put("a", large.as_str(), None).await.unwrap();
            }
            stream.cancel(7).await.unwrap();
            stream.watch("b", Some(named())).await.unwrap();
            while !next(&mut stream).await.canceled() {}
            assert!(next(&mut stream).await.created(), "round {round}");
            writing.put("b", "1", None).await.unwrap();
            assert_eq!(described(&next(&mut stream).await), ["7+b=1"], "round {round}");
            stream.cancel(7).await.unwrap();
            assert!(next(&mut stream).await.canceled(), "round {round}");
            stream.watch("a", Some(named())).await.unwrap();
            assert!(next(&mut stream).await.created(), "round {round}");
        }
    });
}
