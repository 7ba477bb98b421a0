//! Taints and what tolerates them.

use crate::names::{check_label_value, check_qualified_name};
use k8s_openapi::api::core::v1::{Node, Taint, Toleration};

/// New pods stay away.
pub const NO_SCHEDULE: &str = "NoSchedule";
/// New pods stay away if they can.
pub const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";
/// New pods stay away and running ones are evicted.
pub const NO_EXECUTE: &str = "NoExecute";

/// What a taint may do.
pub const EFFECTS: [&str; 3] = [NO_SCHEDULE, PREFER_NO_SCHEDULE, NO_EXECUTE];

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or("")
}

/// Does one toleration cover one taint? Effect and key match when empty or equal; `Exists` ignores the
/// value, `Equal` (or nothing) compares it.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = text(&toleration.effect);
    let key = text(&toleration.key);
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match text(&toleration.operator) {
        "Exists" => true,
        "" | "Equal" => text(&toleration.value) == text(&taint.value),
        _ => false,
    }
}

/// Does any of the tolerations cover the taint?
pub fn any_tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|t| tolerates(t, taint))
}

/// The first taint with one of `effects` that nothing tolerates.
pub fn first_untolerated<'a>(
    taints: &'a [Taint],
    tolerations: &[Toleration],
    effects: &[&str],
) -> Option<&'a Taint> {
    taints
        .iter()
        .find(|t| effects.contains(&t.effect.as_str()) && !any_tolerates(tolerations, t))
}

/// A node's taints.
pub fn of(node: &Node) -> &[Taint] {
    node.spec
        .as_ref()
        .and_then(|s| s.taints.as_deref())
        .unwrap_or(&[])
}

/// A taint with no value.
pub fn taint(key: &str, effect: &str) -> Taint {
    Taint {
        key: key.to_owned(),
        effect: effect.to_owned(),
        value: None,
        time_added: None,
    }
}

/// A taint as flags have it: `key=value:effect` or `key:effect`.
pub fn read(text: &str) -> Option<Taint> {
    let (front, effect) = text.rsplit_once(':')?;
    let (key, value) = front.split_once('=').unwrap_or((front, ""));
    Some(Taint {
        value: (!value.is_empty()).then(|| value.to_owned()),
        ..taint(key, effect)
    })
}

/// Refuses what no node can be registered with.
pub fn check(taint: &Taint) -> Result<(), String> {
    if let Some(wrong) = check_qualified_name(&taint.key).first() {
        return Err(format!("key: {wrong}"));
    }
    if let Some(wrong) = check_label_value(text(&taint.value)).first() {
        return Err(format!("value: {wrong}"));
    }
    if !EFFECTS.contains(&taint.effect.as_str()) {
        return Err(format!(
            "effect {:?} is none of {}",
            taint.effect,
            EFFECTS.join(", ")
        ));
    }
    if taint.time_added.is_some() {
        return Err("timeAdded is not to be given".to_owned());
    }
    Ok(())
}

/// `key` tolerated whatever its value, for ever.
pub fn tolerate_forever(key: &str, effect: &str) -> Toleration {
    Toleration {
        key: Some(key.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some(effect.to_owned()),
        ..Toleration::default()
    }
}

/// Same key, effect, operator and value (`Equal` and no operator are the same); seconds do not count.
pub fn same_toleration(a: &Toleration, b: &Toleration) -> bool {
    let operator = |t: &Toleration| match text(&t.operator) {
        "" => "Equal".to_owned(),
        o => o.to_owned(),
    };
    text(&a.key) == text(&b.key)
        && text(&a.effect) == text(&b.effect)
        && operator(a) == operator(b)
        && text(&a.value) == text(&b.value)
}

/// Replaces the equal toleration in place (dropping its seconds) or appends (daemonsets §3.5).
/// Returns whether anything changed.
pub fn add_or_replace(tolerations: &mut Vec<Toleration>, new: Toleration) -> bool {
    match tolerations.iter_mut().find(|t| same_toleration(t, &new)) {
        Some(old) if *old == new => false,
        Some(old) => {
            *old = new;
            true
        }
        None => {
            tolerations.push(new);
            true
        }
    }
}

/// How a taint is written in messages: `key=value:effect`.
pub fn display(taint: &Taint) -> String {
    match text(&taint.value) {
        "" => format!("{}:{}", taint.key, taint.effect),
        value => format!("{}={value}:{}", taint.key, taint.effect),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
        Toleration {
            key: some(key),
            operator: some(operator),
            value: some(value),
            effect: some(effect),
            toleration_seconds: None,
        }
    }

    #[test]
    fn match_table() {
        let t = Taint {
            key: "k".into(),
            value: Some("v".into()),
            effect: NO_SCHEDULE.into(),
            time_added: None,
        };
        for (key, op, value, effect, want) in [
            ("k", "Equal", "v", NO_SCHEDULE, true),
            ("k", "", "v", NO_SCHEDULE, true),
            ("k", "", "v", "", true),
            ("k", "", "w", "", false),
            ("k", "Exists", "", NO_SCHEDULE, true),
            ("k", "Exists", "", NO_EXECUTE, false),
            ("", "Exists", "", "", true),
            ("", "Exists", "", NO_EXECUTE, false),
            ("x", "Exists", "", "", false),
            ("k", "Bogus", "v", "", false),
        ] {
            assert_eq!(
                tolerates(&toleration(key, op, value, effect), &t),
                want,
                "{key} {op} {value} {effect}"
            );
        }
    }

    #[test]
    fn replacing_drops_the_users_seconds() {
        let mut list = vec![Toleration {
            toleration_seconds: Some(9),
            ..tolerate_forever("k", NO_EXECUTE)
        }];
        assert!(add_or_replace(&mut list, tolerate_forever("k", NO_EXECUTE)));
        assert_eq!(list, [tolerate_forever("k", NO_EXECUTE)]);
        assert!(!add_or_replace(&mut list, tolerate_forever("k", NO_EXECUTE)));
        assert!(add_or_replace(&mut list, tolerate_forever("k", NO_SCHEDULE)));
        assert_eq!(list.len(), 2);
    }
}
