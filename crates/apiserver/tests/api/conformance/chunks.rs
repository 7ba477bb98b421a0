//! Lists in chunks: "Servers with support for API chunking" of upstream's suite.
use crate::support::{Client, Cluster, TestStore};
use http::Method;
use orlop_store::Revision;
use serde_json::{Value, json};

const TEMPLATES: &str = "/api/v1/namespaces/default/podtemplates";
const COUNT: u64 = 40;

async fn templates(admin: &Client) {
    for n in 0..COUNT {
        let template = json!({"metadata": {"name": format!("template-{n:04}")},
            "template": {"spec": {"containers": [{"name": "test", "image": "test2"}]}}});
        admin.post(TEMPLATES, template).await.ok();
    }
}

fn token(list: &Value) -> Option<String> {
    list["metadata"]["continue"].as_str().map(str::to_owned)
}

fn names(items: &Value) -> Vec<String> {
    let items = items.as_array().unwrap().iter();
    items
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// "should return chunks of results for list calls"
#[tokio::test]
async fn l01_chunks_of_changing_sizes_make_up_the_whole_list_once() {
    let admin = Cluster::start().await.admin();
    templates(&admin).await;
    for sizes in [[1, 2, 3], [7, 1, 30], [39, 1, 1], [40, 1, 1], [41, 1, 1]] {
        let (mut seen, mut next, mut first_version) = (Vec::new(), None, Value::Null);
        let mut sizes = sizes.into_iter().cycle();
        loop {
            let limit = sizes.next().unwrap();
            let more = next.map(|token| format!("&continue={token}")).unwrap_or_default();
            let list = admin.get(&format!("{TEMPLATES}?limit={limit}{more}")).await.ok();
            if seen.is_empty() {
                first_version = list["metadata"]["resourceVersion"].clone();
            }
            assert_eq!(list["metadata"]["resourceVersion"], first_version);
            let chunk = names(&list["items"]);
            assert!(chunk.len() <= limit);
            seen.extend(chunk);
            next = token(&list);
            let left = COUNT - seen.len() as u64;
            if next.is_none() {
                assert_eq!(left, 0);
                assert_eq!(list["metadata"]["remainingItemCount"], Value::Null);
                break;
            }
            assert_eq!(list["metadata"]["remainingItemCount"], left);
        }
        let expected: Vec<String> = (0..COUNT).map(|n| format!("template-{n:04}")).collect();
        assert_eq!(seen, expected);
    }
}

/// "should continue listing from the last key if the original version has been compacted away, though the list is
/// inconsistent"
#[tokio::test]
async fn a_compacted_list_goes_on_with_the_token_of_its_refusal() {
    let store = TestStore::new().await;
    let admin = Cluster::over(store.clone()).await.admin();
    templates(&admin).await;
    let first = admin.get(&format!("{TEMPLATES}?limit=10")).await.ok();
    let old = token(&first).unwrap();
    let version = |list: &Value| {
        list["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    // What comes after the chunk changes meanwhile: the first of it goes, and one more comes at its end.
    admin
        .delete(&format!("{TEMPLATES}/template-0010"), Value::Null)
        .await
        .ok();
    let late = json!({"metadata": {"name": "template-9999"}, "template": {"spec": {"containers": [{"name": "t", "image": "i"}]}}});
    let late = admin.post(TEMPLATES, late).await.ok();
    store.store.compact(Revision(version(&late))).await.unwrap();
    let reply = admin.get(&format!("{TEMPLATES}?limit=10&continue={old}")).await;
    let refusal = reply.json();
    assert_eq!(refusal["reason"], "Expired");
    assert!(
        reply
            .refused(410)
            .starts_with("The provided continue parameter is too old to display a consistent list result.")
    );
    let fresh = token(&refusal).expect("a token that goes on without consistency");
    let second = admin
        .get(&format!("{TEMPLATES}?limit=10&continue={fresh}"))
        .await
        .ok();
    assert!(
        version(&second) > version(&first),
        "the rest has a version of its own"
    );
    assert_eq!(names(&second["items"])[0], "template-0011");
    assert_eq!(second["metadata"]["remainingItemCount"], COUNT - 20);
    let rest = token(&second).unwrap();
    let rest = admin.get(&format!("{TEMPLATES}?continue={rest}")).await.ok();
    assert_eq!(
        rest["metadata"]["resourceVersion"],
        second["metadata"]["resourceVersion"]
    );
    assert_eq!(names(&rest["items"]).last().unwrap(), "template-9999");
}

/// "should return chunks of table results for list calls"
#[tokio::test]
async fn tables_and_metadata_come_in_chunks_as_well() {
    let admin = Cluster::start().await.admin();
    templates(&admin).await;
    let table = admin.table(&format!("{TEMPLATES}?limit=15")).await.ok();
    assert_eq!(table["rows"].as_array().unwrap().len(), 15);
    assert_eq!(table["metadata"]["remainingItemCount"], COUNT - 15);
    let next = token(&table).unwrap();
    let rest = admin
        .table(&format!("{TEMPLATES}?limit=30&continue={next}"))
        .await
        .ok();
    assert_eq!(rest["rows"].as_array().unwrap().len(), 25);
    assert_eq!(token(&rest), None);
    assert_eq!(
        rest["metadata"]["resourceVersion"],
        table["metadata"]["resourceVersion"]
    );
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let path = format!("{TEMPLATES}?limit=15");
    let partial = admin
        .send(Method::GET, &path, &[("accept", accept)], "")
        .await
        .ok();
    assert_eq!(partial["kind"], "PartialObjectMetadataList");
    assert_eq!(partial["items"][0]["kind"], "PartialObjectMetadata");
    assert_eq!(partial["metadata"]["remainingItemCount"], COUNT - 15);
    assert!(token(&partial).is_some());
}

#[tokio::test]
async fn tokens_that_were_never_given_are_refused() {
    let admin = Cluster::start().await.admin();
    templates(&admin).await;
    for bad in ["x", "e30", "%00", "bm90IGpzb24"] {
        let reply = admin.get(&format!("{TEMPLATES}?limit=1&continue={bad}")).await;
        let message = reply.refused(400);
        assert!(
            message.starts_with("invalid continue token: continue key is not valid: "),
            "{bad}: {message}"
        );
    }
    for (query, message) in [
        ("limit=abc", "strconv.ParseInt: parsing \"abc\": invalid syntax"),
        (
            "timeoutSeconds=x",
            "strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
        ("resourceVersion=abc", "invalid resource version"),
    ] {
        let found = admin.get(&format!("{TEMPLATES}?{query}")).await.refused(400);
        assert!(found.contains(message), "{query}: {found}");
    }
    let all = admin.get(&format!("{TEMPLATES}?limit=-1")).await.ok();
    assert_eq!(names(&all["items"]).len() as u64, COUNT);
}

/// "should support continue listing from the last key if the original version has been compacted away, though the list is
/// inconsistent": nothing of the list changes, and its token ends all the same.
#[tokio::test]
async fn a_token_expires_although_nothing_of_its_list_has_changed() {
    let cluster =
        Cluster::with(|config| config.compaction = Some(std::time::Duration::from_millis(100))).await;
    let admin = cluster.admin();
    templates(&admin).await;
    let first = admin.get(&format!("{TEMPLATES}?limit=10")).await.ok();
    let old = token(&first).unwrap();
    let expired = async {
        loop {
            let reply = admin.get(&format!("{TEMPLATES}?limit=10&continue={old}")).await;
            if reply.code != 200 {
                break reply;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let reply = tokio::time::timeout(std::time::Duration::from_secs(20), expired).await;
    let reply = reply.expect("the token is taken for ever");
    assert_eq!((reply.code, &reply.json()["reason"]), (410, &json!("Expired")));
    let fresh = token(&reply.json()).expect("a token that goes on without consistency");
    let rest = admin.get(&format!("{TEMPLATES}?continue={fresh}")).await.ok();
    assert_eq!(names(&rest["items"]).len() as u64, COUNT - 10);
    let version = first["metadata"]["resourceVersion"].as_str().unwrap();
    let exact = format!("{TEMPLATES}?resourceVersion={version}&resourceVersionMatch=Exact");
    let message = admin.get(&exact).await.refused(410);
    assert_eq!(message, "The resourceVersion for the provided list is too old.");
}
