//! Where a Service can be reached, and in which order that is tried. Its endpoints are reached directly: nothing leads to
//! cluster addresses where no service proxy runs.
use super::OutboundError;
use crate::cache::Cache;
use crate::resources;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// So long a place may take to answer before the next is tried beside it.
const SOON: Duration = Duration::from_secs(2);

/// Host and port.
pub type Place = (String, u16);

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Any of them will do: they have their turns.
    pub endpoints: Vec<Place>,
    /// The cluster address, for when none of them answers.
    pub cluster: Option<Place>,
}

/// Why a Service leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nowhere {
    /// There is none of the name.
    Service,
    /// It has no such port.
    Port,
    /// It has no EndpointSlices.
    Slices,
    /// None of its endpoints is ready; the name of its port.
    Endpoints(String),
}

impl Places {
    /// One that is named.
    pub fn only(place: Place) -> Self {
        Self {
            endpoints: vec![place],
            cluster: None,
        }
    }

    /// Where a Service's port leads.
    ///
    /// # Errors
    /// Why it leads nowhere.
    pub fn of_service(cache: &Cache, namespace: &str, name: &str, port: u16) -> Result<Self, Nowhere> {
        let service = cache.core_object("services", namespace, name);
        let service = service.ok_or(Nowhere::Service)?.value();
        leads_to(&service, &slices(cache, namespace, name), port)
    }

    /// What `connect` makes of the first place that answers. One that doesn't answer soon is joined by the next: a node
    /// that has lost power answers nothing, and is listed for a while.
    ///
    /// # Errors
    /// What was wrong with the last of them.
    pub async fn try_each<T, C>(self, connect: impl Fn(String, u16) -> C) -> Result<T, OutboundError>
    where
        C: Future<Output = Result<T, OutboundError>>,
    {
        static TURN: AtomicUsize = AtomicUsize::new(0);
        let mut places = self.in_order(TURN.fetch_add(1, Ordering::Relaxed)).into_iter();
        let mut failure = None;
        let mut tried = FuturesUnordered::new();
        loop {
            if let Some(Try { host, port, within }) = places.next() {
                let connected = connect(host.clone(), port);
                tried.push(async move {
                    let connected = match within {
                        // Whoever wants the answer says how long it may take.
                        None => connected.await,
                        Some(within) => match timeout(within, connected).await {
                            Ok(connected) => connected,
                            Err(_) => Err(OutboundError::Late(within)),
                        },
                    };
                    connected.map_err(|error| (format!("{host}:{port}: {error}"), within.is_some()))
                });
            }
            let answer = match places.len() {
                0 => tried.next().await,
                _ => match timeout(SOON, tried.next()).await {
                    Ok(answer) => answer,
                    Err(_) => continue,
                },
            };
            match answer {
                Some(Ok(connected)) => return Ok(connected),
                // What was wrong with the endpoints says more than what is wrong with the way around them.
                Some(Err((_, true))) if failure.is_some() => {}
                Some(Err((why, _))) => failure = Some(why),
                None => {
                    let why = failure.unwrap_or_else(|| "no address".to_owned());
                    return Err(OutboundError::Failed(why.into()));
                }
            }
        }
    }

