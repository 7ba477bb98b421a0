//! What a query for services' logs asks for, and how the journal is asked for it. Pure.
use super::super::query::pairs;
use crate::config::KubeletConfiguration;
use jiff::Timestamp;
use std::path::{Path, PathBuf};

/// The feature gate, on unless it is switched off.
const GATE: &str = "NodeLogQuery";
/// Services that a query may name, and bytes of their names.
const SERVICES_MAX: usize = 4;
const NAME_MAX: usize = 256;
const TAIL_LINES_MAX: u32 = 100_000;

/// Whether the configuration answers such queries.
pub fn is_enabled(configuration: &KubeletConfiguration) -> bool {
    configuration.other.get("enableSystemLogQuery") == Some(&true.into())
}

/// What it must say beside that.
pub fn check(configuration: &KubeletConfiguration) -> Result<(), String> {
    if !is_enabled(configuration) {
        return Ok(());
    }
    let gates = configuration.other.get("featureGates");
    if gates.is_some_and(|gates| gates[GATE] == false) {
        return Err(format!("enableSystemLogQuery needs the feature gate {GATE}"));
    }
    if configuration.other.get("enableSystemLogHandler") == Some(&false.into()) {
        return Err("enableSystemLogQuery needs enableSystemLogHandler".into());
    }
    Ok(())
}

/// Whose log it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Of these units of systemd, or programs with files of their own.
    Services(Vec<String>),
    /// The file at this path below the machine's logs.
    File(String),
}

/// Which part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// From then on.
    pub since: Option<Timestamp>,
    /// Up to then.
    pub until: Option<Timestamp>,
    /// The last lines.
    pub tail_lines: Option<u32>,
    /// Lines that this expression matches.
    pub pattern: Option<String>,
    /// Of the machine's run before this one by so many.
    pub boot: Option<i32>,
}

/// A query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub whose: Whose,
    pub part: Part,
}

impl Ask {
    /// Reads a query; `None`: it is no such one. The error says what is wrong with it.
    pub fn parse(query: &str) -> Result<Option<Self>, String> {
        let mut part = Part::default();
        let (mut names, mut is_one) = (Vec::new(), false);
        for (key, value) in pairs(query) {
            let wrong = |what: &str| format!("{key}: {value:?} {what}");
            let time = || {
                value
                    .parse::<Timestamp>()
                    .map_err(|_| wrong("is no time of RFC 3339"))
            };
            match key.as_str() {
                "query" => {
                    is_one = true;
                    names.extend(Some(value).filter(|name| !name.trim().is_empty()));
                }
                // Nothing is said with it.
                _ if value.is_empty() => {}
                "sinceTime" => part.since = Some(time()?),
                "untilTime" => part.until = Some(time()?),
                "tailLines" => {
                    let lines = value.parse::<u32>().ok().filter(|lines| *lines <= TAIL_LINES_MAX);
                    let wrong = || wrong(&format!("is no number from 0 to {TAIL_LINES_MAX}"));
                    part.tail_lines = Some(lines.ok_or_else(wrong)?);
                }
                "pattern" => part.pattern = Some(value),
                "boot" => {
                    let boot = value.parse::<i32>().ok().filter(|boot| *boot <= 0);
                    part.boot = Some(boot.ok_or_else(|| wrong("is no number up to 0"))?);
                }
                _ => {}
            }
        }
        if !is_one && part == Part::default() {
            return Ok(None);
        }
        if part
            .since
            .zip(part.until)
            .is_some_and(|(since, until)| since > until)
        {
            return Err("sinceTime must not be after untilTime".into());
        }
        let whose = whose(names)?;
        if matches!(whose, Whose::File(_)) && part != Part::default() {
            return Err("a file is shown as a whole: no other parameter goes with it".into());
        }
        Ok(Some(Self { whose, part }))
    }
}

fn whose(mut names: Vec<String>) -> Result<Whose, String> {
    let files = names.iter().filter(|name| name.starts_with('/')).count();
    if names.is_empty() {
        return Err("query cannot be empty".into());
    }
    if names.len() == 1 && files == 1 {
        return Ok(Whose::File(names.remove(0)));
    }
    if files > 0 {
        return Err("query names services, or one file".into());
    }
    if names.len() > SERVICES_MAX {
        return Err(format!("query names more than {SERVICES_MAX} services"));
    }
    if let Some(name) = names.iter().find(|name| !is_service(name)) {
        return Err(format!("query: {name:?} is no name of a service"));
    }
    Ok(Whose::Services(names))
}

