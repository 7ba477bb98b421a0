//! The node's own object: registration ([`register`]), status ([`status`], and what is posted of it: [`post`]; both pure),
//! lease ([`lease`]), and what the machine ([`machine`]; who may use what of it: [`shares`]) and its runtime ([`runtime`])
//! are, or its cloud says ([`cloud`]).
//!
//! | task | listens to | emits |
//! |---|---|---|
//! | status | the own Node, a check of machine and runtime every 10 s | registration, status patches, node events |
//! | own Node | watch of the Node by name | [`Snapshot`] |
//! | lease | a 10 s clock, which is the lease's meaning | lease renewals |
pub mod cloud;
mod lease;
mod machine;
mod pod_cidr;
mod post;
mod register;
mod runtime;
mod shares;
pub mod state;
mod status;

pub(crate) use machine::one_of_each_family;
pub use machine::{addresses, memory_capacity, swap_capacity};
pub use shares::{kept_back, share_of_pods, shares_of_others};
pub use status::KUBELET_VERSION;

use crate::beat;
use crate::config::KubeletConfiguration;
use crate::devices::Count;
use crate::sources::report::{self, ReportBoard};
use futures::{StreamExt, pin_mut};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerImage, Node, NodeStatus};
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use machine::{Machine, Measures};
use orlop_client::events::{EventType, Recorder, node_reference};
use orlop_cri::{RuntimeService, v1};
use runtime::RuntimeHealth;
use state::State;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The own Node object as last seen; `None` until it is known (always, without an API server).
pub type Snapshot = watch::Receiver<Option<Arc<Node>>>;

/// First and longest wait before another try to register or to post.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(7);
/// A node that comes up is looked at so often, for so long: readiness is what people wait for.
const STARTING_CHECK: Duration = Duration::from_millis(100);
const STARTING_MAX: Duration = Duration::from_secs(120);
/// Later, one that isn't ready is. Neither the runtime nor its network tells when it comes back.
const UNREADY_CHECK: Duration = Duration::from_secs(5);
/// Two who say different things of one node must not keep the API server busy with it; the next check is early enough.
const INSIST_PAUSE: Duration = Duration::from_secs(1);
/// Images come and go seldom, and listing them is the dearest part of a check.
const IMAGES_EVERY: Duration = Duration::from_secs(30);

/// What the node tasks work with.
pub struct NodeContext {
    /// The API server.
    pub client: kube::Client,
    /// The runtime.
    pub runtime: Arc<dyn RuntimeService>,
    /// Events.
    pub recorder: Recorder,
    /// This node.
    pub node_name: String,
    /// KubeletConfiguration.
    pub configuration: KubeletConfiguration,
    /// The agent's directory, whose disk is the node's.
    pub root: PathBuf,
    /// The addresses to tell ([`cloud::told`]), the preferred one first.
    pub node_ips: Vec<IpAddr>,
    /// `--node-labels`.
    pub labels: BTreeMap<String, String>,
    /// Cgroup v1, which is told of.
    pub cgroup_v1: bool,
    /// What the node is going through.
    pub state: State,
    /// What became of manifests.
    pub reports: ReportBoard,
    /// What device plugins bring.
    pub devices: watch::Receiver<BTreeMap<String, Count>>,
    /// Where the own Node is shown.
    pub own_node: watch::Sender<Option<Arc<Node>>>,
}

/// The machine's logical processors.
pub fn cores() -> i64 {
    std::thread::available_parallelism().map_or(1, |cores| i64::try_from(cores.get()).unwrap_or(1))
}

/// Keeps the Node object true until shutdown.
pub async fn run(context: NodeContext, shutdown: CancellationToken) {
    let watching = watch_own(&context);
    let leasing = lease::run(
        context.client.clone(),
        context.node_name.clone(),
        context.configuration.node_lease_duration_seconds,
        context.own_node.subscribe(),
    );
    let ranges = pod_cidr::follow(
        context.runtime.clone(),
        context.configuration.pod_cidr.clone(),
        context.own_node.subscribe(),
    );
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = watching => {}
        () = ranges => {}
        () = leasing => {}
        () = Keeper::new(&context).run() => {}
    }
}

/// Posts the node's status whenever it changed.
struct Keeper<'a> {
    context: &'a NodeContext,
    began: Instant,
    machine: Machine,
    /// `containerd://1.6.20`, once it has said so.
    runtime_version: String,
    health: RuntimeHealth,
    runtime_handlers: Vec<v1::RuntimeHandler>,
    runtime_features: Option<v1::RuntimeFeatures>,
    images: Vec<ContainerImage>,
    images_at: Option<Instant>,
    /// As last posted, and when.
    posted: Option<(NodeStatus, Instant)>,
    /// The status that somebody else has put in its place since.
    overruled: Option<NodeStatus>,
    unschedulable: bool,
}

