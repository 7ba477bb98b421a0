//! `orlop token`: the tokens with which machines join.
use super::init::join_command;
use super::{administrator, documents};
use crate::cli::{AdminArgs, ListOutput, TokenArgs, TokenCommand, TokenCreateArgs};
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use orlop_cluster::token::{Listed, SECRET_PREFIX, Terms, Token, described};
use orlop_cluster::{api, discovery, yaml};
use serde_json::Value;
use std::time::Duration;

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
const TOKENS: &str =
    "/api/v1/namespaces/kube-system/secrets?fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken";

pub async fn token(arguments: TokenArgs) -> Result<()> {
    match arguments.command {
        TokenCommand::Create(arguments) => create(arguments).await,
        TokenCommand::List { admin, output } => list(&admin, output).await,
        TokenCommand::Delete { admin, tokens } => delete(&admin, &tokens).await,
        TokenCommand::Generate => {
            println!("{}", Token::generate()?);
            Ok(())
        }
    }
}

async fn create(arguments: TokenCreateArgs) -> Result<()> {
    let terms = Terms {
        expires: end(arguments.ttl).context("--ttl is too long")?,
        usages: arguments.usages,
        // `--groups ""` is none.
        groups: arguments
            .groups
            .into_iter()
            .filter(|group| !group.is_empty())
            .collect(),
        description: arguments.description,
    };
    terms.check()?;
    let client = administrator(&arguments.admin).await?;
    let token = match arguments.token {
        Some(token) => token,
        None => Token::generate()?,
    };
    let path = format!("{SECRETS}/{SECRET_PREFIX}{}", token.id);
    anyhow::ensure!(
        api::get(&client, &path).await?.is_none(),
        "there is a token {} already: `orlop token delete {}` removes it",
        token.id,
        token.id
    );
    api::apply(&client, &token.object(&terms)).await?;
    if terms.signs() {
        discovery::wait_signed(&client, &token).await?;
    }
    if !arguments.print_join_command {
        println!("{token}");
        return Ok(());
    }
    let info = api::get(&client, "/api/v1/namespaces/kube-public/configmaps/cluster-info").await?;
    let text = info.as_ref().and_then(|info| info["data"]["kubeconfig"].as_str());
    let text = text.context("the cluster has no ConfigMap cluster-info: `orlop init` makes it")?;
    let document = yaml::read("cluster-info", text)?;
    let cluster = &document["clusters"][0]["cluster"];
    let authority = cluster["certificate-authority-data"].as_str().unwrap_or_default();
    let authority = String::from_utf8(STANDARD.decode(authority)?)?;
    let server = cluster["server"].as_str().unwrap_or_default();
    let join = join_command(server, &authority, &token.to_string())?;
    match arguments.certificate_key {
        Some(key) => println!("{join} --control-plane --certificate-key {key}"),
        None => println!("{join}"),
    }
    Ok(())
}

/// When a token ends that lasts for so long from now on; one of zero never does.
pub fn end(ttl: Duration) -> Result<Option<Timestamp>, jiff::Error> {
    match ttl.is_zero() {
        true => Ok(None),
        false => Timestamp::now().checked_add(ttl).map(Some),
    }
}

async fn list(arguments: &AdminArgs, output: ListOutput) -> Result<()> {
    let client = administrator(arguments).await?;
    let secrets = api::get(&client, TOKENS).await?.unwrap_or_default();
    let now = Timestamp::now();
    let items = secrets["items"].as_array().cloned().unwrap_or_default();
    let all: Vec<Value> = items.iter().filter_map(described).collect();
    if let Some(text) = documents(output, &all)? {
        print!("{text}");
        return Ok(());
    }
    let mut rows =
        vec![["TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS"].map(str::to_owned)];
    for listed in items.iter().filter_map(|secret| Listed::of(secret, now)) {
        let Listed {
            token,
            ttl,
            expires,
            usages,
            description,
            groups,
        } = listed;
        rows.push([token, ttl, expires, usages, description, groups]);
    }
    print!("{}", super::table(&rows));
    Ok(())
}

async fn delete(arguments: &AdminArgs, tokens: &[String]) -> Result<()> {
    let client = administrator(arguments).await?;
    for token in tokens {
        let id = token.split('.').next().unwrap_or_default();
        anyhow::ensure!(
            Token::is_id(id),
            "{token:?} is neither a token nor the first part of one, which is six small letters and digits"
        );
        let path = format!("{SECRETS}/{SECRET_PREFIX}{id}");
        anyhow::ensure!(api::delete(&client, &path).await?, "there is no token {id}");
        println!("bootstrap token {id:?} deleted");
    }
    Ok(())
}
