//! What the claims of an identity provider's token say, by the server's configuration.
use super::OidcConfig;
use crate::authn::UserInfo;
use serde_json::Value;

/// Whom verified claims speak for, or why for nobody.
pub fn user(config: &OidcConfig, claims: &Value, now: i64) -> Result<UserInfo, String> {
    if claims["iss"].as_str() != Some(&config.issuer) {
        return Err("another issuer".to_owned());
    }
    let audiences = texts(&claims["aud"]);
    if !audiences.contains(&config.client_id) {
        return Err(format!("it is for {audiences:?}, not for {:?}", config.client_id));
    }
    let time = |claim: &str| claims[claim].as_f64().map(|seconds| seconds as i64);
    if time("exp").is_none_or(|end| end <= now) {
        return Err("it has expired".to_owned());
    }
    if time("nbf").is_some_and(|from| from > now + CLOCK_SKEW) {
        return Err("it is not valid yet".to_owned());
    }
    for (claim, value) in &config.required_claims {
        if claims[claim].as_str() != Some(value) {
            return Err(format!("claim {claim:?} is not {value:?}"));
        }
    }
    let claim = &config.username_claim;
    let name = claims[claim]
        .as_str()
        .filter(|name| !name.is_empty())
        .ok_or_else(|| format!("there is no claim {claim:?}"))?;
    // An address that nobody has proven to be theirs is no name.
    if claim == "email"
        && !claims["email_verified"]
            .as_bool()
            .unwrap_or(claims["email_verified"].is_null())
    {
        return Err("the email address is not verified".to_owned());
    }
    let prefix = match config.username_prefix.as_deref() {
        Some("-") => String::new(),
        Some(prefix) => prefix.to_owned(),
        None if claim == "email" => String::new(),
        None => format!("{}#", config.issuer),
    };
    let groups = config.groups_claim.as_ref().map(|claim| &claims[claim]);
    let groups = groups.map(texts).unwrap_or_default();
    let group_prefix = config.groups_prefix.as_deref().unwrap_or_default();
    let groups = groups.iter().map(|group| format!("{group_prefix}{group}"));
    let mut user = UserInfo::new(format!("{prefix}{name}"), groups);
    if let Some(id) = claims["jti"].as_str() {
        let key = "authentication.kubernetes.io/credential-id".to_owned();
        user.extra.insert(key, vec![format!("JTI={id}")]);
    }
    Ok(user)
}

/// Seconds that clocks may differ.
const CLOCK_SKEW: i64 = 300;

/// A text, or a list of them.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items
            .iter()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config() -> OidcConfig {
        OidcConfig {
            groups_claim: Some("groups".to_owned()),
            ..OidcConfig::new("https://idp", "kubernetes")
        }
    }

    fn claims(change: &[(&str, Value)]) -> Value {
        let mut claims = json!({"iss": "https://idp", "aud": "kubernetes", "exp": 200, "sub": "alice",
            "groups": ["devs"], "email": "a@example.org", "email_verified": true});
        for (claim, value) in change {
            claims[*claim] = value.clone();
        }
        claims
    }

    #[test]
    fn names_and_groups_come_from_claims_with_their_prefixes() {
        let plain = user(&config(), &claims(&[]), 100).unwrap();
        assert_eq!(plain.name, "https://idp#alice");
        assert_eq!(plain.groups, ["devs", "system:authenticated"]);
        let email = OidcConfig {
            username_claim: "email".to_owned(),
            groups_prefix: Some("idp:".to_owned()),
            ..config()
        };
        let mailed = user(&email, &claims(&[("groups", json!("one"))]), 100).unwrap();
        assert_eq!(mailed.name, "a@example.org");
        assert_eq!(mailed.groups, ["idp:one", "system:authenticated"]);
        let unverified = claims(&[("email_verified", json!(false))]);
        assert!(user(&email, &unverified, 100).is_err());
        let prefixed = OidcConfig {
            username_prefix: Some("-".to_owned()),
            ..config()
        };
        assert_eq!(user(&prefixed, &claims(&[]), 100).unwrap().name, "alice");
    }

    #[test]
    fn a_token_of_others_for_others_or_of_another_time_is_refused() {
        for (change, why) in [
            (("iss", json!("https://other")), "another issuer"),
            (("aud", json!(["x"])), "it is for"),
            (("exp", json!(100)), "expired"),
            (("exp", Value::Null), "expired"),
            (("nbf", json!(1000)), "not valid yet"),
            (("sub", Value::Null), "no claim"),
        ] {
            let refused = user(&config(), &claims(&[change]), 100).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        let picky = OidcConfig {
            required_claims: vec![("tenant".to_owned(), "a".to_owned())],
            ..config()
        };
        assert!(user(&picky, &claims(&[]), 100).is_err());
        assert!(user(&picky, &claims(&[("tenant", json!("a"))]), 100).is_ok());
    }
}
