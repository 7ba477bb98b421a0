//! Addresses, as fields have them.
use super::FieldError;
use std::net::IpAddr;

const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// That a field has an address.
pub fn ip(text: &str, field: &str) -> Option<FieldError> {
    let is_wrong = text.parse::<IpAddr>().is_err();
    is_wrong.then(|| FieldError::invalid(field, text, NO_ADDRESS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_in_one_way() {
        for good in ["10.9.8.7", "2001:db8::ffff"] {
            assert_eq!(ip(good, "f"), None);
        }
        for bad in ["", "10.0.0.256", "010.0.0.1", "10.0.0.0/8", "name"] {
            let text = ip(bad, "f").unwrap().to_string();
            assert!(text.ends_with(NO_ADDRESS), "{text}");
        }
    }
}
