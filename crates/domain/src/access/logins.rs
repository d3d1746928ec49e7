//! A login with name and password: who guesses waits, who is at work does not. What happens goes to the security log.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use tokio::sync::{Mutex, MutexGuard};

use super::{
    FailedLogins, Login, Permission, Users,
    failed_logins::{FailedLogin, Kind, Subject},
};
use crate::{
    ctx::Ctx,
    error::{Error, Result},
};

/// hawkBit's name of the log that a watching program follows.
const SECURITY_LOG: &str = "server-security";
/// How many names, and addresses, are checked at the same time on this node.
const TURNS: usize = 256;
/// How many failures are listed.
const LISTED: i64 = 1_000;

/// How a login went.
#[derive(Debug)]
pub enum Outcome {
    In(Login),
    /// The name or the password is wrong; it doesn't say which.
    Wrong,
    /// Too many failed before; nobody looked at the password. How long that stays so.
    Delayed(Duration),
}

/// Logins of this node's users, whose failures all nodes count together.
pub struct Logins {
    pub users: Arc<Users>,
    failed: FailedLogins,
    /// Tries of one name, and from one address, are taken one after the other: what the first did counts for the second.
    names: Turns,
    addresses: Turns,
}

impl Logins {
    pub fn new(users: Arc<Users>, failed: FailedLogins) -> Logins {
        Logins { users, failed, names: Turns::new(), addresses: Turns::new() }
    }

    /// `client` is the address that the request came from.
    pub async fn log_in(&self, name: &str, password: &str, client: Option<IpAddr>) -> Result<Outcome> {
        if let Some(login) = self.users.remembered(name, password) {
            return Ok(Outcome::In(login));
        }
        let mut subjects = Vec::new();
        subjects.extend(client.map(Subject::address));
        subjects.push(Subject::user(name));
        // Always the address first: nobody waits for who waits for him.
        let _turn_of_address = match &client {
            Some(ip) => Some(self.addresses.take(&Subject::address(*ip)).await),
            None => None,
        };
        let _turn_of_name = self.names.take(&Subject::user(name)).await;
        // Several requests of one client come at once, and the first of them has just been let in.
        if let Some(login) = self.users.remembered(name, password) {
            return Ok(Outcome::In(login));
        }
        let before = self.failed.read(&subjects).await?;
        let locked_for = before.iter().map(|failed| failed.locked_for).max().unwrap_or_default();
        if !locked_for.is_zero() {
            return Ok(Outcome::Delayed(locked_for));
        }
        let Some(login) = self.users.verify(name, password).await? else {
            let failed = self.failed.add(&subjects).await?;
            tell_failure(&failed, name, client);
            return Ok(Outcome::Wrong);
        };
        if let Some(of_user) = before.iter().find(|failed| failed.subject.kind == Kind::User) {
            self.failed.forget(&of_user.subject).await?;
            tracing::info!(target: SECURITY_LOG, { user.name = name,
                client.address = client.map(tracing::field::display),
                failures = of_user.failures }, "a user logged in after failures");
        }
        Ok(Outcome::In(login))
    }

    /// What failed of late, as far as it is the tenant's. Needs READ_TENANT_CONFIGURATION: hawkBit 1.0 has no permission
    /// for what is the server's, and who guards a tenant's settings guards its logins.
    pub async fn list(&self, ctx: &Ctx) -> Result<Vec<FailedLogin>> {
        ctx.require(Permission::ReadTenantConfiguration)?;
        let mut failed = self.failed.list(LISTED).await?;
        failed.retain(|failed| self.is_of(&failed.subject, ctx.tenant_id()));
        Ok(failed)
    }

    /// Lets a user, or an address, try again at once. Needs DELETE_TENANT_CONFIGURATION.
    pub async fn unlock(&self, ctx: &Ctx, kind: &str, text: &str) -> Result<()> {
        ctx.require(Permission::DeleteTenantConfiguration)?;
        let missing = || Error::not_found("FailedLogin", text);
        let subject = Kind::parse(kind).and_then(|kind| Subject::parse(kind, text)).ok_or_else(missing)?;
        if !self.is_of(&subject, ctx.tenant_id()) || !self.failed.forget(&subject).await? {
            return Err(missing());
        }
        tell_unlock(&subject, &ctx.actor.name);
        Ok(())
    }

    /// Tenants never see each other: a failure is the tenant's of its user. Of names that nobody has, and of addresses,
    /// only the tenant of all users hears.
    fn is_of(&self, subject: &Subject, tenant: &str) -> bool {
        let of_user = subject.kind == Kind::User && self.users.tenant_of(&subject.text) == Some(tenant);
        of_user || self.users.all_of(tenant)
    }
}

/// Notes in the security log who let a user, or an address, try again.
pub fn tell_unlock(subject: &Subject, by: &str) {
    let (user, address) = match subject.kind {
        Kind::User => (Some(&subject.text), None),
        Kind::Address => (None, Some(&subject.text)),
    };
    tracing::info!(target: SECURITY_LOG, { user.name = user,
        client.address = address,
        by }, "failed logins were forgotten, and logins are possible at once");
}

fn tell_failure(failed: &[FailedLogin], name: &str, client: Option<IpAddr>) {
    let failures = failed.iter().find(|f| f.subject.kind == Kind::User).map_or(0, |f| f.failures);
    let name = Subject::user(name).text;
    tracing::info!(target: SECURITY_LOG, { user.name = name,
        client.address = client.map(tracing::field::display),
        failures }, "a login failed");
    for FailedLogin { subject, failures, locked_for, .. } in failed.iter().filter(|f| !f.locked_for.is_zero()) {
        tracing::warn!(target: SECURITY_LOG, { user.name = name,
            client.address = client.map(tracing::field::display),
            failures,
            locked_for = locked_for.as_secs_f64() }, "logins of this {} are refused for a while",
            subject.kind.name());
    }
}

/// As many turns as there may be, dealt out by digest.
struct Turns {
    turns: Vec<Mutex<()>>,
    digest: RandomState,
}

impl Turns {
    fn new() -> Turns {
        Turns { turns: (0..TURNS).map(|_| Mutex::default()).collect(), digest: RandomState::new() }
    }

    async fn take(&self, subject: &Subject) -> Option<MutexGuard<'_, ()>> {
        let turn = self.turns.get(self.digest.hash_one(&subject.text) as usize % TURNS)?;
        Some(turn.lock().await)
    }
}
