//! Values of Kubernetes' own libraries.
use crate::cidr::Cidr;
use crate::quantity::Amount;
use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// The names of the types, as signatures write them.
pub const URL: &str = "kubernetes.URL";
pub const IP: &str = "net.IP";
pub const CIDR: &str = "net.CIDR";
pub const QUANTITY: &str = "kubernetes.Quantity";
pub const SEMVER: &str = "kubernetes.Semver";
pub const FORMAT: &str = "kubernetes.NamedFormat";
pub const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
pub const PATH_CHECK: &str = "kubernetes.authorization.PathCheck";
pub const GROUP_CHECK: &str = "kubernetes.authorization.GroupCheck";
pub const RESOURCE_CHECK: &str = "kubernetes.authorization.ResourceCheck";
/// The field of an authorizer that names what the request is about.
pub const REQUEST_RESOURCE: &str = "requestResource";
pub const DECISION: &str = "kubernetes.authorization.Decision";

#[derive(Clone, Debug)]
pub enum Opaque {
    Url(Arc<Url>),
    Ip(IpAddr),
    Cidr(Cidr),
    Quantity(Amount),
    Semver(Arc<Semver>),
    /// A named format: the name, and what is wrong with a text.
    Format(&'static str, fn(&str) -> Vec<String>),
    Authorizer(Arc<Check>),
    PathCheck(Arc<Check>),
    GroupCheck(Arc<Check>),
    ResourceCheck(Arc<Check>),
    Decision(Arc<Decision>),
}

/// What is asked of the authorizer, as far as it was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// `namespace, name` of a service account to ask for instead of the user.
    pub account: Option<(String, String)>,
    pub path: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
}

/// What the authorizer said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
    pub error: Option<String>,
}

/// Answers the questions of `authorizer`.
pub trait Authorizer: Sync {
    /// `verb` on what `check` names.
    fn decide(&self, check: &Check, verb: &str) -> Decision;

    /// What the request is about, which expressions name `authorizer.requestResource`.
    fn request_resource(&self) -> Check;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub text: String,
    pub scheme: String,
    /// With the port.
    pub host: String,
    pub hostname: String,
    pub port: String,
    pub path: String,
    pub query: Vec<(String, String)>,
}

/// A version after semver.org.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semver {
    pub major: u64,
    pub minor: u64,
    pub patch: u64,
    pub pre: Vec<String>,
    pub build: String,
}

impl Opaque {
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Url(_) => URL,
            Self::Ip(_) => IP,
            Self::Cidr(_) => CIDR,
            Self::Quantity(_) => QUANTITY,
            Self::Semver(_) => SEMVER,
            Self::Format(..) => FORMAT,
            Self::Authorizer(_) => AUTHORIZER,
            Self::PathCheck(_) => PATH_CHECK,
            Self::GroupCheck(_) => GROUP_CHECK,
            Self::ResourceCheck(_) => RESOURCE_CHECK,
            Self::Decision(_) => DECISION,
        }
    }

    pub fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Url(a), Self::Url(b)) => a.text == b.text,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Quantity(a), Self::Quantity(b)) => a.nanos() == b.nanos(),
            (Self::Semver(a), Self::Semver(b)) => a.cmp(b) == Ordering::Equal,
            (Self::Format(a, _), Self::Format(b, _)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(&url.text),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Cidr(cidr) => write!(f, "{cidr}"),
            Self::Quantity(quantity) => write!(f, "{quantity}"),
            Self::Semver(version) => write!(f, "{version}"),
            Self::Format(name, _) => f.write_str(name),
            other => f.write_str(other.type_name()),
        }
    }
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre.join("."))?;
        }
        if !self.build.is_empty() {
            write!(f, "+{}", self.build)?;
        }
        Ok(())
    }
}

impl Ord for Semver {
    /// By precedence: builds don't count, and a pre-release comes before its release.
    fn cmp(&self, other: &Self) -> Ordering {
        let release = (self.major, self.minor, self.patch).cmp(&(other.major, other.minor, other.patch));
        release.then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let part = |a: &str, b: &str| match (a.parse::<u64>(), b.parse::<u64>()) {
                    (Ok(a), Ok(b)) => a.cmp(&b),
                    (Ok(_), Err(_)) => Ordering::Less,
                    (Err(_), Ok(_)) => Ordering::Greater,
                    (Err(_), Err(_)) => a.cmp(b),
                };
                let differing = self
                    .pre
                    .iter()
                    .zip(&other.pre)
                    .map(|(a, b)| part(a, b))
                    .find(|o| o.is_ne());
                differing.unwrap_or_else(|| self.pre.len().cmp(&other.pre.len()))
            }
        })
    }
}

impl PartialOrd for Semver {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
