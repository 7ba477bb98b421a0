//! What a metric comes to, whatever it is about.

use k8s_openapi::api::autoscaling::v2::MetricStatus;

/// What a metric asks for.
#[derive(Debug)]
pub struct Answer {
    /// So many pods.
    pub replicas: i32,
    /// What it is called where its wish is told.
    pub name: String,
    /// What it says.
    pub status: MetricStatus,
}

/// One metric that can't be read.
#[derive(Debug)]
pub struct Unreadable {
    /// One word.
    pub reason: &'static str,
    /// One sentence.
    pub why: String,
    /// The same with what was tried.
    pub wrapped: String,
}
