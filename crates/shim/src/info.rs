//! The `-info` call: what the runtime below can do. containerd asks before it says of a runtime that it knows user
//! namespaces and recursive read-only mounts, and before it starts a container that needs mapped mounts.

use crate::proto::Any;
use crate::proto::options::{RuntimeInfo, RuntimeVersion};
use crate::runc::{self, Runc};
use prost::Message;
use std::io::{Error, ErrorKind, Read, Result, Write};

/// The type under which containerd knows a runtime's features.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// Prints it, for the options on the standard input.
pub fn info() -> Result<()> {
    let mut given = Vec::new();
    std::io::stdin().read_to_end(&mut given)?;
    let answer = answer(&given, runc::features)?;
    let mut out = std::io::stdout();
    out.write_all(&answer.encode_to_vec())?;
    out.flush()
}

fn answer(options: &[u8], features: impl FnOnce(&Runc) -> Option<Vec<u8>>) -> Result<RuntimeInfo> {
    let unreadable = |error| Error::new(ErrorKind::InvalidData, format!("runtime options: {error}"));
    let options = Any::decode(options).map_err(unreadable)?;
    let runc = Runc::new(Some(&options), "", false).map_err(unreadable)?;
    Ok(RuntimeInfo {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: Some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }),
        features: features(&runc).map(|value| Any {
            type_url: FEATURES.to_owned(),
            value,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::options::{Options, RUNC_OPTIONS};

    #[test]
    fn runtime_of_the_options_is_asked_for_its_features() {
        let own = Options {
            binary_name: "/opt/crun".to_owned(),
            ..Options::default()
        };
        let given = Any::of(RUNC_OPTIONS, &own);
        let expected = Runc::new(Some(&given), "", false).unwrap();
        let said = answer(&given.encode_to_vec(), |runc| {
            (*runc == expected).then(|| b"{}".to_vec())
        });
        assert_eq!(said.unwrap().features.unwrap().value, b"{}");
    }

    #[test]
    fn runtime_that_says_nothing_has_no_features() {
        let said = answer(&[], |_| None).unwrap();
        assert_eq!(said.features, None);
        assert_eq!(said.name, "orlop-shim");
        assert!(answer(b"\xff", |_| None).is_err());
    }
}