impl<'a> Keeper<'a> {
    fn new(context: &'a NodeContext) -> Self {
        Self {
            context,
            began: Instant::now(),
            machine: Machine::read(),
            runtime_version: String::new(),
            health: RuntimeHealth::default(),
            runtime_handlers: Vec::new(),
            runtime_features: None,
            images: Vec::new(),
            images_at: None,
            posted: None,
            overruled: None,
            unschedulable: false,
        }
    }

    async fn run(mut self) {
        self.tell(EventType::Normal, "Starting", "Starting kubelet.".into());
        if self.context.cgroup_v1 {
            let message = "cgroup v1 support is in maintenance mode, please migrate to cgroup v2";
            self.tell(EventType::Warning, "CgroupV1", message.into());
        }
        let mut own = self.context.own_node.subscribe();
        let mut state = self.context.state.subscribe();
        let mut reports = self.context.reports.subscribe();
        let mut devices = self.context.devices.clone();
        let mut retry = RETRY_FIRST;
        loop {
            match self.pass().await {
                Ok(()) => retry = RETRY_FIRST,
                Err(error) => {
                    tracing::warn!(node = self.context.node_name, %error, "node status not posted, trying again");
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                    continue;
                }
            }
            // The machine tells nobody that its disk fills up: it has to be looked at.
            let check = tokio::time::sleep_until(self.check_at());
            pin_mut!(check);
            loop {
                let changed = tokio::select! {
                    () = &mut check => break,
                    // The context holds the sender.
                    Ok(()) = state.changed() => break,
                    Ok(()) = reports.changed() => break,
                    Ok(()) = devices.changed() => break,
                    changed = own.changed() => changed,
                };
                let node = own.borrow_and_update().clone();
                // The sender is this very context's.
                if changed.is_err() || self.own_changed(node.as_deref()).await {
                    break;
                }
            }
        }
    }

    fn check_at(&self) -> tokio::time::Instant {
        let usual = self.context.configuration.node_status_update_frequency.0;
        let ready = self
            .posted
            .as_ref()
            .is_some_and(|(status, _)| status::is_ready(status));
        if !ready && self.began.elapsed() < STARTING_MAX {
            return tokio::time::Instant::now() + STARTING_CHECK;
        }
        beat::at(if ready { usual } else { UNREADY_CHECK.min(usual) })
    }

    /// Somebody changed the Node; whether a pass is due at once.
    async fn own_changed(&mut self, node: Option<&Node>) -> bool {
        let Some(node) = node else {
            self.overruled = None;
            if self.posted.take().is_some() {
                tracing::warn!(
                    node = self.context.node_name,
                    "the Node object was deleted: registering again"
                );
            }
            return true;
        };
        let unschedulable = node
            .spec
            .as_ref()
            .and_then(|spec| spec.unschedulable)
            .unwrap_or(false);
        if unschedulable != self.unschedulable {
            self.unschedulable = unschedulable;
            let reason = if unschedulable {
                "NodeNotSchedulable"
            } else {
                "NodeSchedulable"
            };
            self.tell_status(reason);
        }
        if register::is_mislabelled(node)
            && let Err(error) = register::mend(self.context, node).await
        {
            tracing::warn!(node = self.context.node_name, %error, "cannot put the node's labels right");
        }
        let (Some((posted, at)), Some(shown)) = (&self.posted, &node.status) else {
            return false;
        };
        // A later one that agrees makes good an earlier one that was under way when this was posted.
        self.overruled = post::is_overruled(posted, shown).then(|| shown.clone());
        self.overruled.is_some() && at.elapsed() >= INSIST_PAUSE
    }

