//! Addresses in Services, Endpoints and EndpointSlices.
use crate::status::{Cause, cause};
use orlop_api::cidr::Cidr;
use serde_json::json;
use std::net::IpAddr;

/// That it is an address.
pub fn ip(text: &str, field: &str) -> Option<Cause> {
    orlop_api::validation::ip(text, field).map(Cause::from)
}

/// That it is an address, and one that leads to the same place from everywhere.
pub fn reachable_ip(text: &str, field: &str) -> Option<Cause> {
    let Ok(address) = text.parse::<IpAddr>() else {
        return ip(text, field);
    };
    let why = if address.is_unspecified() {
        format!("may not be unspecified ({text})")
    } else if address.is_loopback() {
        "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned()
    } else if is_link_local(address) {
        "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned()
    } else if is_link_local_multicast(address) {
        "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned()
    } else {
        return None;
    };
    Some(cause::invalid(field, &json!(text), &why))
}

/// The same of an endpoint. A node that is reached from its own machine alone has pods of its network there, so that is no
/// reason to refuse one.
pub fn endpoint_ip(text: &str, field: &str) -> Option<Cause> {
    match text.parse::<IpAddr>() {
        Ok(address) if address.is_loopback() => None,
        _ => reachable_ip(text, field),
    }
}

/// That it is a range such as `10.0.0.0/8`.
pub fn cidr(text: &str, field: &str) -> Option<Cause> {
    let why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    Cidr::read(text)
        .is_none()
        .then(|| cause::invalid(field, &json!(text), why))
}

/// Whether a range is part of another and smaller.
pub fn is_within(inner: &str, outer: &str) -> bool {
    let (Some(inner), Some(outer)) = (Cidr::read(inner), Cidr::read(outer)) else {
        return false;
    };
    inner.prefix > outer.prefix && outer.contains(inner.address)
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn is_link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..3] == [224, 0, 0],
        IpAddr::V6(address) => address.segments()[0] & 0xff0f == 0xff02,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_mean_something_else_on_every_machine_are_refused() {
        let why = |text: &str| reachable_ip(text, "ip").map(|cause| cause.message);
        for fine in ["10.0.0.24", "2001:db8::1", "224.0.1.1"] {
            assert_eq!(why(fine), None);
        }
        for (text, part) in [
            ("x", "must be a valid IP address"),
            ("0.0.0.0", "may not be unspecified (0.0.0.0)"),
            ("127.0.0.1", "loopback range"),
            ("169.254.1.1", "link-local range"),
            ("fe80::1", "link-local range"),
            ("224.0.0.5", "link-local multicast range"),
            ("ff02::1", "link-local multicast range"),
        ] {
            assert!(why(text).unwrap().contains(part), "{text}");
        }
        assert_eq!(cidr("10.0.0.0/8", "x"), None);
        assert!(cidr("10.0.0.0/33", "x").is_some() && cidr("10.0.0.0", "x").is_some());
        assert!(is_within("10.1.0.0/16", "10.0.0.0/8") && is_within("fd00::/64", "::/0"));
        assert!(!is_within("11.0.0.0/16", "10.0.0.0/8") && !is_within("10.0.0.0/8", "10.0.0.0/8"));
    }
}
