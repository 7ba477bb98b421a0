//! Providers as programs that run.
use super::*;
use crate::volumes::fake_api::FakeApi;
use serde_json::json;

const PROTOCOL: &str = "credentialprovider.kubelet.k8s.io/v1";

struct Bench {
    dir: tempfile::TempDir,
    metrics: Metrics,
}

impl Bench {
    /// Whose program notes what it was asked and says `answer`.
    fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("login");
        std::fs::write(
            &program,
            format!("#!/bin/sh\ncd {}\n{script}\n", dir.path().display()),
        )
        .unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            dir,
            metrics: Metrics::default(),
        }
    }

    fn open(&self, more: &str) -> Providers {
        let text = format!(
            "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n\
             - {{name: login, matchImages: ['*.example.com'], defaultCacheDuration: 1h, apiVersion: {PROTOCOL}, \
             args: [get], env: [{{name: WHO, value: me}}]{more}}}\n"
        );
        let file = self.dir.path().join("config.yaml");
        std::fs::write(&file, text).unwrap();
        Providers::open(&file, self.dir.path()).unwrap()
    }

    async fn logins(&self, providers: &Providers, image: &str) -> Vec<String> {
        let pod =
            json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": {"containers": []}});
        self.logins_of(providers, (pod, image), None).await
    }

    async fn logins_of(
        &self,
        providers: &Providers,
        (pod, image): (serde_json::Value, &str),
        client: Option<&Client>,
    ) -> Vec<String> {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let mut credentials = Credentials::default();
        providers
            .add_to(&mut credentials, (&pod, image), client, &self.metrics)
            .await;
        let found = credentials.of(image);
        found
            .iter()
            .map(|login| format!("{}:{}", login.auth.username, login.auth.password))
            .collect()
    }

    fn asked(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.dir.path().join("asked")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn answering(scope: &str) -> String {
    format!(
        r#"cat >> asked; echo >> asked
echo '{{"kind": "CredentialProviderResponse", "apiVersion": "{PROTOCOL}", "cacheKeyType": "{scope}",
  "auth": {{"*.example.com": {{"username": "'$WHO-$1'", "password": "p"}}}}}}'"#
    )
}

#[tokio::test]
async fn provider_is_asked_once_for_what_its_answer_covers() {
    let bench = Bench::new(&answering("Registry"));
    let providers = bench.open("");
    for image in ["r.example.com/a:1", "r.example.com/b@sha256:ab"] {
        assert_eq!(bench.logins(&providers, image).await, ["me-get:p"]);
    }
    assert_eq!(bench.asked().len(), 1);
    bench.logins(&providers, "s.example.com/a").await;
    bench.logins(&providers, "elsewhere.com/a").await;
    let asked = bench.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(
        asked[0],
        json!({"kind": "CredentialProviderRequest", "apiVersion": PROTOCOL, "image": "r.example.com/a"})
    );
}

#[tokio::test]
async fn those_who_ask_the_same_at_the_same_time_share_an_answer() {
    let bench = Bench::new(&answering("Image"));
    let providers = bench.open("");
    let all = (0..8).map(|_| bench.logins(&providers, "r.example.com/a"));
    let all = futures::future::join_all(all).await;
    assert!(all.iter().all(|logins| logins.len() == 1), "{all:?}");
    assert_eq!(bench.asked().len(), 1);
}

#[tokio::test]
async fn provider_that_fails_is_counted_and_asked_again() {
    let bench = Bench::new("echo no >&2; exit 3");
    let providers = bench.open("");
    for _ in 0..2 {
        assert!(bench.logins(&providers, "r.example.com/a").await.is_empty());
    }
    let counted = PluginName {
        plugin_name: "login".into(),
    };
    let errors = bench
        .metrics
        .credential_provider_errors
        .get_or_create(&counted)
        .get();
    assert_eq!(errors, 2);
}

#[tokio::test]
async fn pod_without_an_account_is_none_of_a_provider_that_wants_one() {
    let bench = Bench::new(&answering("Image"));
    let token = |required| {
        format!(
            ", tokenAttributes: {{serviceAccountTokenAudience: r, cacheType: ServiceAccount, requireServiceAccount: {required}}}"
        )
    };
    let image = "r.example.com/a";
    assert!(bench.logins(&bench.open(&token(true)), image).await.is_empty());
    assert_eq!(bench.logins(&bench.open(&token(false)), image).await.len(), 1);
    assert_eq!(bench.asked()[0].get("serviceAccountToken"), None);
}

#[tokio::test]
async fn answers_for_a_token_are_found_again_because_a_pod_keeps_its_token() {
    let bench = Bench::new(&answering("Image"));
    let providers = bench.open(
        ", tokenAttributes: {serviceAccountTokenAudience: r, cacheType: Token, requireServiceAccount: true}",
    );
    let api = FakeApi::new();
    let account = json!({"metadata": {"uid": "account"}});
    api.put("/api/v1/namespaces/d/serviceaccounts/sa", account);
    let client = api.client();
    let pull = async |uid: &str| {
        let pod = json!({"metadata": {"name": "p", "namespace": "d", "uid": uid},
            "spec": {"serviceAccountName": "sa", "containers": []}});
        bench
            .logins_of(&providers, (pod, "r.example.com/a"), Some(&client))
            .await
    };
    for _ in 0..2 {
        assert_eq!(pull("u").await.len(), 1);
    }
    assert_eq!((api.token_requests().len(), bench.asked().len()), (1, 1));
    pull("another").await;
    assert_eq!((api.token_requests().len(), bench.asked().len()), (2, 2));
}

#[test]
fn program_that_is_not_there_is_told_at_start() {
    let bench = Bench::new("");
    let file = bench.dir.path().join("config.yaml");
    bench.open("");
    std::fs::set_permissions(
        bench.dir.path().join("login"),
        std::fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    let open = || {
        Providers::open(&file, bench.dir.path())
            .err()
            .map(|error| error.to_string())
    };
    assert!(open().unwrap().contains("login"));
    std::fs::remove_file(bench.dir.path().join("login")).unwrap();
    assert!(open().unwrap().contains("login"));
}
