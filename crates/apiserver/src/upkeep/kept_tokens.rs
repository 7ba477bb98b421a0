//! Labels Secrets whose tokens are used with the day of that, so that those which nobody needs can be found.
use super::own_call;
use crate::ApiServer;
use http::Method;
use jiff::Timestamp;
use orlop_api::annotations::{TOKEN_LAST_USED, day};
use serde_json::json;
use std::sync::Weak;

/// Labels them, one after the other, until the server ends.
pub async fn follow(server: Weak<ApiServer>) {
    loop {
        let Some(accounts) = server
            .upgrade()
            .and_then(|server| server.accounts.as_ref().map(|a| a.used.clone()))
        else {
            return;
        };
        let Some(shutdown) = server.upgrade().map(|server| server.shutdown.clone()) else {
            return;
        };
        let used = tokio::select! {
            used = accounts.take() => used,
            () = shutdown.cancelled() => return,
        };
        let Some(server) = server.upgrade() else { return };
        for (namespace, name) in used {
            let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
            let label = json!({"metadata": {"labels": {TOKEN_LAST_USED: day(Timestamp::now())}}});
            let code = own_call(&server, Method::PATCH, &path, label).await;
            // What fails is tried with the next use.
            if !code.is_success() {
                tracing::debug!(%code, namespace, name, "the use of a token is not noted");
            }
        }
    }
}
