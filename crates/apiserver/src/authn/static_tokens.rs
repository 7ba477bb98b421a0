//! Tokens from a file: `token,user,uid,"group1,group2"` a line (contract §15.2).
use super::UserInfo;
use super::config::AuthenticationError;
use super::recent::{Digest, digest};
use std::collections::HashMap;
use std::sync::Arc;

/// Users by the digests of their tokens, so that looking one up tells nothing by the time it takes.
#[derive(Default)]
pub struct StaticTokens {
    users: HashMap<Digest, Arc<UserInfo>>,
}

impl StaticTokens {
    /// Of two lines with one token, the later counts.
    pub fn parse(text: &str) -> Result<Self, AuthenticationError> {
        let mut users = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |reason| AuthenticationError::TokenFile {
                line: index + 1,
                reason,
            };
            let columns = columns(line).ok_or_else(|| bad("a quote is not closed"))?;
            let [token, name, uid, ..] = columns.as_slice() else {
                return Err(bad("it has less than three columns"));
            };
            if token.is_empty() {
                return Err(bad("the token is empty"));
            }
            let groups = columns.get(3).map_or("", String::as_str).split(',');
            let groups = groups.map(str::trim).filter(|group| !group.is_empty());
            let mut user = UserInfo::new(name.clone(), groups);
            user.uid = uid.clone();
            users.insert(digest(token), Arc::new(user));
        }
        Ok(Self { users })
    }

    pub fn user(&self, token: &str) -> Option<Arc<UserInfo>> {
        if self.users.is_empty() {
            return None;
        }
        self.users.get(&digest(token)).cloned()
    }
}

/// The columns of a CSV line; `""` in quotes is a quote. `None` when a quote is left open.
fn columns(line: &str) -> Option<Vec<String>> {
    let mut columns = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let last = columns.last_mut()?;
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                last.push('"');
            }
            '"' if quoted || last.trim().is_empty() => quoted = !quoted,
            ',' if !quoted => columns.push(String::new()),
            ' ' if last.is_empty() && !quoted => {}
            character => last.push(character),
        }
    }
    (!quoted).then_some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_user_uid_and_groups() {
        let tokens = StaticTokens::parse(
            "t1,alice,7,\"devs,ops\"\n\n# note\nt2,bob,8\nt3, carol , 9 , devs\nt2,bob2,8\n",
        )
        .unwrap();
        let alice = tokens.user("t1").unwrap();
        assert_eq!((alice.name.as_str(), alice.uid.as_str()), ("alice", "7"));
        assert_eq!(alice.groups, ["devs", "ops", "system:authenticated"]);
        assert_eq!(tokens.user("t2").unwrap().name, "bob2");
        assert_eq!(tokens.user("t2").unwrap().groups, ["system:authenticated"]);
        assert!(tokens.user("t4").is_none() && tokens.user("").is_none());
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, line, why) in [
            ("t,alice", 1, "less than three"),
            ("t,a,1\n,b,2", 2, "empty"),
            ("t,a,1,\"x", 1, "quote"),
        ] {
            let error = StaticTokens::parse(text).err().unwrap().to_string();
            assert!(
                error.contains(&format!("line {line}")) && error.contains(why),
                "{error}"
            );
        }
    }
}
