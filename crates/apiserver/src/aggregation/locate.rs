//! Where the server behind an APIService is, or what its condition says when it is nowhere.
use super::Remote;
use crate::cache::Cache;
use crate::outbound::{self, Places};

/// Why a Service leads nowhere: the reason of the condition, and the message.
#[derive(Debug, PartialEq, Eq)]
pub struct Nowhere {
    pub reason: &'static str,
    pub message: String,
}

/// The places of the server behind an APIService.
///
/// # Errors
/// Its Service leads nowhere.
pub fn locate(cache: &Cache, remote: &Remote) -> Result<Places, Nowhere> {
    let places = Places::of_service(cache, &remote.namespace, &remote.service, remote.port);
    places.map_err(|nowhere| told(&nowhere, remote))
}

fn told(nowhere: &outbound::Nowhere, remote: &Remote) -> Nowhere {
    use outbound::Nowhere as Of;
    let service = format!("service/{} in {:?}", remote.service, remote.namespace);
    let (reason, message) = match nowhere {
        Of::Service => ("ServiceNotFound", format!("{service} is not present")),
        Of::Port => (
            "ServicePortError",
            format!("{service} is not listening on port {}", remote.port),
        ),
        Of::Slices => (
            "EndpointsNotFound",
            format!("cannot find endpointslices for {service}"),
        ),
        Of::Endpoints(port) => (
            "MissingEndpoints",
            format!("endpoints for {service} have no addresses with port name {port:?}"),
        ),
    };
    Nowhere { reason, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_name_the_service_and_what_it_lacks() {
        let remote = Remote::of(
            &json!({"metadata": {"name": "v1.x"}, "spec": {"group": "x", "version": "v1",
            "service": {"namespace": "n", "name": "s", "port": 443}}}),
        )
        .unwrap();
        use outbound::Nowhere as Of;
        for (nowhere, reason, message) in [
            (
                Of::Service,
                "ServiceNotFound",
                "service/s in \"n\" is not present",
            ),
            (
                Of::Port,
                "ServicePortError",
                "service/s in \"n\" is not listening on port 443",
            ),
            (
                Of::Slices,
                "EndpointsNotFound",
                "cannot find endpointslices for service/s in \"n\"",
            ),
            (
                Of::Endpoints("https".to_owned()),
                "MissingEndpoints",
                "endpoints for service/s in \"n\" have no addresses with port name \"https\"",
            ),
        ] {
            let told = told(&nowhere, &remote);
            assert_eq!((told.reason, told.message.as_str()), (reason, message));
        }
    }
}
