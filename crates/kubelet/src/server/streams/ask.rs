//! What a request for a stream asks: its path and query. Pure.
use crate::server::query::pairs;
use orlop_streaming::{Purpose, Streams};

/// Whose process or network is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    pub namespace: &'a str,
    pub pod: &'a str,
    /// When the caller means one pod of that name and no other.
    pub uid: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    Exec(Place<'a>, &'a str),
    Attach(Place<'a>, &'a str),
    PortForward(Place<'a>),
    /// A command without streams.
    Run(Place<'a>, &'a str),
}

impl<'a> Ask<'a> {
    /// Reads a path, cut at its slashes.
    pub fn of(parts: &[&'a str]) -> Option<Self> {
        let place = |namespace, pod, uid| Place { namespace, pod, uid };
        let (what, place, container) = match *parts {
            ["portForward", namespace, pod] => return Some(Self::PortForward(place(namespace, pod, None))),
            ["portForward", namespace, pod, uid] => {
                return Some(Self::PortForward(place(namespace, pod, Some(uid))));
            }
            [what, namespace, pod, container] => (what, place(namespace, pod, None), container),
            [what, namespace, pod, uid, container] => (what, place(namespace, pod, Some(uid)), container),
            _ => return None,
        };
        Some(match what {
            "exec" => Self::Exec(place, container),
            "attach" => Self::Attach(place, container),
            "run" => Self::Run(place, container),
            _ => return None,
        })
    }

    pub fn place(self) -> Place<'a> {
        match self {
            Self::Exec(place, _)
            | Self::Attach(place, _)
            | Self::Run(place, _)
            | Self::PortForward(place) => place,
        }
    }

    /// What the connection is for; `wanted` is the query's.
    pub fn purpose(self, wanted: &Wanted) -> Purpose {
        match self {
            Self::PortForward(_) => Purpose::PortForward(wanted.ports.clone()),
            _ => Purpose::Command,
        }
    }
}

/// The query of exec, attach, run and port-forward.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub command: Vec<String>,
    pub streams: Streams,
    /// Ports that a WebSocket client without SPDY forwards.
    pub ports: Vec<u16>,
}

impl Wanted {
    pub fn parse(query: &str) -> Self {
        let mut wanted = Self::default();
        let Streams {
            stdin,
            stdout,
            stderr,
            tty,
        } = &mut wanted.streams;
        for (key, value) in pairs(query) {
            let yes = value == "1" || value == "true";
            match &*key {
                "command" => wanted.command.push(value),
                // `run` takes one line.
                "cmd" => wanted.command.extend(value.split_whitespace().map(str::to_owned)),
                "input" => *stdin = yes,
                "output" => *stdout = yes,
                "error" => *stderr = yes,
                "tty" => *tty = yes,
                "port" => {
                    let ports = value
                        .split(',')
                        .filter_map(|port| port.trim().parse::<u16>().ok());
                    wanted.ports.extend(ports);
                }
                _ => {}
            }
        }
        // A terminal has one output only.
        *stderr &= !*tty;
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_pods_with_or_without_uid() {
        let place = |uid| Place {
            namespace: "a",
            pod: "b",
            uid,
        };
        for (path, expected) in [
            ("exec/a/b/c", Some(Ask::Exec(place(None), "c"))),
            ("exec/a/b/u/c", Some(Ask::Exec(place(Some("u")), "c"))),
            ("attach/a/b/c", Some(Ask::Attach(place(None), "c"))),
            ("run/a/b/c", Some(Ask::Run(place(None), "c"))),
            ("portForward/a/b", Some(Ask::PortForward(place(None)))),
            ("portForward/a/b/u", Some(Ask::PortForward(place(Some("u"))))),
            ("exec/a/b", None),
            ("portForward/a", None),
            ("else/a/b/c", None),
        ] {
            let parts: Vec<&str> = path.split('/').collect();
            assert_eq!(Ask::of(&parts), expected, "{path}");
        }
    }

    #[test]
    fn n08_queries_name_command_and_streams() {
        let wanted = Wanted::parse("command=sh&command=-c&command=echo%20a&input=1&output=1&error=1");
        assert_eq!(wanted.command, ["sh", "-c", "echo a"]);
        let streams = Streams {
            stdin: true,
            stdout: true,
            stderr: true,
            tty: false,
        };
        assert_eq!(wanted.streams, streams);
        let wanted = Wanted::parse("output=1&error=1&tty=1");
        assert!(wanted.streams.tty && !wanted.streams.stderr);
        assert_eq!(Wanted::parse("cmd=ls+-l").command, ["ls", "-l"]);
        assert_eq!(Wanted::parse("port=80,81&port=82").ports, [80, 81, 82]);
    }
}
