//! Ports of Services, Endpoints and EndpointSlices.
use super::{invalid, text};
use crate::status::{Cause, cause};
use orlop_api::names;
use serde_json::Value;

/// What ports may speak, in the order of messages.
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// That its `protocol` is one.
pub fn protocol(port: &Value, field: &str) -> Option<Cause> {
    let protocol = text(port, "protocol");
    (!PROTOCOLS.contains(&protocol)).then(|| cause::unsupported(field, protocol, PROTOCOLS))
}

/// That its `appProtocol`, if it has one, is a qualified name.
pub fn application_protocol(port: &Value, field: &str) -> Vec<Cause> {
    let name = port["appProtocol"].as_str();
    name.map(|name| invalid(field, name, names::check_qualified_name(name)))
        .unwrap_or_default()
}
