//! `orlop store verify`: say whether a store is sound.
use super::directory;
use crate::cli::StoreDirArgs;
use anyhow::{Result, bail};
use orlop_store::embedded::Image;

pub fn verify(arguments: &StoreDirArgs) -> Result<()> {
    let directory = directory(arguments)?;
    let image = Image::take(&directory)?;
    if image.in_use {
        println!("a running process has the store: looking at a copy");
    }
    let verified = image.verify()?;
    for fact in &verified.facts {
        println!("{fact}");
    }
    for fault in &verified.faults {
        println!("fault: {fault}");
    }
    if !verified.is_sound() {
        bail!("the store at {} is damaged", directory.display());
    }
    println!("sound");
    Ok(())
}