/// The name becomes a part of a path, too.
fn is_service(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
    name.len() <= NAME_MAX && name.chars().all(is_plain) && ![".", ".."].contains(&name)
}

/// The arguments of `journalctl` for this part of these services' logs.
pub fn arguments(services: &[String], part: &Part) -> Vec<String> {
    // Of the beginning of time, in whatever zone the machine is.
    let at = |time: Timestamp| {
        let micros = time.as_microsecond().max(0);
        format!("@{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    };
    let mut all = ["--utc", "--no-pager", "--output=short-precise"]
        .map(str::to_owned)
        .to_vec();
    all.extend(services.iter().map(|service| format!("--unit={service}")));
    all.extend(part.since.map(|since| format!("--since={}", at(since))));
    all.extend(part.until.map(|until| format!("--until={}", at(until))));
    all.extend(part.tail_lines.map(|lines| format!("--lines={lines}")));
    all.extend(part.pattern.as_ref().map(|pattern| format!("--grep={pattern}")));
    all.extend(part.boot.map(|boot| format!("--boot={boot}")));
    all
}

/// Where a service that does not write to the journal may have its log, below the machine's logs.
pub fn files_of(logs: &Path, service: &str) -> [PathBuf; 3] {
    let file = format!("{service}.log");
    [
        logs.join(service),
        logs.join(&file),
        logs.join(service).join(file),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(names: &[&str]) -> Whose {
        Whose::Services(names.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn queries_name_services_or_a_file() {
        let whose = |query: &str| Ask::parse(query).map(|ask| ask.map(|ask| ask.whose));
        assert_eq!(whose(""), Ok(None));
        assert_eq!(whose("unknown=true&sinceTime=&boot="), Ok(None));
        assert_eq!(whose("query=kubelet"), Ok(Some(services(&["kubelet"]))));
        let names = "query=foo&query=svc.foo&query=svc_foo&query=svc@foo";
        let all = services(&["foo", "svc.foo", "svc_foo", "svc@foo"]);
        assert_eq!(whose(names), Ok(Some(all)));
        assert_eq!(
            whose("query=%2Ffoo.log"),
            Ok(Some(Whose::File("/foo.log".into())))
        );
        let long = format!("query={}", "s".repeat(300));
        for wrong in [
            "query=",
            "query=+++&query=",
            "pattern=x",
            "query=foo&query=/bar",
            "query=/foo&query=/bar",
            "query=/foo&pattern=x",
            "query=svc%0A",
            "query=svc/foo",
            "query=..",
            "query=a&query=b&query=c&query=d&query=e",
            &long,
        ] {
            assert!(whose(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn parameters_become_arguments_of_their_own() {
        let arguments = |query: &str| {
            let ask = Ask::parse(&format!("query=p1&query=p2&{query}"))
                .unwrap()
                .unwrap();
            let Whose::Services(services) = &ask.whose else {
                panic!("{ask:?}")
            };
            arguments(services, &ask.part)[3..].to_vec()
        };
        let units = ["--unit=p1", "--unit=p2"];
        assert_eq!(arguments(""), units);
        let all = "sinceTime=2019-12-04T02:00:00Z&untilTime=2019-12-04T02:00:01.5Z&tailLines=100&boot=-23\
                   &pattern=a+b;+--file=/x";
        let expected = [
            "--since=@1575424800.000000",
            "--until=@1575424801.500000",
            "--lines=100",
            "--grep=a b; --file=/x",
            "--boot=-23",
        ];
        assert_eq!(arguments(all), [&units[..], &expected[..]].concat());
    }

    #[test]
    fn parameters_that_mean_nothing_are_refused() {
        for wrong in [
            "sinceTime=2019-12-04%2002:00:00",
            "untilTime=2019-12-04",
            "sinceTime=2023-02-04T02:00:00Z&untilTime=2023-01-04T02:00:00Z",
            "tailLines=foo",
            "tailLines=%20",
            "tailLines=-1",
            "tailLines=100001",
            "boot=1",
            "boot=foo",
        ] {
            assert!(Ask::parse(&format!("query=foo&{wrong}")).is_err(), "{wrong}");
        }
        for right in ["boot=0", "tailLines=100000", "tailLines=0"] {
            assert!(Ask::parse(&format!("query=foo&{right}")).is_ok(), "{right}");
        }
    }
}