    /// Looks at everything once, and posts what is to be posted.
    async fn pass(&mut self) -> Result<(), kube::Error> {
        self.look_at_runtime().await;
        let context = self.context;
        let own = context.own_node.borrow().clone();
        let current = context.state.current();
        let mut troubles = self.health.troubles(Instant::now());
        if current.is_shutting_down {
            troubles.push("node is shutting down".into());
        }
        let facts = status::Facts {
            node_name: &context.node_name,
            configuration: &context.configuration,
            addresses: &context.node_ips,
            machine: &self.machine,
            measures: Measures::take(&context.root),
            runtime_version: &self.runtime_version,
            runtime_handlers: &self.runtime_handlers,
            runtime_features: self.runtime_features.as_ref(),
            images: &self.images,
            devices: context.devices.borrow().clone(),
            manifest_error: report::summary(&context.reports.now()),
            pressures: &current.pressures,
            troubles,
        };
        let last = self
            .overruled
            .as_ref()
            .or(self.posted.as_ref().map(|(status, _)| status));
        let previous = last.or(own.as_ref().and_then(|node| node.status.as_ref()));
        let wanted = status::node_status(&facts, previous, Timestamp::now());
        let shown = own.as_ref().and_then(|node| node.status.as_ref());
        let wanted = cloud::left_to_it(&context.configuration, shown, wanted);
        let given = shown.map_or_else(BTreeMap::new, |shown| post::given_by_others(shown, &wanted));
        let report = context.configuration.node_status_report_frequency.0;
        match &self.posted {
            None => {
                let Some((before, node)) = register::register(context, &wanted).await? else {
                    return Ok(());
                };
                self.tell_reboot(before.as_ref());
                self.unschedulable = node
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.unschedulable)
                    .unwrap_or(false);
                // The watch may be ahead; it is not told older news.
                context.own_node.send_if_modified(|own| {
                    let new = own
                        .as_ref()
                        .is_none_or(|own| own.metadata.uid != node.metadata.uid);
                    if new {
                        *own = Some(Arc::new(node));
                    }
                    new
                });
            }
            Some((posted, at))
                if self.overruled.is_none() && !post::differs(posted, &wanted) && at.elapsed() < report =>
            {
                return Ok(());
            }
            Some(_) => match register::patch_status(context, &wanted, &given).await {
                // It is registered again, when the watch has told.
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
                outcome => drop(outcome?),
            },
        }
        let posted = self.posted.replace((wanted.clone(), Instant::now()));
        let before = self.overruled.take().or(posted.map(|(status, _)| status));
        for reason in status::transitions(before.as_ref(), &wanted) {
            self.tell_status(reason);
        }
        Ok(())
    }

    async fn look_at_runtime(&mut self) {
        let runtime = &self.context.runtime;
        let answer = runtime.status(false).await;
        if let Err(error) = &answer {
            tracing::debug!(%error, "the runtime gives no status");
        }
        let answer = answer.ok();
        let status = answer
            .as_ref()
            .map(|answer| answer.status.clone().unwrap_or_default());
        self.health.note(Instant::now(), status.as_ref());
        let Some(answer) = answer else {
            // It may come back as another version.
            self.runtime_version.clear();
            return;
        };
        if self.runtime_version.is_empty()
            && let Ok(version) = runtime.version().await
        {
            self.runtime_version = format!("{}://{}", version.runtime_name, version.runtime_version);
        }
        self.runtime_handlers = answer.runtime_handlers;
        self.runtime_features = answer.features;
        let fresh = self.images_at.is_some_and(|at| at.elapsed() < IMAGES_EVERY);
        if !fresh && let Ok(images) = runtime.list_images(None).await {
            self.images = status::images(images, self.context.configuration.node_status_max_images);
            self.images_at = Some(Instant::now());
        }
    }

    fn tell_reboot(&self, before: Option<&Node>) {
        let info = before.and_then(|node| node.status.as_ref()?.node_info.as_ref());
        let (Some(info), now) = (info, &self.machine.boot_id) else {
            return;
        };
        if !info.boot_id.is_empty() && info.boot_id != *now {
            let name = &self.context.node_name;
            let message = format!("Node {name} has been rebooted, boot id: {now}");
            self.tell(EventType::Warning, "Rebooted", message);
        }
    }

    fn tell_status(&self, reason: &'static str) {
        let name = &self.context.node_name;
        tracing::info!(node = name, status = reason, "node");
        self.tell(
            EventType::Normal,
            reason,
            format!("Node {name} status is now: {reason}"),
        );
    }

    fn tell(&self, kind: EventType, reason: &str, message: String) {
        let node = node_reference(&self.context.node_name);
        self.context.recorder.event(&node, kind, reason, message);
    }
}

/// Follows the own Node object.
async fn watch_own(context: &NodeContext) {
    let nodes: Api<Node> = Api::all(context.client.clone());
    let only = watcher::Config::default().fields(&format!("metadata.name={}", context.node_name));
    let events = watcher::watcher(nodes, only).default_backoff();
    pin_mut!(events);
    let mut found = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => found = false,
            Ok(Event::InitApply(node) | Event::Apply(node)) => {
                found = true;
                context.own_node.send_replace(Some(Arc::new(node)));
            }
            Ok(Event::InitDone) if found => {}
            // Before it is registered there is nothing to be told of.
            Ok(Event::InitDone | Event::Delete(_)) => {
                context.own_node.send_if_modified(|own| own.take().is_some());
            }
            // The watcher waits and tries again by itself.
            Err(error) => tracing::debug!(%error, "watch of the own Node interrupted"),
        }
    }
}

#[cfg(test)]
mod tests;
