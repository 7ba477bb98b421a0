//! Who a certificate is of, where that is more than the certificate library puts into one: it keeps one organisation.
use crate::leaf::Identity;
use crate::private_key::{SEQUENCE, tagged};
use rcgen::{KeyPair, SigningKey};

const SET: u8 = 0x31;
const UTF8_STRING: u8 = 0x0c;
const BIT_STRING: u8 = 0x03;
/// `organizationName` and `commonName`.
const ORGANIZATION: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x0a];
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
/// Of a certificate's fields those before its subject: version, serial number, algorithm, issuer, validity.
const FIELDS_BEFORE: usize = 5;

/// A certificate (DER, of version 3) that names somebody else, signed anew by the key of the authority that signed it; `None`
/// if it is none, or cannot be signed.
pub fn renamed(certificate: &[u8], identity: &Identity, signer: &KeyPair) -> Option<Vec<u8>> {
    let (body, _) = opened(certificate)?;
    let (fields, behind) = opened(body)?;
    let (_, signature) = opened(behind)?;
    let algorithm = &behind[..behind.len() - signature.len()];
    let mut rest = fields;
    for _ in 0..FIELDS_BEFORE {
        (_, rest) = opened(rest)?;
    }
    let before = &fields[..fields.len() - rest.len()];
    let (_, after) = opened(rest)?;
    let fields = tagged(SEQUENCE, &[before, &subject(identity), after].concat());
    let signature = signer.sign(&fields).ok()?;
    // No bit of the last byte is unused.
    let signature = tagged(BIT_STRING, &[&[0_u8][..], &signature].concat());
    Some(tagged(
        SEQUENCE,
        &[fields.as_slice(), algorithm, &signature].concat(),
    ))
}

fn subject(identity: &Identity) -> Vec<u8> {
    let groups = identity.groups.iter().map(|group| part(&ORGANIZATION, group));
    let parts: Vec<Vec<u8>> = groups.chain([part(&COMMON_NAME, &identity.user)]).collect();
    tagged(SEQUENCE, &parts.concat())
}

fn part(kind: &[u8], text: &str) -> Vec<u8> {
    let attribute = [kind, &tagged(UTF8_STRING, text.as_bytes())].concat();
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
mod tests {
    use super::*;

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
