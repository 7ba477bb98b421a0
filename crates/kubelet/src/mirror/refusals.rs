//! Mirror pods that the API server does not take: shown by `orlop status` and told of in an event, until it does.
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is refused and why, by full name; clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<BTreeMap<String, String>>>);

impl Refusals {
    /// Notes why a mirror was refused; whether that is news.
    pub fn note(&self, full_name: &str, reason: &str) -> bool {
        let before = self.0.lock().insert(full_name.to_owned(), reason.to_owned());
        before.as_deref() != Some(reason)
    }

    /// The mirror is there, or nobody wants it any more.
    pub fn clear(&self, full_name: &str) {
        self.0.lock().remove(full_name);
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<String, String> {
        self.0.lock().clone()
    }
}

/// Why the API server refuses an object, in its words; `None`: it does not, it only can't be asked now, or isn't sure.
pub fn refusal(error: &kube::Error) -> Option<String> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    let by_webhook = status.code == 500 && status.message.contains("webhook");
    // A namespace that is missing is the answer 404; 401, 409 and 429 are about something else than the object.
    let refused = matches!(status.code, 400 | 402 | 403 | 404 | 405 | 413 | 422) || by_webhook;
    refused.then(|| status.message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Box::new(kube::core::Status {
            code,
            message: message.to_owned(),
            ..kube::core::Status::default()
        }))
    }

    #[test]
    fn refusals_of_admission_and_webhooks_are_told_from_an_api_server_that_is_busy() {
        let denied = "admission webhook \"no.example.com\" denied the request: no";
        let broken = "Internal error occurred: failed calling webhook \"no.example.com\": refused";
        for (error, want) in [
            (answer(403, denied), Some(denied)),
            (answer(422, "Pod is invalid"), Some("Pod is invalid")),
            (
                answer(404, "namespaces \"shop\" not found"),
                Some("namespaces \"shop\" not found"),
            ),
            (answer(500, broken), Some(broken)),
            (answer(500, "etcd is away"), None),
            (answer(401, "Unauthorized"), None),
            (answer(409, "already exists"), None),
            (answer(429, "too many"), None),
            (kube::Error::Service("away".into()), None),
        ] {
            assert_eq!(refusal(&error).as_deref(), want, "{error}");
        }
    }

    #[test]
    fn a_refusal_is_news_once() {
        let refusals = Refusals::default();
        assert!(refusals.note("a_b", "no"));
        assert!(!refusals.note("a_b", "no"));
        assert!(refusals.note("a_b", "never"));
        refusals.clear("a_b");
        assert!(refusals.all().is_empty());
    }
}
