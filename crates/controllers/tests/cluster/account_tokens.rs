//! Secrets that ask for a service account's token.

use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::harness::{Cluster, eventually};

fn asking(name: &str, account: &str) -> Secret {
    serde_json::from_value(
        json!({"type": "kubernetes.io/service-account-token", "metadata": {"name": name,
        "annotations": {"kubernetes.io/service-account.name": account}}}),
    )
    .unwrap()
}

#[tokio::test]
async fn a_secret_gets_a_token_of_the_account_it_names_and_goes_with_it() {
    let cluster = Cluster::start().await;
    let params = PostParams::default();
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), "default");
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "default");
    let robot = serde_json::from_value(json!({"metadata": {"name": "robot"}})).unwrap();
    let robot = accounts.create(&params, &robot).await.unwrap();
    secrets.create(&params, &asking("kept", "robot")).await.unwrap();
    let data = eventually("the token", || async {
        let data = secrets.get("kept").await.unwrap().data?;
        data.contains_key("token").then_some(data)
    })
    .await;
    let text = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
    assert_eq!(
        (text("namespace"), text("ca.crt")),
        ("default".into(), "the CA".into())
    );
    let key = cluster.token_signer().public().clone();
    let claims = orlop_pki::verified_claims(&text("token"), &[key]).unwrap();
    assert_eq!(claims["sub"], "system:serviceaccount:default:robot");
    assert_eq!(
        claims["kubernetes.io/serviceaccount/service-account.uid"],
        json!(robot.metadata.uid)
    );
    // A cluster that has another authority tells of it, without a restart.
    cluster.root_ca.send_replace("another CA".into());
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    eventually("the other authority", || async {
        let secret = secrets.get("kept").await.unwrap().data?;
        let map = maps.get_opt("kube-root-ca.crt").await.unwrap()?.data?;
        (secret["ca.crt"].0 == b"another CA" && map["ca.crt"] == "another CA").then_some(())
    })
    .await;
    // What is taken out comes back.
    let mut emptied = secrets.get("kept").await.unwrap();
    emptied.data = None;
    secrets.replace("kept", &params, &emptied).await.unwrap();
    eventually("another token", || async {
        let data = secrets.get("kept").await.unwrap().data?;
        data.contains_key("token").then_some(())
    })
    .await;
    // An account names no Secret that is gone.
    secrets.create(&params, &asking("listed", "robot")).await.unwrap();
    let mut lists = accounts.get("robot").await.unwrap();
    lists.secrets = serde_json::from_value(json!([{"name": "listed"}, {"name": "kept"}])).unwrap();
    accounts.replace("robot", &params, &lists).await.unwrap();
    eventually("its token", || async {
        let data = secrets.get("listed").await.unwrap().data?;
        data.contains_key("token").then_some(())
    })
    .await;
    secrets.delete("listed", &DeleteParams::default()).await.unwrap();
    eventually("the list without it", || async {
        let named = accounts.get("robot").await.unwrap().secrets?;
        (named.len() == 1 && named[0].name.as_deref() == Some("kept")).then_some(())
    })
    .await;
    secrets.create(&params, &asking("stray", "nobody")).await.unwrap();
    let gone = async |name: &str| {
        eventually("the end of a Secret without an account", || async {
            secrets.get_opt(name).await.unwrap().is_none().then_some(())
        })
        .await;
    };
    gone("stray").await;
    accounts.delete("robot", &DeleteParams::default()).await.unwrap();
    gone("kept").await;
}
