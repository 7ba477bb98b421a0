//! What the claims of an identity provider's token mean: whom they speak for. Pure.
use super::OidcConfig;
use crate::authn::UserInfo;
use orlop_api::cel::{Activation, Budget, Context, Declarations, EXPRESSION_MAX, Program, Type};
use orlop_api::cel::{CompileError, Value as Cel};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Seconds that clocks may differ.
const CLOCK_SKEW: i64 = 300;
/// What expressions about a token call its claims, and about whom they made, that one.
const CLAIMS: &str = "claims";
const USER: &str = "user";

/// Where a part of a user comes from.
#[derive(Clone, Debug)]
pub enum Source {
    Claim { name: String, prefix: String },
    Expression(Program),
}

/// An expression that has to hold.
#[derive(Clone, Debug)]
pub struct Rule {
    pub text: String,
    pub program: Program,
    /// What is said if it doesn't.
    pub message: String,
}

/// How claims become a user, and which claims and users are taken.
#[derive(Clone, Debug)]
pub struct Mapping {
    pub issuer: String,
    /// The token has to be for one of them.
    pub audiences: Vec<String>,
    pub username: Source,
    pub groups: Option<Source>,
    pub uid: Option<Source>,
    pub extra: Vec<(String, Program)>,
    /// Claims and the texts they have to be.
    pub required_claims: Vec<(String, String)>,
    pub claim_rules: Vec<Rule>,
    pub user_rules: Vec<Rule>,
}

/// Compiles an expression about claims.
///
/// # Errors
/// It is none.
pub fn of_claims(text: &str) -> Result<Program, CompileError> {
    let claims = Type::map(Type::String, Type::Dyn);
    Program::compile(text, &Declarations::default().with(CLAIMS, claims))
}

/// Compiles an expression about a user.
///
/// # Errors
/// It is none.
pub fn of_user(text: &str) -> Result<Program, CompileError> {
    let texts = || Type::list(Type::String);
    let user = Type::object(
        "kubernetes.UserInfo",
        [
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", texts()),
            ("extra", Type::map(Type::String, texts())),
        ],
    );
    Program::compile(text, &Declarations::default().with(USER, user))
}

/// Whether an expression reads a claim.
pub fn reads(program: &Program, claim: &str) -> bool {
    program.selects(CLAIMS, claim)
}

impl From<&OidcConfig> for Mapping {
    fn from(config: &OidcConfig) -> Self {
        let claim = &config.username_claim;
        let prefix = match config.username_prefix.as_deref() {
            Some("-") => String::new(),
            Some(prefix) => prefix.to_owned(),
            None if claim == "email" => String::new(),
            None => format!("{}#", config.issuer),
        };
        let groups = config.groups_claim.as_ref().map(|name| Source::Claim {
            name: name.clone(),
            prefix: config.groups_prefix.clone().unwrap_or_default(),
        });
        Self {
            issuer: config.issuer.clone(),
            audiences: vec![config.client_id.clone()],
            username: Source::Claim {
                name: claim.clone(),
                prefix,
            },
            groups,
            uid: None,
            extra: Vec::new(),
            required_claims: config.required_claims.clone(),
            claim_rules: Vec::new(),
            user_rules: Vec::new(),
        }
    }
}

impl Mapping {
    /// Whom verified claims speak for, or why for nobody. `now`: seconds.
    pub fn user(&self, claims: &Value, now: i64) -> Result<UserInfo, String> {
        if claims["iss"].as_str() != Some(&self.issuer) {
            return Err("another issuer".to_owned());
        }
        let audiences = texts(&claims["aud"]).unwrap_or_default();
        if !audiences.iter().any(|audience| self.audiences.contains(audience)) {
            return Err(format!(
                "it is for {audiences:?}, for none of {:?}",
                self.audiences
            ));
        }
        let time = |claim: &str| claims[claim].as_f64().map(|seconds| seconds as i64);
        if time("exp").is_none_or(|end| end <= now) {
            return Err("it has expired".to_owned());
        }
        if time("nbf").is_some_and(|from| from > now + CLOCK_SKEW) {
            return Err("it is not valid yet".to_owned());
        }
        let name = self.name(claims)?;
        let groups = match &self.groups {
            None => Vec::new(),
            Some(Source::Claim { name, prefix }) => {
                let given = match &claims[name] {
                    Value::Null => Vec::new(),
                    given => texts(given).ok_or_else(|| format!("claim {name:?} is no list of groups"))?,
                };
                given.iter().map(|group| format!("{prefix}{group}")).collect()
            }
            Some(Source::Expression(program)) => listed(&value(program, CLAIMS, claims)?)
                .ok_or("the groups are neither a string nor a list of them")?,
        };
        let uid = match &self.uid {
            None => String::new(),
            Some(Source::Claim { name, .. }) => text(&claims[name], name)?,
            Some(Source::Expression(program)) => match value(program, CLAIMS, claims)? {
                Value::String(uid) => uid,
                _ => return Err("the uid is no string".to_owned()),
            },
        };
        let mut extra = BTreeMap::new();
        for (key, program) in &self.extra {
            let values = listed(&value(program, CLAIMS, claims)?);
            let values = values.ok_or_else(|| format!("{key:?} is neither a string nor a list of them"))?;
            if !values.is_empty() {
                extra.insert(key.clone(), values);
            }
        }
        for (claim, wanted) in &self.required_claims {
            if claims[claim].as_str() != Some(wanted) {
                return Err(format!("claim {claim:?} is not {wanted:?}"));
            }
        }
        hold(&self.claim_rules, CLAIMS, claims)?;
        // Before anything is added that no claim says.
        let made = json!({"username": name, "uid": uid, "groups": groups, "extra": extra});
        hold(&self.user_rules, USER, &made)?;
        let mut user = UserInfo::new(name, groups);
        user.uid = uid;
        user.extra = extra;
        if let Some(id) = claims["jti"].as_str() {
            let key = "authentication.kubernetes.io/credential-id".to_owned();
            user.extra.insert(key, vec![format!("JTI={id}")]);
        }
        Ok(user)
    }

