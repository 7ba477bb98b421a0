//! Ranges of addresses, such as `10.0.0.0/8`.
use std::fmt;
use std::net::IpAddr;

/// An address, and how many of its first bits are those of the whole range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// Any address of the range.
    pub address: IpAddr,
    /// So many bits, of no more than an address has.
    pub prefix: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Cidr {
    /// What a text says; none if it is no range.
    pub fn read(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        // `+8` is a number as well.
        if !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let range = Self {
            address: address.parse().ok()?,
            prefix: prefix.parse().ok()?,
        };
        (range.prefix <= range.address_bits()).then_some(range)
    }

    /// How long its addresses are, in bits.
    pub fn address_bits(&self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// In how many bits its addresses differ.
    pub fn host_bits(&self) -> u32 {
        u32::from(self.address_bits().saturating_sub(self.prefix))
    }

    /// The address with everything behind the prefix zero.
    pub fn masked(&self) -> IpAddr {
        mask(self.address, self.prefix)
    }

    /// Whether an address is one of the range's.
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.address.is_ipv4() && mask(ip, self.prefix) == self.masked()
    }
}

fn mask(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(prefix.min(128)))
                .unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_both_families_are_read() {
        for (text, masked, host_bits) in [
            ("10.1.2.3/8", "10.0.0.0", 24),
            ("10.1.2.3/32", "10.1.2.3", 0),
            ("10.1.2.3/0", "0.0.0.0", 32),
            ("fd00::1/64", "fd00::", 64),
            ("fd00::1/0", "::", 128),
        ] {
            let range = Cidr::read(text).unwrap();
            assert_eq!(range.to_string(), text);
            assert_eq!(
                (range.masked().to_string().as_str(), range.host_bits()),
                (masked, host_bits)
            );
        }
        for bad in [
            "10.0.0.0",
            "10.0.0.0/33",
            "fd00::/129",
            "10.0.0.0/8/8",
            "x/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "/8",
        ] {
            assert_eq!(Cidr::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_range_contains_the_addresses_that_begin_as_it_does() {
        let range = Cidr::read("10.1.2.3/8").unwrap();
        let contains = |ip: &str| range.contains(ip.parse().unwrap());
        assert!(contains("10.255.0.1") && !contains("11.0.0.1") && !contains("::ffff:10.0.0.1"));
    }
}
