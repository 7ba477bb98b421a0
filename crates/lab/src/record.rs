//! What a lab leaves of its processes for who opens it next: each by its number and its start in this boot, for numbers
//! are given to others when a process has ended, and all of them after a restart (pure, but for [`boot`]).
use anyhow::{Context, Result, bail};
use std::net::Ipv4Addr;

/// The lab's file.
pub const FILE: &str = "lab.pids";

/// Processes of a lab; `None`: it does not run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub switch: Option<i32>,
    /// Name, address and process 1 of each machine.
    pub machines: Vec<(String, Ipv4Addr, Option<i32>)>,
}

/// What the machine underneath calls the time since it was started.
pub fn boot() -> Result<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("which boot this is")?;
    Ok(id.trim().to_owned())
}

impl Record {
    /// Whether any of it runs.
    pub fn runs(&self) -> bool {
        self.switch.is_some() || self.machines.iter().any(|(.., pid)| pid.is_some())
    }

    /// `started` tells when a process was started, if it runs.
    pub fn write(&self, boot: &str, started: impl Fn(i32) -> Option<u64>) -> String {
        let process = |pid: Option<i32>| {
            let known = pid.and_then(|pid| Some((pid, started(pid)?)));
            known.map_or("- -".to_owned(), |(pid, start)| format!("{pid} {start}"))
        };
        let mut text = format!("boot {boot}\nswitch {}\n", process(self.switch));
        for (name, address, pid) in &self.machines {
            text.push_str(&format!("{name} {address} {}\n", process(*pid)));
        }
        text
    }

    /// Those of the processes that still run; none of them after another boot.
    pub fn read(text: &str, boot: &str, started: impl Fn(i32) -> Option<u64>) -> Result<Self> {
        let mut record = Self::default();
        let mut lines = text.lines();
        let same_boot = match lines.next().and_then(|line| line.strip_prefix("boot ")) {
            Some(then) => then == boot,
            None => bail!(
                "it does not tell in which boot its processes were started: stop them with the program that started them"
            ),
        };
        let process = |pid: &str, start: &str| -> Result<Option<i32>> {
            if pid == "-" {
                return Ok(None);
            }
            let (pid, start): (i32, u64) = (pid.parse()?, start.parse()?);
            Ok((same_boot && pid > 1 && started(pid) == Some(start)).then_some(pid))
        };
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["switch", pid, start] => record.switch = process(pid, start)?,
                [name, address, pid, start] => {
                    let machine = ((*name).to_owned(), address.parse()?, process(pid, start)?);
                    record.machines.push(machine);
                }
                _ => bail!("{line:?} is no process"),
            }
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::start_of;

    fn record() -> Record {
        let address = Ipv4Addr::new(10, 77, 0, 11);
        Record {
            switch: Some(100),
            machines: vec![
                ("master-01".to_owned(), address, Some(101)),
                ("worker-01".to_owned(), address, None),
            ],
        }
    }

    #[test]
    fn processes_are_known_again_in_the_same_boot_only() {
        let text = record().write("a", |pid| Some(pid as u64 * 7));
        assert_eq!(
            Record::read(&text, "a", |pid| Some(pid as u64 * 7)).unwrap(),
            record()
        );
        let after = Record::read(&text, "b", |pid| Some(pid as u64 * 7)).unwrap();
        assert!(record().runs() && !after.runs());
        assert_eq!(after.switch, None);
        assert!(after.machines.iter().all(|(.., pid)| pid.is_none()));
        assert_eq!(after.machines.len(), 2);
    }

    #[test]
    fn a_number_that_another_process_has_now_is_not_the_labs() {
        let text = record().write("a", |_| Some(7));
        let now = Record::read(&text, "a", |pid| (pid == 101).then_some(8)).unwrap();
        assert_eq!((now.switch, now.machines[0].2), (None, None));
    }

    #[test]
    fn what_tells_no_boot_is_refused() {
        assert!(Record::read("switch 100\n", "a", |_| Some(1)).is_err());
        assert!(Record::read("boot a\nswitch x 1\n", "a", |_| Some(1)).is_err());
    }

    #[test]
    fn this_process_has_a_start_and_a_boot() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(start_of(own).is_some());
        assert!(!boot().unwrap().is_empty());
    }
}
