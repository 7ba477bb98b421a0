//! Certificates that sign no others: what is asked for, and what is given.
use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};
use std::net::IpAddr;

/// Who a client certificate speaks for: its common name and organisations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub user: String,
    pub groups: Vec<String>,
}

impl Identity {
    pub fn new(user: impl Into<String>, groups: &[&str]) -> Self {
        Self {
            user: user.into(),
            groups: groups.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What a leaf may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Client,
    Server,
    /// Both, as etcd's peers need.
    ServerAndClient,
}

/// A leaf to be signed.
#[derive(Clone, Debug)]
pub struct LeafRequest {
    pub identity: Identity,
    pub usage: Usage,
    pub dns_names: Vec<String>,
    pub addresses: Vec<IpAddr>,
}

/// A signed certificate with its key, both PEM.
#[derive(Clone)]
pub struct Leaf {
    pub certificate: String,
    pub key: String,
}

/// What a certificate says of its holder: who that is, and under which names and addresses.
pub(crate) fn holder(request: &LeafRequest) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(&request.identity);
    for name in &request.dns_names {
        let name = SanType::DnsName(name.as_str().try_into()?);
        params.subject_alt_names.push(name);
    }
    let addresses = request.addresses.iter().copied();
    params.subject_alt_names.extend(addresses.map(SanType::IpAddress));
    Ok(params)
}

fn distinguished_name(identity: &Identity) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for group in &identity.groups {
        name.push(DnType::OrganizationName, group.as_str());
    }
    name.push(DnType::CommonName, identity.user.as_str());
    name
}
