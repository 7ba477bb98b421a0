//! `orlop store stats`: what a store holds.
use super::directory;
use crate::cli::StoreDirArgs;
use anyhow::Result;
use orlop_store::embedded::{Image, Stats};
use std::fmt::Write;

pub fn stats(arguments: &StoreDirArgs) -> Result<()> {
    let stats = Image::take(&directory(arguments)?)?.stats()?;
    print!("{}", show(&stats));
    Ok(())
}

fn show(stats: &Stats) -> String {
    let mut out = format!(
        "revision {}, readable from {} on\n{} keys in {} versions, {} leases\n{} bytes on disk, {} bytes of records\n",
        stats.revision,
        stats.compacted,
        stats.keys,
        stats.versions,
        stats.leases,
        stats.file_bytes,
        stats.record_bytes
    );
    let names: Vec<String> = stats.prefixes.keys().map(ToString::to_string).collect();
    let width = names
        .iter()
        .map(String::len)
        .max()
        .unwrap_or(0)
        .max("PREFIX".len());
    if !names.is_empty() {
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "\n{:<width$}  {:>8}  {:>12}  {:>12}",
            "PREFIX", "KEYS", "BYTES", "WITH HISTORY"
        );
    }
    for (name, prefix) in names.iter().zip(stats.prefixes.values()) {
        let _ = writeln!(
            out,
            "{name:<width$}  {:>8}  {:>12}  {:>12}",
            prefix.keys, prefix.bytes, prefix.record_bytes
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_store::Revision;
    use orlop_store::embedded::PrefixStats;

    #[test]
    fn resources_stand_in_columns() {
        let pods = PrefixStats {
            keys: 3,
            bytes: 4000,
            record_bytes: 12_345,
        };
        let stats = Stats {
            revision: Revision(20),
            compacted: Revision(7),
            keys: 3,
            versions: 9,
            leases: 1,
            record_bytes: 12_345,
            file_bytes: 1_000_000,
            prefixes: [("/registry/pods/".into(), pods)].into(),
        };
        assert_eq!(
            show(&stats),
            "revision 20, readable from 7 on\n\
             3 keys in 9 versions, 1 leases\n\
             1000000 bytes on disk, 12345 bytes of records\n\
             \n\
             PREFIX               KEYS         BYTES  WITH HISTORY\n\
             /registry/pods/         3          4000         12345\n"
        );
    }
}