    /// In the order of being tried, where the first endpoint is that of a turn.
    fn in_order(mut self, turn: usize) -> Vec<Try> {
        let first = turn % self.endpoints.len().max(1);
        self.endpoints.rotate_left(first);
        // Where no service proxy runs, a cluster address answers nothing, and nobody should wait for that.
        let within = (!self.endpoints.is_empty()).then_some(SOON);
        let endpoints = self.endpoints.into_iter().map(|place| (place, None));
        let all = endpoints.chain(self.cluster.map(|place| (place, within)));
        all.map(|((host, port), within)| Try { host, port, within })
            .collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Try {
    host: String,
    port: u16,
    /// How long it may take, if that isn't for others to say.
    within: Option<Duration>,
}

/// The endpoints of a Service's port, or the cluster address alone where someone else keeps account of endpoints.
fn leads_to(service: &Value, slices: &[Value], number: u16) -> Result<Places, Nowhere> {
    let spec = &service["spec"];
    if let (Some("ExternalName"), Some(host)) = (spec["type"].as_str(), spec["externalName"].as_str()) {
        return Ok(Places::only((host.to_owned(), number)));
    }
    let mut ports = spec["ports"].as_array().into_iter().flatten();
    let port = ports.find(|port| port["port"] == number).ok_or(Nowhere::Port)?;
    let port = port["name"].as_str().unwrap_or_default();
    let cluster = spec["clusterIP"].as_str();
    let cluster = cluster.filter(|address| !address.is_empty() && *address != "None");
    let endpoints: Vec<Place> = slices.iter().flat_map(|slice| ready(slice, port)).collect();
    let selects = spec["selector"]
        .as_object()
        .is_some_and(|selector| !selector.is_empty());
    if endpoints.is_empty() && !slices.is_empty() {
        return Err(Nowhere::Endpoints(port.to_owned()));
    }
    if endpoints.is_empty() && (selects || cluster.is_none()) {
        return Err(Nowhere::Slices);
    }
    Ok(Places {
        endpoints,
        cluster: cluster.map(|address| (address.to_owned(), number)),
    })
}

/// The EndpointSlices of a Service.
pub fn slices(cache: &Cache, namespace: &str, service: &str) -> Vec<Value> {
    let kind = resources::find("discovery.k8s.io", "v1", "endpointslices");
    let Some(storage) = kind.and_then(|kind| cache.storage(kind)) else {
        return Vec::new();
    };
    let found = cache.snapshot_where(storage, namespace, |slice| {
        slice.label("kubernetes.io/service-name") == Some(service)
    });
    found.objects.iter().map(|slice| slice.value()).collect()
}

/// The ready endpoints of a slice, at its port of a name.
pub fn ready(slice: &Value, port: &str) -> Vec<Place> {
    let ports = slice["ports"].as_array().into_iter().flatten();
    let mut of_name = ports.filter(|p| p["name"].as_str().unwrap_or_default() == port);
    let Some(number) = of_name.find_map(|p| u16::try_from(p["port"].as_u64()?).ok()) else {
        return Vec::new();
    };
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != false);
    // A further address would be the same endpoint again.
    ready
        .filter_map(|endpoint| Some((endpoint["addresses"][0].as_str()?.to_owned(), number)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use serde_json::json;
    use tokio::time::{Instant, sleep};

    fn place(host: &str) -> Place {
        (host.to_owned(), 443)
    }

    #[test]
    fn a_service_leads_to_its_ready_endpoints_or_says_why_not() {
        let service = |selector: Value, address: &str| {
            json!({"spec": {"clusterIP": address, "selector": selector,
                "ports": [{"name": "other", "port": 80}, {"name": "https", "port": 443}]}})
        };
        let usual = service(json!({"a": "b"}), "10.96.0.9");
        let by_hand = service(Value::Null, "10.96.0.9");
        let slice = json!({"ports": [{"name": "other", "port": 1}, {"name": "https", "port": 8443}], "endpoints": [
            {"addresses": ["10.1.1.1"], "conditions": {"ready": true}},
            {"addresses": ["10.1.1.2"], "conditions": {"ready": false}},
            {"addresses": ["10.1.1.3"], "conditions": {}}]});
        let unready = json!({"ports": [{"name": "https", "port": 8443}], "endpoints": [{"addresses": ["10.1.1.2"],
            "conditions": {"ready": false}}]});
        let endpoints = vec![("10.1.1.1".to_owned(), 8443), ("10.1.1.3".to_owned(), 8443)];
        let places = |endpoints: &[Place], cluster: Option<&str>| {
            Ok(Places {
                endpoints: endpoints.to_vec(),
                cluster: cluster.map(place),
            })
        };
        let none = || Err(Nowhere::Endpoints("https".to_owned()));
        for (service, slices, port, wanted) in [
            (&usual, vec![&slice], 443, places(&endpoints, Some("10.96.0.9"))),
            (&usual, vec![], 443, Err(Nowhere::Slices)),
            (&usual, vec![&unready], 443, none()),
            (&usual, vec![&slice], 8080, Err(Nowhere::Port)),
            (&by_hand, vec![], 443, places(&[], Some("10.96.0.9"))),
            (&by_hand, vec![&unready], 443, none()),
            (&service(Value::Null, "None"), vec![], 443, Err(Nowhere::Slices)),
            (
                &service(Value::Null, "None"),
                vec![&unready, &slice],
                443,
                places(&endpoints, None),
            ),
            (
                &json!({"spec": {"type": "ExternalName", "externalName": "localhost"}}),
                vec![],
                443,
                Ok(Places::only(place("localhost"))),
            ),
        ] {
            let slices: Vec<Value> = slices.into_iter().cloned().collect();
            assert_eq!(
                leads_to(service, &slices, port),
                wanted,
                "{service} {slices:?} {port}"
            );
        }
    }

    #[test]
    fn endpoints_have_their_turns_and_the_cluster_address_is_always_the_last() {
        let places = Places {
            endpoints: vec![place("a"), place("b"), place("c")],
            cluster: Some(place("cluster")),
        };
        for (turn, wanted) in [
            (0, ["a", "b", "c", "cluster"]),
            (1, ["b", "c", "a", "cluster"]),
            (2, ["c", "a", "b", "cluster"]),
            (3, ["a", "b", "c", "cluster"]),
        ] {
            let hosts: Vec<String> = places
                .clone()
                .in_order(turn)
                .into_iter()
                .map(|t| t.host)
                .collect();
            assert_eq!(hosts, wanted, "{turn}");
        }
    }

    /// Which host answers, after how long; each host does what `does` says of it: whether it answers, after how many
    /// seconds.
    async fn tried(
        endpoints: &[&str],
        cluster: Option<&str>,
        does: &[(&str, bool, u64)],
    ) -> (Result<String, String>, u64, Vec<String>) {
        let places = Places {
            endpoints: endpoints.iter().map(|host| place(host)).collect(),
            cluster: cluster.map(place),
        };
        let (began, asked) = (Instant::now(), Mutex::new(Vec::new()));
        let connect = |host: String, _: u16| {
            asked.lock().push(host.clone());
            let (_, answers, after) = *does.iter().find(|(name, ..)| *name == host).unwrap();
            async move {
                sleep(Duration::from_secs(after)).await;
                match answers {
                    true => Ok(host),
                    false => Err(OutboundError::Failed("refused".into())),
                }
            }
        };
        let answer = places.try_each(connect).await.map_err(|error| error.to_string());
        (answer, began.elapsed().as_secs(), asked.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn who_answers_late_is_waited_for_beside_the_others() {
        let ok = |host: &str| Ok(host.to_owned());
        let refused = |host: &str| Err(format!("{host}:443: refused"));
        // One that is slow is the only one, or is as good as any.
        let slow = tried(
            &["a"],
            Some("cluster"),
            &[("a", true, 5), ("cluster", true, 3600)],
        )
        .await;
        assert_eq!((slow.0, slow.1), (ok("a"), 5));
        let around = tried(
            &["a"],
            Some("cluster"),
            &[("a", true, 3600), ("cluster", true, 1)],
        )
        .await;
        assert_eq!((around.0, around.1), (ok("cluster"), 3));
        // Nothing leads to the cluster address: what is wrong is known without it, soon.
        let gone = tried(
            &["a"],
            Some("cluster"),
            &[("a", false, 0), ("cluster", true, 3600)],
        )
        .await;
        assert_eq!((gone.0, gone.1), (refused("a"), 2));
        assert_eq!(gone.2, ["a", "cluster"]);
        // What answers at once is alone.
        let first = tried(&["a"], Some("cluster"), &[("a", true, 0), ("cluster", true, 0)]).await;
        assert_eq!((first.0, first.2), (ok("a"), vec!["a".to_owned()]));
        // An address by hand has all the time there is.
        let by_hand = tried(&[], Some("cluster"), &[("cluster", true, 9)]).await;
        assert_eq!((by_hand.0, by_hand.1), (ok("cluster"), 9));
        assert_eq!(tried(&[], None, &[]).await.0, Err("no address".to_owned()));
    }
}
