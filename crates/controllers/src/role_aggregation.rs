//! Fills in the rules of ClusterRoles that are made of others. This project's API server does so by itself; others leave
//! it to their controllers.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::{Patch, PatchParams};
use orlop_api::aggregated_roles::changes;
use orlop_client::informer::{Informer, Projection};
use orlop_client::workqueue::WorkQueue;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::api_error;
use crate::cache::Cache;
use crate::run::watch_all;
use crate::workers::Workers;

/// Keeps aggregated roles complete.
pub struct RoleAggregation {
    client: kube::Client,
    roles: Arc<Informer<Seen>>,
    /// One role that changes may concern any other.
    queue: Arc<WorkQueue<()>>,
}

/// That there is such a role.
struct Seen;

impl Projection for Seen {
    type Object = ClusterRole;

    fn project(_: ClusterRole) -> Self {
        Self
    }
}

impl RoleAggregation {
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let roles: Arc<Informer<Seen>> = Arc::new(Informer::new());
        let queue = cache.queue("ClusterRoleAggregator");
        let on = queue.clone();
        roles.on_change(move |_| on.add(()));
        Arc::new(Self { client, roles, queue })
    }

    /// Starts the watch and the worker.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        watch_all(&self.roles, &self.client, tasks);
        Workers {
            name: "clusterrole-aggregation",
            count: 1,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, ()| async move { this.sync().await },
            api_error::is_conflict,
        );
    }

    async fn sync(&self) -> Result<(), kube::Error> {
        // All at once, which comes before what is told one by one.
        self.roles.synced().await;
        let request = http::Request::get("/apis/rbac.authorization.k8s.io/v1/clusterroles").body(Vec::new());
        let request = request.map_err(kube::Error::HttpError)?;
        let mut list: Value = self.client.request(request).await?;
        let mut roles = match list["items"].take() {
            Value::Array(roles) => roles,
            _ => Vec::new(),
        };
        roles.sort_by(|one, other| name(one).cmp(name(other)));
        let api: Api<ClusterRole> = Api::all(self.client.clone());
        for (name, version, rules) in changes(&roles) {
            let patch = json!({"metadata": {"resourceVersion": version}, "rules": rules});
            match api
                .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                .await
            {
                Err(error) if !api_error::is_not_found(&error) => return Err(error),
                _ => tracing::info!(role = name, "a role has the rules of those that it is made of"),
            }
        }
        Ok(())
    }
}

fn name(role: &Value) -> &str {
    role["metadata"]["name"].as_str().unwrap_or_default()
}
