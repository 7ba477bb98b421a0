//! Whether every definition that is there is served whole, and nothing of those that are not.
use super::clients::{CRDS, GROUP_SUFFIX};
use http::Request;
use kube::Client;
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn get(client: &Client, path: &str) -> Result<Value, String> {
    let request = Request::get(path).body(Vec::new()).unwrap();
    client
        .request::<Value>(request)
        .await
        .map_err(|error| format!("GET {path}: {error}"))
}

/// What pods need, which a controller would make.
pub async fn with_account(client: &Client) {
    let account = json!({"metadata": {"name": "default"}}).to_string().into_bytes();
    let path = "/api/v1/namespaces/default/serviceaccounts";
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(account)
        .unwrap();
    client.request::<Value>(request).await.unwrap();
}

pub async fn whole(client: &Client) -> Result<(), String> {
    // Definitions that are being deleted go by themselves: what is asked is asked about one state.
    for _ in 0..100 {
        let before = definitions(client).await?;
        let found = compare(client, &before).await;
        if found.is_ok() {
            return Ok(());
        }
        if definitions(client).await? == before && !before.iter().any(|definition| definition.leaving) {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Err("definitions that are being deleted do not go".to_owned())
}

#[derive(PartialEq)]
struct Definition {
    group: String,
    version: Value,
    leaving: bool,
}

async fn definitions(client: &Client) -> Result<Vec<Definition>, String> {
    let list = get(client, CRDS).await?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let definition = |crd: &Value| Definition {
        group: crd["spec"]["group"].as_str().unwrap_or_default().to_owned(),
        version: crd["metadata"]["resourceVersion"].clone(),
        leaving: !crd["metadata"]["deletionTimestamp"].is_null(),
    };
    Ok(items.iter().map(definition).collect())
}

async fn compare(client: &Client, definitions: &[Definition]) -> Result<(), String> {
    let groups = get(client, "/apis").await?;
    let mut served = BTreeSet::new();
    for group in groups["groups"].as_array().into_iter().flatten() {
        let name = group["name"].as_str().unwrap_or_default();
        if !name.ends_with(GROUP_SUFFIX) {
            continue;
        }
        served.insert(name.to_owned());
        let versions = group["versions"].as_array().map_or(0, Vec::len);
        if versions != 2 {
            return Err(format!("{name} is served in {versions} versions of 2"));
        }
    }
    let declared: BTreeSet<String> = definitions.iter().map(|d| d.group.clone()).collect();
    if served != declared {
        let list = get(client, CRDS).await?;
        return Err(format!(
            "{served:?} is served and {declared:?} is declared: {}",
            list["items"]
        ));
    }
    let documents = get(client, "/openapi/v3").await?;
    for group in &declared {
        for version in ["v1", "v2"] {
            let list = get(client, &format!("/apis/{group}/{version}/things")).await?;
            for item in list["items"].as_array().into_iter().flatten() {
                super::check::whole(item)?;
            }
            let resources = get(client, &format!("/apis/{group}/{version}")).await?;
            if resources["resources"][0]["name"] != "things" {
                return Err(format!("{group}/{version} has {resources}"));
            }
            if documents["paths"][format!("apis/{group}/{version}")].is_null() {
                return Err(format!("{group}/{version} has no document"));
            }
        }
    }
    Ok(())
}
