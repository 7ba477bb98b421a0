//! What people are told of a request that failed, and what it means to programs.

/// The server's own words, without the client's wrapping; of a server that said nothing, why.
pub fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// What an API server says of a kind that it does not serve.
const UNSERVED: &str = "404 page not found";

/// Whether an API server said that it has no such kind: these are its words. One that is still starting is unavailable,
/// and who stands in front of it speaks otherwise.
pub fn is_unserved(status: &kube::core::Status) -> bool {
    status.code == 404 && status.message.trim_end().eq_ignore_ascii_case(UNSERVED)
}

/// Whether asking again may help: nobody answered, or who did has too much to do or is not well.
pub fn is_transient(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        kube::Error::Service(_) | kube::Error::HyperError(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_is_quoted() {
        let status = kube::core::Status::failure("pods \"p\" not found", "NotFound");
        let error = kube::Error::Api(Box::new(status.with_code(404)));
        assert_eq!(message(&error), "pods \"p\" not found");
        let silent = kube::Error::LinesCodecMaxLineLengthExceeded;
        assert_eq!(message(&silent), silent.to_string());
    }
}