    fn name(&self, claims: &Value) -> Result<String, String> {
        let name = match &self.username {
            Source::Expression(program) => match value(program, CLAIMS, claims)? {
                Value::String(name) => name,
                _ => return Err("the username is no string".to_owned()),
            },
            Source::Claim { name: claim, prefix } => {
                let name = text(&claims[claim], claim)?;
                // An address that nobody has proven to be theirs is no name.
                let verified = &claims["email_verified"];
                if claim == "email" && !verified.as_bool().unwrap_or(verified.is_null()) {
                    return Err("the email address is not verified".to_owned());
                }
                match name.is_empty() {
                    true => name,
                    false => format!("{prefix}{name}"),
                }
            }
        };
        match name.is_empty() {
            true => Err("the username is empty".to_owned()),
            false => Ok(name),
        }
    }
}

/// The value of an expression about one thing.
fn value(program: &Program, name: &str, about: &Value) -> Result<Value, String> {
    let names = Activation::default().with(name, Cel::of(about, None));
    let mut context = Context {
        budget: Budget::new(EXPRESSION_MAX),
        authorizer: None,
    };
    let value = program.eval(&names, &mut context);
    value
        .and_then(|value| value.to_json())
        .map_err(|error| format!("an expression about {name} has no value: {error}"))
}

fn hold(rules: &[Rule], name: &str, about: &Value) -> Result<(), String> {
    for rule in rules {
        match value(&rule.program, name, about)? {
            Value::Bool(true) => {}
            Value::Bool(false) => {
                return Err(format!(
                    "validation expression '{}' failed: {}",
                    rule.text, rule.message
                ));
            }
            _ => return Err("a validation expression is no yes or no".to_owned()),
        }
    }
    Ok(())
}

fn text(value: &Value, claim: &str) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Err(format!("there is no claim {claim:?}")),
        _ => Err(format!("claim {claim:?} is no string")),
    }
}

/// A text, or a list of them.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => items.iter().map(|v| v.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// The same of an expression's value: what is nothing counts for nothing.
fn listed(value: &Value) -> Option<Vec<String>> {
    let mut all = match value {
        Value::Null => Vec::new(),
        given => texts(given)?,
    };
    all.retain(|text| !text.is_empty());
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn user(config: &OidcConfig, claims: &Value, now: i64) -> Result<UserInfo, String> {
        Mapping::from(config).user(claims, now)
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
            (("sub", json!("")), "empty"),
            (("sub", json!(5)), "no string"),
            (("groups", json!([5])), "no list of groups"),
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

    #[test]
    fn expressions_make_users_and_rules_refuse_them() {
        let rule = |program: Program, text: &str| Rule {
            text: text.to_owned(),
            program,
            message: "not one of ours".to_owned(),
        };
        let hd = "claims.hd == 'example.org'";
        let plain = "!user.username.startsWith('system:') && user.groups.all(g, !g.startsWith('system:'))";
        let mapping = Mapping {
            audiences: vec!["a".to_owned(), "b".to_owned()],
            username: Source::Expression(of_claims("claims.?nick.orValue(claims.sub) + ':idp'").unwrap()),
            groups: Some(Source::Expression(of_claims("claims.roles.split(',')").unwrap())),
            uid: Some(Source::Claim {
                name: "oid".to_owned(),
                prefix: String::new(),
            }),
            extra: vec![
                (
                    "example.org/level".to_owned(),
                    of_claims("string(claims.level)").unwrap(),
                ),
                ("example.org/none".to_owned(), of_claims("''").unwrap()),
            ],
            claim_rules: vec![rule(of_claims(hd).unwrap(), hd)],
            user_rules: vec![rule(of_user(plain).unwrap(), plain)],
            ..Mapping::from(&config())
        };
        let given = |change: &[(&str, Value)]| {
            let mut claims = claims(&[
                ("aud", json!(["b", "c"])),
                ("roles", json!("x,,y")),
                ("oid", json!("7")),
                ("level", json!(3)),
                ("hd", json!("example.org")),
                ("jti", json!("id")),
            ]);
            for (claim, value) in change {
                claims[*claim] = value.clone();
            }
            mapping.user(&claims, 100)
        };
        let alice = given(&[]).unwrap();
        assert_eq!((alice.name.as_str(), alice.uid.as_str()), ("alice:idp", "7"));
        assert_eq!(alice.groups, ["x", "y", "system:authenticated"]);
        let keys: Vec<&String> = alice.extra.keys().collect();
        assert_eq!(
            keys,
            ["authentication.kubernetes.io/credential-id", "example.org/level"]
        );
        assert_eq!(given(&[("nick", json!("al"))]).unwrap().name, "al:idp");
        for (change, why) in [
            (("hd", json!("other")), "failed: not one of ours"),
            (("sub", json!("system:admin")), "failed: not one of ours"),
            (("roles", json!("system:masters")), "failed: not one of ours"),
            (("roles", Value::Null), "no value"),
            (("oid", Value::Null), "no claim \"oid\""),
            (("aud", json!("c")), "it is for"),
        ] {
            let refused = given(&[change]).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
