//! The ports of the nodes that one Service gets.
use super::{Taken, note, number};
use crate::resources::services::is_given_node_ports;
use crate::status::{Cause, cause};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

/// The ports of the nodes, while one Service is given some.
pub(super) struct Ports<'p> {
    range: &'p RangeInclusive<u16>,
    taken: &'p HashSet<u16>,
    /// What the Service had, and so keeps.
    had: HashSet<u16>,
    /// What it has now.
    given: HashSet<u16>,
    random: u64,
    /// Whether it has any that it had not.
    pub took: bool,
}

impl<'p> Ports<'p> {
    pub fn new(
        before: Option<&Value>,
        taken: &'p Taken,
        range: &'p RangeInclusive<u16>,
        random: u64,
    ) -> Self {
        let mut had = Taken::default();
        if let Some(before) = before {
            note(before, &mut had);
        }
        Self {
            range,
            taken: &taken.ports,
            had: had.ports,
            given: HashSet::new(),
            random,
            took: false,
        }
    }

    /// One that was asked for by its number.
    fn take(&mut self, port: u16) -> Result<(), String> {
        if self.had.contains(&port) || self.given.contains(&port) {
            self.given.insert(port);
            return Ok(());
        }
        if !self.range.contains(&port) {
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                self.range.start(),
                self.range.end()
            ));
        }
        if self.taken.contains(&port) {
            return Err("provided port is already allocated".to_owned());
        }
        self.given.insert(port);
        self.took = true;
        Ok(())
    }

    /// Any that is free.
    fn next(&mut self) -> Option<u16> {
        let start = u64::from(*self.range.start());
        let count = u64::from(self.range.end() - self.range.start()) + 1;
        let all = (0..count).filter_map(|n| u16::try_from(start + (n + self.random) % count).ok());
        let used = [self.taken, &self.had, &self.given];
        let free = all
            .into_iter()
            .find(|port| !used.iter().any(|used| used.contains(port)))?;
        self.given.insert(free);
        self.took = true;
        Some(free)
    }
}

/// `is_new`: ports of one number that differ in their protocol share a port of the nodes, as upstream gives them when a
/// Service is made.
pub(super) fn assign_ports(
    service: &mut Value,
    is_new: bool,
    ports: &mut Ports<'_>,
) -> Result<(), Vec<Cause>> {
    let gives = is_given_node_ports(service);
    let all = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let mut shared: HashMap<u64, u16> = HashMap::new();
    if is_new {
        let named = all
            .iter()
            .rev()
            .filter_map(|port| Some((port["port"].as_u64()?, number(&port["nodePort"])?)));
        shared.extend(named);
    }
    let mut causes = Vec::new();
    // Those that were asked for by their number come first, so that no other port is given theirs.
    for (at, port) in all.iter().enumerate() {
        if let Some(asked) = number(&port["nodePort"])
            && let Err(why) = ports.take(asked)
        {
            let field = format!("spec.ports[{at}].nodePort");
            causes.push(cause::invalid(&field, &port["nodePort"], &why));
        }
    }
    for (at, port) in all.iter().enumerate() {
        if !gives || number(&port["nodePort"]).is_some() || !causes.is_empty() {
            continue;
        }
        let of_service = port["port"].as_u64().unwrap_or_default();
        let found = shared.get(&of_service).copied();
        match found.or_else(|| ports.next()) {
            Some(free) => {
                if is_new {
                    shared.insert(of_service, free);
                }
                service["spec"]["ports"][at]["nodePort"] = json!(free);
            }
            None => causes.push(cause::invalid(
                &format!("spec.ports[{at}].nodePort"),
                &json!(0),
                "failed to allocate a nodePort: range is full",
            )),
        }
    }
    if causes.is_empty() { Ok(()) } else { Err(causes) }
}

/// The port at which load balancers ask a node.
pub(super) fn assign_health_check(service: &mut Value, ports: &mut Ports<'_>) -> Result<(), Vec<Cause>> {
    let field = "spec.healthCheckNodePort";
    let asked = &service["spec"]["healthCheckNodePort"];
    if let Some(port) = number(asked) {
        return ports.take(port).map_err(|why| {
            let hint = format!("failed to allocate requested HealthCheck NodePort {port}: {why}");
            vec![cause::invalid(field, asked, &hint)]
        });
    }
    let Some(free) = ports.next() else {
        let hint = "failed to allocate a HealthCheck NodePort: range is full";
        return Err(vec![cause::invalid(field, &json!(0), hint)]);
    };
    service["spec"]["healthCheckNodePort"] = json!(free);
    Ok(())
}
