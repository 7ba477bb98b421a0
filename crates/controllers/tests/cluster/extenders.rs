//! Programs of others that have a word in where pods go.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use orlop_scheduler::{Extender, ExtenderTls, ManagedResource, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Cluster, eventually};

const CARD: &str = "example.com/card";

/// What it was asked: the last part of the address and the body.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// A program that looks after cards: none is left on `a`, and those on `c` are the best. `broken` pods it does not take.
async fn program(client: kube::Client) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/cards", listener.local_addr().unwrap());
    let asked = Asked::default();
    let notes = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, client.clone(), notes.clone()));
        }
    });
    (url, asked)
}

async fn answer(mut stream: TcpStream, client: kube::Client, notes: Asked) {
    let mut read = Vec::new();
    let (head, body) = loop {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).await.unwrap();
        assert!(length > 0, "the request is cut off");
        read.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let wanted = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            value.trim().parse::<usize>().ok().filter(|_| is_length)
        });
        if body.len() >= wanted.unwrap() {
            break (head.to_owned(), body.to_owned());
        }
    };
    let verb = head
        .split_whitespace()
        .nth(1)
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned();
    let body: Value = serde_json::from_str(&body).unwrap();
    notes.lock().unwrap().push((verb.clone(), body.clone()));
    let answer = match verb.as_str() {
        "filter" if body["Pod"]["metadata"]["name"] == "broken" => {
            json!({"Error": "cards cannot be counted"})
        }
        "whole" => {
            let nodes = body["Nodes"]["items"].as_array().unwrap();
            let small = |node: &&Value| node["metadata"]["labels"]["size"] == "small";
            let small: Vec<&Value> = nodes.iter().filter(small).collect();
            json!({"Nodes": {"items": small}, "FailedNodes": {"a": "too large"}})
        }
        "filter" => {
            let names = body["NodeNames"].as_array().unwrap();
            let left: Vec<&Value> = names.iter().filter(|name| **name != "a").collect();
            json!({"nodenames": left, "failedNodes": {"a": "no card left"}})
        }
        "room" => {
            let victims = body["NodeNameToVictims"].as_object().unwrap();
            let left = victims
                .iter()
                .filter(|(node, _)| **node != "a")
                .map(|(node, victims)| {
                    let pods = victims["Pods"].as_array().unwrap();
                    let uids: Vec<Value> = pods
                        .iter()
                        .map(|pod| json!({"UID": pod["metadata"]["uid"]}))
                        .collect();
                    (
                        node.clone(),
                        json!({"Pods": uids, "NumPDBViolations": victims["NumPDBViolations"]}),
                    )
                });
            json!({"NodeNameToMetaVictims": left.collect::<serde_json::Map<String, Value>>()})
        }
        "sort" => json!([{"Host": "b", "Score": 1}, {"Host": "c", "Score": 10}]),
        "bind" => {
            let binding = json!({"metadata": {"name": body["PodName"], "uid": body["PodUID"]},
                "target": {"kind": "Node", "name": body["Node"]}});
            let namespace = body["PodNamespace"].as_str().unwrap();
            let pods: kube::Api<Pod> = kube::Api::namespaced(client, namespace);
            let name = body["PodName"].as_str().unwrap();
            let _: Value = pods
                .create_subresource("binding", name, &PostParams::default(), &binding)
                .await
                .unwrap();
            json!({"Error": ""})
        }
        other => panic!("asked for {other}"),
    };
    let answer = answer.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.len()
    );
    stream
        .write_all(format!("{head}{answer}").as_bytes())
        .await
        .unwrap();
}

