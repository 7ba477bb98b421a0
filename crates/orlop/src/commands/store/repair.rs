//! `orlop store repair`: go on with what can be saved of a damaged store.
use super::directory;
use crate::cli::RepairArgs;
use anyhow::{Result, bail};
use orlop_store::embedded::{Repaired, repair as repair_store};

pub fn repair(arguments: &RepairArgs) -> Result<()> {
    let directory = directory(&arguments.store)?;
    match repair_store(&directory, arguments.drop_damaged)? {
        Repaired::Nothing => println!("{} is sound: nothing to repair", directory.display()),
        Repaired::Refused(damage) => {
            for found in &damage.found {
                println!("fault: {found}");
            }
            bail!(
                "{}. Restore a backup into a new directory with `orlop store restore`, or agree to that with --drop-damaged",
                damage.losses()
            );
        }
        Repaired::Done { damage, keys, kept } => {
            for found in &damage.found {
                println!("fault: {found}");
            }
            for lost in &damage.lost {
                println!("lost: {lost}");
            }
            for key in &damage.named {
                println!("lost: {key}");
            }
            println!("saved {keys} keys; their history begins anew");
            println!("the damaged file is kept as {}", kept.display());
        }
    }
    Ok(())
}
