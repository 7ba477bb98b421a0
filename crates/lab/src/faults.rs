//! What is done to machines that run: between two of them, or to one program.
use crate::Lab;
use crate::namespaces::{in_network, run};
use crate::processes::{program_of, tree};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::PathBuf;

impl Lab {
    /// Lets nothing through between a machine and others, either way; what is neither reaches both.
    pub fn part(&self, one: &str, others: &[&str]) -> Result<()> {
        self.between(one, others, "replace")
    }

    /// Takes [`Self::part`] back.
    pub fn unite(&self, one: &str, others: &[&str]) -> Result<()> {
        self.between(one, others, "delete")
    }

    fn between(&self, one: &str, others: &[&str], verb: &str) -> Result<()> {
        for other in others {
            for (here, there) in [(one, *other), (*other, one)] {
                let pid = self.machine(here)?.pid()?;
                let route = format!("route {verb} blackhole {}/32", self.machine(there)?.address);
                run(in_network(pid, "ip").args(route.split_whitespace()))?;
            }
        }
        Ok(())
    }

    /// Processes of a machine that run a program, by its name.
    pub fn processes(&self, machine: &str, program: &str) -> Result<Vec<i32>> {
        let all = tree(self.machine(machine)?.pid()?);
        let is_meant = |pid: &i32| program_of(*pid).is_some_and(|name| name == program);
        Ok(all.into_iter().filter(is_meant).collect())
    }

    /// Sends a signal to a program of a machine, which must run.
    pub fn signal(&self, machine: &str, program: &str, signal: Signal) -> Result<()> {
        let pids = self.processes(machine, program)?;
        ensure!(!pids.is_empty(), "{machine} runs no {program}");
        for pid in pids {
            kill(Pid::from_raw(pid), signal)
                .with_context(|| format!("{signal} to {program} of {machine}"))?;
        }
        Ok(())
    }

    /// The network that joins the machines, for who enters it.
    pub fn network(&self) -> Result<PathBuf> {
        Ok(format!("/proc/{}/ns/net", self.switch()?).into())
    }
}
