//! IP addresses and CIDR ranges.
use super::arguments::text;
use super::{Table, no_address};
use crate::cel::budget::Error;
use crate::cel::opaque::Opaque;
use crate::cel::value::Value;
use crate::cidr::Cidr;
use std::net::IpAddr;

pub const TABLE: Table = &[
    ("ip(string) net.IP", |_, a| {
        Ok(Value::Opaque(Opaque::Ip(made_ip(text(&a[0])?)?)))
    }),
    ("isIP(string) bool", |_, a| {
        Ok(Value::Bool(parse_ip(text(&a[0])?).is_some()))
    }),
    ("ip.isCanonical(string) bool", |_, a| {
        let text = text(&a[0])?;
        Ok(Value::Bool(made_ip(text)?.to_string() == text))
    }),
    ("net.IP::family() int", |_, a| {
        Ok(Value::Int(if ip(&a[0])?.is_ipv4() { 4 } else { 6 }))
    }),
    ("net.IP::isUnspecified() bool", |_, a| {
        Ok(Value::Bool(ip(&a[0])?.is_unspecified()))
    }),
    ("net.IP::isLoopback() bool", |_, a| {
        Ok(Value::Bool(ip(&a[0])?.is_loopback()))
    }),
    ("net.IP::isLinkLocalMulticast() bool", |_, a| {
        Ok(Value::Bool(match ip(&a[0])? {
            IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
            IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
        }))
    }),
    ("net.IP::isLinkLocalUnicast() bool", |_, a| {
        Ok(Value::Bool(match ip(&a[0])? {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        }))
    }),
    ("net.IP::isGlobalUnicast() bool", |_, a| {
        let ip = ip(&a[0])?;
        let local = match ip {
            IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        Ok(Value::Bool(
            !local && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast(),
        ))
    }),
    ("cidr(string) net.CIDR", |_, a| {
        let cidr = made_cidr(text(&a[0])?)?;
        Ok(Value::Opaque(Opaque::Cidr(cidr)))
    }),
    ("isCIDR(string) bool", |_, a| {
        Ok(Value::Bool(parse_cidr(text(&a[0])?).is_some()))
    }),
    ("net.CIDR::ip() net.IP", |_, a| {
        Ok(Value::Opaque(Opaque::Ip(cidr(&a[0])?.address)))
    }),
    ("net.CIDR::prefixLength() int", |_, a| {
        Ok(Value::Int(i64::from(cidr(&a[0])?.prefix)))
    }),
    ("net.CIDR::masked() net.CIDR", |_, a| {
        let cidr = cidr(&a[0])?;
        Ok(Value::Opaque(Opaque::Cidr(Cidr {
            address: cidr.masked(),
            ..cidr
        })))
    }),
    ("net.CIDR::containsIP(net.IP) bool", |_, a| {
        Ok(Value::Bool(cidr(&a[0])?.contains(ip(&a[1])?)))
    }),
    ("net.CIDR::containsIP(string) bool", |_, a| {
        let ip = parse_ip(text(&a[1])?).ok_or_else(Error::no_such_overload)?;
        Ok(Value::Bool(cidr(&a[0])?.contains(ip)))
    }),
    ("net.CIDR::containsCIDR(net.CIDR) bool", |_, a| {
        contains(cidr(&a[0])?, cidr(&a[1])?)
    }),
    ("net.CIDR::containsCIDR(string) bool", |_, a| {
        let inner = made_cidr(text(&a[1])?)?;
        contains(cidr(&a[0])?, inner)
    }),
];

fn contains<'a>(outer: Cidr, inner: Cidr) -> Result<Value<'a>, Error> {
    Ok(Value::Bool(
        outer.prefix <= inner.prefix && outer.contains(inner.masked()),
    ))
}

fn ip(value: &Value<'_>) -> Result<IpAddr, Error> {
    match value {
        Value::Opaque(Opaque::Ip(ip)) => Ok(*ip),
        _ => Err(Error::no_such_overload()),
    }
}

fn cidr(value: &Value<'_>) -> Result<Cidr, Error> {
    match value {
        Value::Opaque(Opaque::Cidr(cidr)) => Ok(*cidr),
        _ => Err(Error::no_such_overload()),
    }
}

fn made_ip(text: &str) -> Result<IpAddr, Error> {
    parse_ip(text).ok_or_else(|| Error::failed(no_address::ip(text)))
}

fn made_cidr(text: &str) -> Result<Cidr, Error> {
    parse_cidr(text).ok_or_else(|| {
        let why = no_address::cidr(text);
        Error::failed(format!(
            "network address parse error during conversion from string: {why}"
        ))
    })
}

/// IPv4 addresses in IPv6 form and zones are refused, as upstream does.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let ip: IpAddr = text.parse().ok()?;
    let mapped = matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    (!mapped).then_some(ip)
}

fn parse_cidr(text: &str) -> Option<Cidr> {
    let (address, prefix) = text.rsplit_once('/')?;
    parse_ip(address)?;
    let is_plain = prefix == "0" || !prefix.starts_with('0');
    Cidr::read(text).filter(|_| is_plain)
}
