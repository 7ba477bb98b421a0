//! `kill -9` of a real API server under load: its clients' watches and informers go on without a gap or a repeat, what
//! was answered is there, and nothing is ever seen half made.
//!
//! `make test` runs a few rounds; `make torture` sets `ORLOP_TORTURE=1` for all of them. A failure names its seeds;
//! `ORLOP_SEED=n` begins with that one.
mod check;
mod clients;
mod follow;
mod served;

use crate::process::Home;
use check::Log;
use clients::{CONFIGMAPS, CRDS, Clients, PODS};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const ROUNDS: u64 = 100;
/// What `make test` takes of them.
const SAMPLED_ROUNDS: u64 = 4;
const CLIENTS: usize = 6;
/// The load runs this long before the process is killed, in milliseconds.
const LOAD_MILLISECONDS: std::ops::Range<u64> = 100..600;
/// An informer that is behind has this long after the last restart.
const CONVERGED_MAX: Duration = Duration::from_secs(30);
/// What is followed, and where it is stored.
const FOLLOWED: [(&str, &str); 3] = [
    (CONFIGMAPS, "configmaps/default/"),
    (PODS, "pods/default/"),
    (CRDS, "apiextensions.k8s.io/customresourcedefinitions/"),
];

/// An informer asks again at once: the server is not away for long.
struct Soon;

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(20))
    }
}

impl kube::runtime::utils::Backoff for Soon {
    fn reset(&mut self) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_go_on_over_kill_9_without_gap_or_repeat_and_see_nothing_half_made() {
    let start = Instant::now();
    let is_whole = std::env::var_os("ORLOP_TORTURE").is_some();
    let seed = std::env::var("ORLOP_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let first: u64 = seed.unwrap_or(0);
    let rounds = if is_whole { ROUNDS } else { SAMPLED_ROUNDS };
    let told = format!("seeds {first}..{}", first + rounds);
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path());
    let stop = CancellationToken::new();
    let mut process = home.start().await;
    served::with_account(&home.client().await).await;
    let mut followers = Vec::new();
    for (path, prefix) in FOLLOWED {
        followers.push((prefix, follow::follow(home.client().await, path, stop.clone())));
    }
    let maps: Api<ConfigMap> = Api::default_namespaced(home.client().await);
    let (informed, writer) = reflector::store();
    let informer = watcher(maps.clone(), watcher::Config::default())
        .backoff(Soon)
        .reflect(writer);
    // Errors are what restarts look like from here.
    let informer = tokio::spawn(async move {
        let mut informer = std::pin::pin!(informer);
        while !matches!(informer.try_next().await, Ok(None)) {}
    });
    let mut answered = Vec::new();
    for seed in first..first + rounds {
        let mut random = StdRng::seed_from_u64(seed);
        let mut connections = Vec::new();
        for _ in 0..CLIENTS {
            connections.push(home.client().await);
        }
        let clients = Clients::start(connections, seed);
        tokio::time::sleep(Duration::from_millis(random.random_range(LOAD_MILLISECONDS))).await;
        process.kill();
        answered.extend(clients.stop().await);
        process = home.start().await;
        let client = home.client().await;
        served::whole(&client)
            .await
            .unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        if is_whole && seed % 20 == 19 {
            eprintln!("round {} of {rounds}: {} writes", seed + 1, answered.len());
        }
    }
    let listed = maps.list(&ListParams::default()).await.unwrap();
    let by_name = |maps: Vec<&ConfigMap>| -> BTreeMap<_, _> {
        let entry = |map: &&ConfigMap| (map.metadata.name.clone(), map.metadata.resource_version.clone());
        maps.iter().map(entry).collect()
    };
    let expected = by_name(listed.items.iter().collect());
    let deadline = Instant::now() + CONVERGED_MAX;
    loop {
        let state = informed.state();
        if by_name(state.iter().map(AsRef::as_ref).collect()) == expected {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{told}: the informer has {state:?} instead of {expected:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    informer.abort();
    stop.cancel();
    process.kill();
    let log = Log::read(home.store()).await;
    let fail = |why: String| panic!("{told}: {why}");
    log.has(&answered).unwrap_or_else(fail);
    log.is_whole().unwrap_or_else(fail);
    let (mut expired, mut resumed, mut events) = (0, 0, 0);
    for (prefix, follower) in followers {
        let follower = follower.await.unwrap();
        log.agrees(prefix, &follower.told).unwrap_or_else(fail);
        let objects = follower
            .objects
            .iter()
            .filter(|object| object["kind"].is_string());
        for object in objects {
            check::whole(object).unwrap_or_else(fail);
        }
        expired += follower.expired;
        resumed += follower.resumed;
        events += follower.told.len();
    }
    eprintln!(
        "{rounds} rounds, {} writes answered, {} in the store, {events} told, watches resumed {resumed} times and began anew {expired} times, in {:.1?}",
        answered.len(),
        log.len(),
        start.elapsed()
    );
    assert!(answered.len() as u64 > rounds, "the load wrote next to nothing");
    // What was before a start comes from the store's history.
    assert_eq!(expired, 0, "{told}: watches could not go on where they were");
    assert!(resumed as u64 >= rounds, "watches resumed {resumed} times only");
}
