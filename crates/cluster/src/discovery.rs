//! How a machine that knows a token and the hash of an authority comes to trust a cluster.
use crate::token::Token;
use crate::{ClusterError, api, wait, yaml};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use kube::{Client, Config};
use orlop_client::connect_to;
use orlop_pki::{detached_signature, public_key_hash};
use serde_json::Value;
use std::time::Duration;

const PATH: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
/// Nobody waits longer for a wrong address.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Controllers may have yet to be elected.
const SIGNED_WITHIN: Duration = Duration::from_secs(60);
/// Certificates and tokens of clocks that are further apart fail in ways that nobody understands.
const CLOCK_SKEW_MAX: SignedDuration = SignedDuration::from_mins(5);

/// What a cluster says of itself, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub server: String,
    /// PEM.
    pub authority: String,
}

/// What the machine was told.
#[derive(Clone, Debug)]
pub struct Told {
    /// `host:port`.
    pub endpoint: String,
    pub token: Token,
    /// `sha256:…`; the authority must have one of them.
    pub hashes: Vec<String>,
    /// Takes whatever authority is signed with the token.
    pub any_authority: bool,
}

/// What `cluster-info` tells, if it can be trusted (pure).
pub fn verify(info: &Value, told: &Told) -> Result<Cluster, ClusterError> {
    let refuse = |text: String| Err(ClusterError::Configuration(text));
    let Some(text) = info["data"]["kubeconfig"].as_str() else {
        return refuse(
            "the cluster says nothing of itself: its ConfigMap cluster-info has no kubeconfig".to_owned(),
        );
    };
    let id = &told.token.id;
    let Some(signature) = info["data"][format!("jws-kubeconfig-{id}")].as_str() else {
        return refuse(format!(
            "the cluster does not know the token {id}, or it has expired: make one with `orlop token create` on a master"
        ));
    };
    if signature != detached_signature(text.as_bytes(), id, told.token.secret()) {
        return refuse(format!(
            "what {} says is not signed with this token: compare the token with the one of `orlop token list`",
            told.endpoint
        ));
    }
    let document = yaml::read("the cluster's kubeconfig", text)?;
    let cluster = &document["clusters"][0]["cluster"];
    let authority = cluster["certificate-authority-data"]
        .as_str()
        .and_then(|data| STANDARD.decode(data).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let (Some(authority), Some(server)) = (authority, cluster["server"].as_str()) else {
        return refuse("the cluster's kubeconfig names no server or no authority".to_owned());
    };
    let hash = public_key_hash(&authority).unwrap_or_default();
    let known = told.hashes.iter().any(|told| told.eq_ignore_ascii_case(&hash));
    match (known, told.any_authority && told.hashes.is_empty()) {
        (true, _) | (_, true) => Ok(Cluster {
            server: server.to_owned(),
            authority,
        }),
        _ if told.hashes.is_empty() => refuse(
            "give --discovery-token-ca-cert-hash, or --discovery-token-unsafe-skip-ca-verification to trust whoever has the token"
                .to_owned(),
        ),
        _ => refuse(format!(
            "the authority of {} has the hash {hash}, not the one given with --discovery-token-ca-cert-hash: this is another cluster, or somebody is in between",
            told.endpoint
        )),
    }
}

/// Whether clocks are near enough.
pub fn check_clock(cluster: Timestamp, here: Timestamp) -> Result<(), ClusterError> {
    let skew = here.duration_since(cluster);
    if skew.abs() <= CLOCK_SKEW_MAX {
        return Ok(());
    }
    let (amount, way) = (
        orlop_api::age::seconds(skew.abs().as_secs()),
        if skew.is_positive() { "ahead of" } else { "behind" },
    );
    Err(ClusterError::Configuration(format!(
        "this machine's clock is {amount} {way} the cluster's: set it, then try again"
    )))
}

/// Asks the cluster, first trusting nobody, then once more over a connection that its own authority vouches for.
pub async fn discover(told: &Told) -> Result<Cluster, ClusterError> {
    let url = format!("https://{}", told.endpoint);
    let (info, date) = ask(client(&url, None, None)?, &url).await?;
    let cluster = verify(&info, told)?;
    if let Some(date) = date {
        check_clock(date, Timestamp::now())?;
    }
    let (again, _) = ask(client(&url, Some(&cluster.authority), None)?, &url).await?;
    match verify(&again, told)? == cluster {
        true => Ok(cluster),
        false => Err(ClusterError::Configuration(format!(
            "{} says one thing of the cluster over a connection that is checked and another over one that is not",
            told.endpoint
        ))),
    }
}

/// Waits until the cluster vouches for itself with a token: earlier nobody can join with it.
pub async fn wait_signed(client: &Client, token: &Token) -> Result<(), ClusterError> {
    let key = format!("jws-kubeconfig-{}", token.id);
    let what = format!(
        "the cluster has not signed cluster-info with the token {}",
        token.id
    );
    let hint = "see the log of kube-controller-manager";
    wait::until(&what, SIGNED_WITHIN, hint, async || {
        match api::get(client, PATH).await {
            Ok(Some(info)) if info["data"][&key].is_string() => Ok(()),
            Ok(_) => Err("it carries no signature of it".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

/// A client that is somebody (a kubeconfig's `user`), or nobody; without an authority whoever answers is believed.
pub fn client(url: &str, authority: Option<&str>, user: Option<&Value>) -> Result<Client, ClusterError> {
    let unusable = |what: &str, reason: String| ClusterError::Document {
        what: what.to_owned(),
        reason,
    };
    let uri = url.parse().map_err(|error| {
        ClusterError::Configuration(format!("{url} is no address of an API server: {error}"))
    })?;
    let mut config = Config::new(uri);
    config.connect_timeout = Some(TIMEOUT);
    config.read_timeout = Some(TIMEOUT);
    match authority {
        None => config.accept_invalid_certs = true,
        Some(authority) => {
            let certificates = pem::parse_many(authority)
                .map_err(|error| unusable("the cluster's authority", error.to_string()))?;
            config.root_cert = Some(certificates.into_iter().map(pem::Pem::into_contents).collect());
        }
    }
    if let Some(user) = user {
        config.auth_info = serde_json::from_value(user.clone())
            .map_err(|error| unusable("what this machine is known by", error.to_string()))?;
    }
    connect_to(config).map_err(ClusterError::api(format!("connect to {url}")))
}

/// `cluster-info`, and the server's clock.
async fn ask(client: Client, url: &str) -> Result<(Value, Option<Timestamp>), ClusterError> {
    let fail = || ClusterError::api(format!("be asked at {url} what cluster it is of"));
    let request = http::Request::get(PATH)
        .body(Body::empty())
        .map_err(|error| ClusterError::Configuration(error.to_string()))?;
    let response = client.send(request).await.map_err(fail())?;
    let date = response
        .headers()
        .get(http::header::DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
        .map(|date| date.timestamp());
    let status = response.status();
    let body = response.into_body().collect_bytes().await.map_err(fail())?;
    if !status.is_success() {
        return Err(ClusterError::Configuration(format!(
            "{url} does not tell what cluster it is of ({status}): is it a cluster that `orlop init` made?"
        )));
    }
    let info = serde_json::from_slice(&body).map_err(|error| ClusterError::Document {
        what: "cluster-info".to_owned(),
        reason: error.to_string(),
    })?;
    Ok((info, date))
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_pki::Authority;
    use serde_json::json;

    struct Case {
        info: Value,
        told: Told,
        authority: String,
    }

    fn case() -> Case {
        let token: Token = "abcdef.0123456789abcdef".parse().unwrap();
        let authority = Authority::ephemeral("kubernetes")
            .unwrap()
            .certificate()
            .to_owned();
        let text = crate::yaml::write(&crate::kubeconfigs::cluster_info(
            "https://10.0.0.1:6443",
            &authority,
        ))
        .unwrap();
        let signature = detached_signature(text.as_bytes(), &token.id, token.secret());
        Case {
            info: json!({"data": {"kubeconfig": text, "jws-kubeconfig-abcdef": signature}}),
            told: Told {
                endpoint: "10.0.0.1:6443".to_owned(),
                token,
                hashes: vec![public_key_hash(&authority).unwrap()],
                any_authority: false,
            },
            authority,
        }
    }

    #[test]
    fn a_cluster_is_trusted_by_token_and_hash() {
        let Case {
            info,
            told,
            authority,
        } = case();
        let cluster = verify(&info, &told).unwrap();
        assert_eq!(cluster.server, "https://10.0.0.1:6443");
        assert_eq!(cluster.authority, authority);
        let unchecked = Told {
            hashes: Vec::new(),
            any_authority: true,
            ..told
        };
        assert_eq!(verify(&info, &unchecked).unwrap(), cluster);
    }

    /// Issue 7: bad joins end in one clear sentence.
    #[test]
    fn whoever_cannot_be_trusted_is_refused_in_one_sentence() {
        type Change = fn(&mut Case);
        let cases: [(Change, &str); 5] = [
            (
                |case| case.told.hashes = vec![format!("sha256:{}", "0".repeat(64))],
                "another cluster",
            ),
            (|case| case.told.hashes.clear(), "--discovery-token-ca-cert-hash"),
            (
                |case| case.told.token = "ghijkl.0123456789abcdef".parse().unwrap(),
                "has expired",
            ),
            (
                |case| case.told.token = "abcdef.0123456789abcde0".parse().unwrap(),
                "not signed with this token",
            ),
            (|case| case.info = json!({"data": {}}), "says nothing of itself"),
        ];
        for (change, want) in cases {
            let mut case = case();
            change(&mut case);
            let error = verify(&case.info, &case.told).unwrap_err().to_string();
            assert!(error.contains(want) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn clocks_that_are_far_apart_are_told_which_way() {
        let cluster: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let at = |text: &str| check_clock(cluster, text.parse().unwrap());
        assert!(at("2026-01-01T12:04:59Z").is_ok());
        assert!(
            at("2026-01-01T14:00:00Z")
                .unwrap_err()
                .to_string()
                .contains("120m ahead of")
        );
        assert!(
            at("2026-01-01T11:50:00Z")
                .unwrap_err()
                .to_string()
                .contains("10m behind")
        );
    }
}