fn pod(name: &str, resources: Value, more: Value) -> Pod {
    let mut spec = json!({"containers": [{"name": "c", "image": "i", "resources": {"limits": resources}}]});
    orlop_api::patch::merge(&mut spec, &more);
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

#[tokio::test]
async fn extender_leaves_nodes_out_compares_the_others_and_binds() {
    let cluster = Cluster::bare().await;
    let (url, asked) = program(cluster.client.clone()).await;
    let extender = Extender {
        url,
        tls: ExtenderTls::default(),
        timeout: Duration::from_secs(10),
        filter: Some("filter".to_owned()),
        preempt: None,
        prioritize: Some("sort".to_owned()),
        weight: 5,
        bind: Some("bind".to_owned()),
        knows_nodes: true,
        resources: vec![ManagedResource {
            name: CARD.to_owned(),
            is_only_its: true,
        }],
        is_ignorable: false,
    };
    for node in ["a", "b", "c"] {
        cluster
            .add_node(node, json!({"kubernetes.io/hostname": node}))
            .await;
    }
    // It sees all nodes from the beginning.
    cluster.run_controllers();
    cluster.run_scheduler_by(Options {
        extenders: vec![extender],
        ..Options::default()
    });
    let create = async |pod: Pod| {
        eventually("the pod is taken", || async {
            cluster.pods().create(&PostParams::default(), &pod).await.ok()
        })
        .await
    };
    // No node has such cards to give, as far as the scheduler knows: that is not its business.
    let card = json!({CARD: "1"});
    create(pod("with", card.clone(), json!({}))).await;
    let node = eventually("a node for the pod", || async {
        cluster.pods().get("with").await.unwrap().spec.unwrap().node_name
    });
    assert_eq!(node.await, "c");
    let verbs: Vec<String> = asked
        .lock()
        .unwrap()
        .iter()
        .map(|(verb, _)| verb.clone())
        .collect();
    assert_eq!(verbs, ["filter", "sort", "bind"]);
    {
        let asked = asked.lock().unwrap();
        assert_eq!(asked[0].1["NodeNames"], json!(["a", "b", "c"]));
        assert_eq!(
            asked[0].1["Pod"]["spec"]["containers"][0]["image"], "i",
            "it is whole"
        );
        assert_eq!(asked[1].1["NodeNames"], json!(["b", "c"]));
    }
    // Others are none of its concern.
    create(pod(
        "without",
        json!({"cpu": "100m"}),
        json!({"nodeSelector": {"kubernetes.io/hostname": "a"}}),
    ))
    .await;
    eventually("a node for the other pod", || async {
        cluster
            .pods()
            .get("without")
            .await
            .unwrap()
            .spec
            .unwrap()
            .node_name
    })
    .await;
    assert_eq!(asked.lock().unwrap().len(), 3);
    // What it says is told.
    let told = async |name: &str| {
        eventually("the pod's condition", || async {
            let pod = cluster.pods().get(name).await.unwrap();
            let condition = orlop_api::pod::condition(&pod, "PodScheduled")?;
            Some((condition.reason.clone()?, condition.message.clone()?))
        })
        .await
    };
    let on_a = json!({"nodeSelector": {"kubernetes.io/hostname": "a"}});
    create(pod("nowhere", card.clone(), on_a)).await;
    let (reason, message) = told("nowhere").await;
    assert_eq!(reason, "Unschedulable");
    assert!(
        message.starts_with(
            "0/3 nodes are available: 1 no card left, 2 node(s) didn't match Pod's node affinity/selector."
        ),
        "{message}"
    );
    create(pod("broken", card, json!({}))).await;
    let (reason, message) = told("broken").await;
    assert_eq!(reason, "SchedulerError");
    assert!(message.ends_with("cards cannot be counted"), "{message}");
    for name in ["nowhere", "broken"] {
        cluster
            .pods()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn extender_that_does_not_know_nodes_is_told_them_as_they_are() {
    let cluster = Cluster::bare().await;
    let (url, asked) = program(cluster.client.clone()).await;
    for (node, size) in [("a", "large"), ("b", "small")] {
        cluster.add_node(node, json!({"size": size})).await;
    }
    cluster.run_controllers();
    cluster.run_scheduler_by(Options {
        extenders: vec![Extender {
            url,
            tls: ExtenderTls::default(),
            timeout: Duration::from_secs(10),
            filter: Some("whole".to_owned()),
            preempt: None,
            prioritize: None,
            weight: 1,
            bind: None,
            knows_nodes: false,
            resources: Vec::new(),
            is_ignorable: false,
        }],
        ..Options::default()
    });
    let pod = pod("p", json!({}), json!({}));
    eventually("the pod is taken", || async {
        cluster.pods().create(&PostParams::default(), &pod).await.ok()
    })
    .await;
    let node = eventually("a node for the pod", || async {
        cluster.pods().get("p").await.unwrap().spec.unwrap().node_name
    });
    assert_eq!(node.await, "b");
    let asked = asked.lock().unwrap();
    let question = &asked[0].1;
    assert!(question["NodeNames"].is_null());
    let nodes = question["Nodes"]["items"].as_array().unwrap();
    assert_eq!(nodes.len(), 2);
    assert!(
        nodes.iter().all(|node| !node["status"]["allocatable"].is_null()),
        "they are whole"
    );
}

#[tokio::test]
async fn extender_says_by_whose_leaving_room_may_be_made() {
    let cluster = Cluster::bare().await;
    let (url, asked) = program(cluster.client.clone()).await;
    for node in ["a", "b"] {
        cluster
            .add_node(node, json!({"kubernetes.io/hostname": node}))
            .await;
    }
    cluster.run_controllers();
    cluster.run_scheduler_by(Options {
        extenders: vec![Extender {
            url,
            tls: ExtenderTls::default(),
            timeout: Duration::from_secs(10),
            filter: None,
            preempt: Some("room".to_owned()),
            prioritize: None,
            weight: 1,
            bind: None,
            knows_nodes: false,
            resources: Vec::new(),
            is_ignorable: false,
        }],
        ..Options::default()
    });
    let create = async |name: &str, cpu: &str, more: Value| {
        let pod = pod(name, json!({"cpu": cpu}), more);
        eventually("the pod is taken", || async {
            cluster.pods().create(&PostParams::default(), &pod).await.ok()
        })
        .await;
    };
    let node_of = async |name: &str| {
        eventually("a node for the pod", || async {
            cluster.pods().get(name).await.unwrap().spec.unwrap().node_name
        })
        .await
    };
    for node in ["a", "b"] {
        let there = json!({"nodeSelector": {"kubernetes.io/hostname": node}});
        create(&format!("on-{node}"), "3", there).await;
        node_of(&format!("on-{node}")).await;
    }
    assert!(asked.lock().unwrap().is_empty(), "there was room");
    create(
        "important",
        "3",
        json!({"priorityClassName": "system-cluster-critical"}),
    )
    .await;
    eventually("the one that goes", || async {
        let victim = cluster.pods().get_opt("on-b").await.unwrap();
        victim
            .is_none_or(|victim| victim.metadata.deletion_timestamp.is_some())
            .then_some(())
    })
    .await;
    let left = cluster.pods().get("on-a").await.unwrap();
    assert!(
        left.metadata.deletion_timestamp.is_none(),
        "it was as cheap, but was not to go"
    );
    let asked = asked.lock().unwrap();
    let (verb, question) = &asked[0];
    assert_eq!(
        (verb.as_str(), &question["Pod"]["metadata"]["name"]),
        ("room", &json!("important"))
    );
    let victims = question["NodeNameToVictims"].as_object().unwrap();
    assert_eq!(victims.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(victims["a"]["Pods"][0]["spec"]["nodeName"], "a", "they are whole");
}
