//! The `delete` call: what a shim that died left of a container.

use crate::args::Arguments;
use crate::proto::Timestamp;
use crate::proto::task::DeleteResponse;
use crate::runc::{self, Runc};
use crate::{address, mounts};
use prost::Message;
use std::io::{Result, Write};
use std::time::SystemTime;

/// Killed, as far as anybody can know.
const KILLED: u32 = 128 + 9;

/// Removes the container and prints its end.
pub fn delete(arguments: &Arguments) -> Result<()> {
    let bundle = match &arguments.bundle {
        Some(bundle) => bundle.clone(),
        None => std::env::current_dir()?,
    };
    let runc = Runc::of_bundle(&bundle, &arguments.namespace);
    if let Err(error) = runc::delete_and_wait(&runc, &arguments.id) {
        // Said, not returned: what is mounted goes all the same.
        eprintln!("removing container {}: {error}", arguments.id);
    }
    // First, as the bundle is removed next: a shim that was killed while it mounted has left the node's layers there.
    mounts::detach(&bundle.join(mounts::MAPPED_LAYERS));
    mounts::unmount_all(&bundle.join("rootfs"));
    address::forget(&bundle);
    let pid = std::fs::read_to_string(bundle.join(runc::PID_FILE))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or_default();
    let answer = DeleteResponse {
        pid,
        exit_status: KILLED,
        exited_at: Some(Timestamp::from(SystemTime::now())),
    };
    let mut out = std::io::stdout();
    out.write_all(&answer.encode_to_vec())?;
    out.flush()
}
