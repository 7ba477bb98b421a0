//! etcd's configuration file: what its flags say, in YAML.
use super::EtcdArgs;
use crate::cli::{self, Command};
use serde_json::{Map, Value};
use std::path::Path;

/// Whose members are flags as well.
const CLIENTS: &str = "client-transport-security";

impl EtcdArgs {
    /// What the configuration file says, if one is named: as with etcd, flags beside it are not looked at.
    pub fn resolved(self) -> anyhow::Result<Self> {
        let Some(path) = &self.config_file else {
            return Ok(self);
        };
        read(path).map_err(|why| anyhow::anyhow!("{} cannot be used: {why}", path.display()))
    }
}

fn read(path: &Path) -> Result<EtcdArgs, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let settings: Map<String, Value> = serde_saphyr::from_str(&text).map_err(|error| error.to_string())?;
    let command = cli::command();
    let etcd = command.find_subcommand("etcd").ok_or("this program is no etcd")?;
    let knows = |name: &str| {
        etcd.get_arguments().any(|flag| {
            let aliases = flag.get_all_aliases().unwrap_or_default();
            flag.get_long() == Some(name) || aliases.contains(&name)
        })
    };
    let words = ["orlop", "etcd"].map(str::to_owned).into_iter();
    let words = words.chain(flags(&settings, &knows));
    match cli::parse(words.map(Into::into)) {
        Ok(parsed) => match parsed.command {
            Command::Etcd(arguments) => Ok(arguments),
            _ => Err("it is no etcd's".to_owned()),
        },
        Err(error) => Err(error.to_string()),
    }
}

/// Settings as flags. What nobody knows is let by, as etcd does.
fn flags(settings: &Map<String, Value>, knows: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut words = Vec::new();
    for (name, value) in settings {
        match value {
            Value::Object(of_clients) if name == CLIENTS => words.extend(flags(of_clients, knows)),
            _ if knows(name) => words.extend(text(value).map(|value| format!("--{name}={value}"))),
            _ => {}
        }
    }
    words
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(elements) => {
            let texts: Vec<String> = elements.iter().filter_map(text).collect();
            (!texts.is_empty()).then(|| texts.join(","))
        }
        Value::Null | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_flags_would() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("etcd.yaml");
        let text = "name: one\n\
             data-dir:\n\
             listen-client-urls: http://localhost:1,http://localhost:2\n\
             max-txn-ops: 7\n\
             log-outputs: [stderr]\n\
             something-new: 1\n\
             client-transport-security:\n  auto-tls: true\n  cert-file: ''\n\
             peer-transport-security:\n  cert-file: /nowhere\n";
        std::fs::write(&path, text).unwrap();
        let arguments = read(&path).unwrap();
        assert_eq!(arguments.name, "one");
        assert_eq!(arguments.directory(), Path::new("one.etcd"));
        assert_eq!(arguments.listen_client_urls.len(), 2);
        assert_eq!(arguments.limits.max_txn_ops, 7);
        assert!(arguments.tls.auto_tls);
        assert_eq!(arguments.tls.cert_file, None);
    }
}
