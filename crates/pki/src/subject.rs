//! Who a certificate, or a request for one, is of, where that is more than the certificate library puts into it: it keeps one
//! organisation.
use crate::leaf::Identity;
use crate::private_key::{SEQUENCE, tagged};
use rcgen::{KeyPair, SigningKey};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

const SET: u8 = 0x31;
const UTF8_STRING: u8 = 0x0c;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `organizationName` and `commonName`.
const ORGANIZATION: [u8; 3] = [0x55, 0x04, 0x0a];
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
/// Of tags that are one byte, as those of all texts are.
const TAG_MAX: u8 = 30;

/// What has a subject, and a signature below it.
#[derive(Clone, Copy, Debug)]
pub enum Signed {
    /// Of version 3.
    Certificate,
    Request,
}

impl Signed {
    /// How many fields stand before the subject.
    fn fields_before(self) -> usize {
        match self {
            // Version, serial number, algorithm, issuer, validity.
            Self::Certificate => 5,
            // Version.
            Self::Request => 1,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Certificate => "CERTIFICATE",
            Self::Request => "CERTIFICATE REQUEST",
        }
    }
}

/// The same (DER) with another subject (DER), signed anew by the key that signed it, as PEM; `None` if it is none, or cannot be
/// signed.
pub fn renamed(what: Signed, der: &[u8], subject: &[u8], signer: &KeyPair) -> Option<String> {
    let (body, _) = opened(der)?;
    let (fields, behind) = opened(body)?;
    let (_, signature) = opened(behind)?;
    let algorithm = &behind[..behind.len() - signature.len()];
    let mut rest = fields;
    for _ in 0..what.fields_before() {
        (_, rest) = opened(rest)?;
    }
    let before = &fields[..fields.len() - rest.len()];
    let (_, after) = opened(rest)?;
    let fields = tagged(SEQUENCE, &[before, subject, after].concat());
    let signature = signer.sign(&fields).ok()?;
    // No bit of the last byte is unused.
    let signature = tagged(BIT_STRING, &[&[0_u8][..], &signature].concat());
    let whole = tagged(SEQUENCE, &[fields.as_slice(), algorithm, &signature].concat());
    let encode = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    Some(pem::encode_config(&pem::Pem::new(what.label(), whole), encode))
}

/// The subject of somebody, DER.
pub fn of(identity: &Identity) -> Vec<u8> {
    let utf8 = |kind: &[u8], text: &str| part(kind, UTF8_STRING, text.as_bytes());
    let groups = identity.groups.iter().map(|group| utf8(&ORGANIZATION, group));
    let parts: Vec<Vec<u8>> = groups.chain([utf8(&COMMON_NAME, &identity.user)]).collect();
    tagged(SEQUENCE, &parts.concat())
}

/// A subject that somebody wrote, DER, each of its parts by itself. Of the original nothing is taken but what was read of it:
/// others might find more there. `None` if a part of it is no plain value.
pub fn copied(name: &X509Name<'_>) -> Option<Vec<u8>> {
    let copy = |attribute: &AttributeTypeAndValue<'_>| {
        let value = attribute.attr_value();
        let tag = u8::try_from(value.header.tag().0).ok()?;
        let is_plain = value.header.is_universal() && value.header.is_primitive() && tag <= TAG_MAX;
        is_plain.then(|| part(attribute.attr_type().as_bytes(), tag, value.data))
    };
    let parts = name.iter_attributes().map(copy).collect::<Option<Vec<_>>>()?;
    Some(tagged(SEQUENCE, &parts.concat()))
}

fn part(kind: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
    let attribute = [tagged(OBJECT_IDENTIFIER, kind), tagged(tag, value)].concat();
    tagged(SET, &tagged(SEQUENCE, &attribute))
}

/// What a DER element holds, and what stands behind it.
fn opened(element: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, rest) = element.split_first()?;
    let (first, rest) = rest.split_first()?;
    if *first < 0x80 {
        return rest.split_at_checked(usize::from(*first));
    }
    let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
    let length = digits
        .iter()
        .fold(0_usize, |length, digit| (length << 8) | usize::from(*digit));
    rest.split_at_checked(length)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::{Authority, LeafRequest, Usage};

    const PRINTABLE_STRING: u8 = 0x13;
    const UNIT: [u8; 3] = [0x55, 0x04, 0x0b];

    /// Alice of `devs` and `ops`, whose organisations are values of one part, as Go writes them, and parts of their own, as
    /// openssl does it; and of a unit.
    pub fn of_several_organizations() -> [Vec<u8>; 2] {
        let value = |kind: &[u8], text: &str| {
            let text = tagged(PRINTABLE_STRING, text.as_bytes());
            tagged(SEQUENCE, &[tagged(OBJECT_IDENTIFIER, kind), text].concat())
        };
        let [ops, devs] = ["ops", "devs"].map(|group| value(&ORGANIZATION, group));
        let alone = |value: &[u8]| tagged(SET, value);
        let rest = [alone(&value(&UNIT, "unit")), alone(&value(&COMMON_NAME, "alice"))].concat();
        let go = [tagged(SET, &[ops.as_slice(), &devs].concat()), rest.clone()];
        let openssl = [alone(&ops), alone(&devs), rest];
        [go.concat(), openssl.concat()].map(|parts| tagged(SEQUENCE, &parts))
    }

    #[test]
    fn organizations_are_groups_in_whatever_form_they_are_written() {
        let authority = Authority::ephemeral("kubernetes").unwrap();
        let request = LeafRequest {
            identity: Identity::new("nobody", &[]),
            usage: Usage::Client,
            dns_names: Vec::new(),
            addresses: Vec::new(),
        };
        let leaf = pem::parse(authority.sign(&request).unwrap().certificate).unwrap();
        for subject in of_several_organizations() {
            let signer = authority.issuer().key();
            let made = renamed(Signed::Certificate, leaf.contents(), &subject, signer).unwrap();
            assert!(authority.has_signed(&made));
            assert_eq!(
                crate::identity_of(&made),
                Some(Identity::new("alice", &["ops", "devs"]))
            );
        }
    }

    #[test]
    fn an_element_is_opened_whatever_the_form_of_its_length() {
        let long = [0_u8; 300];
        let of_long = [&[0x30_u8, 0x82, 1, 0x2c][..], &long].concat();
        for (element, want) in [
            (vec![0x30_u8, 0, 7], Some((&long[..0], &[7_u8][..]))),
            (vec![0x30, 2, 0, 0, 7], Some((&long[..2], &[7_u8][..]))),
            (of_long, Some((&long[..], &long[..0]))),
            (vec![0x30, 2, 0], None),
            (vec![0x30, 0x82, 1], None),
            (vec![0x30], None),
            (vec![], None),
        ] {
            assert_eq!(opened(&element), want);
        }
    }
}
