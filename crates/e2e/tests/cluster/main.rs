//! A cluster as kubeadm's users know it: a control plane of static pods, each machine with its own network and files.
//!
//! - `first_master`: what `init` makes, what it is changed with, what it refuses, how it goes.
//! - `members`: three masters and their workers, and what they do together.
//! - `faults`: what breaks, by a [`schedule`], under clients whose [history](orlop_e2e::registers) is judged.
//! - `kubeadm`: its files and phases, with our kubelet and images.
//! - `certificates`: they end and are renewed under running parts.
//! - `commands`: what kubeadm has beside `init` and `join`.
//! - `joining`: what a join refuses, and what it takes back.
//! - `traces`: what a member leaves on its machine.
#![allow(clippy::unwrap_used)]
mod certificates;
mod commands;
mod faults;
mod first_master;
mod joining;
mod kubeadm;
mod members;
mod schedule;
mod traces;

use std::process::Output;

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The columns after the name of a listing's line.
fn row<'a>(listing: &'a str, name: &str) -> Vec<&'a str> {
    let mut lines = listing.lines().map(|line| words(line));
    let line = lines.find(|line| line.contains(&name));
    line.unwrap_or_else(|| panic!("{name} is missing:\n{listing}"))
}
