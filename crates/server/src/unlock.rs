//! `kettle unlock`: forgets failed logins in the database, and in Redis where they are counted there.

use std::net::IpAddr;

use anyhow::bail;
use kettle_domain::access::failed_logins;

use crate::{config::Config, serve, wiring};

/// Whose failures are forgotten.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub struct Subject {
    /// A user, by name
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// An address; of IPv6, its /64 network
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
}

pub async fn unlock(config: &Config, subject: &Subject) -> anyhow::Result<()> {
    let subject = match (&subject.user, subject.address) {
        (Some(name), _) => failed_logins::Subject::user(name),
        (None, Some(ip)) => failed_logins::Subject::address(ip),
        (None, None) => bail!("say who: --user NAME or --address ADDRESS"),
    };
    let db = serve::connect(config).await?;
    let redis = wiring::redis(config)?;
    if let (Some(redis), Some(settings)) = (&redis, &config.redis)
        && settings.logins
        && let Err(error) = redis.check().await
    {
        bail!("failed logins are counted in Redis, which does not answer: {error}");
    }
    let forgotten = wiring::failed_logins(config, &db, redis.as_ref()).forget(&subject).await?;
    db.close().await;
    let (kind, text) = (subject.kind.name(), subject.text);
    if forgotten {
        println!("Forgot the failed logins of the {kind} {text}.");
    } else {
        println!("There were no failed logins of the {kind} {text}.");
    }
    Ok(())
}
