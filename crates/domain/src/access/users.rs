//! Configured users and the check of their passwords.
//!
//! A password hash made to be slow must not be computed for every request, and who is at work must not be kept out by
//! who guesses at their password. So a verified pair is remembered while it is used, as a keyed digest: never the
//! password, and worthless outside this process.

use std::{collections::HashMap, sync::Arc, time::Duration};

use moka::sync::Cache;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Authorities, Rules};
use crate::error::{Error, Result};

/// From one use of a verified pair to the next.
const REMEMBER: Duration = Duration::from_secs(15 * 60);
const REMEMBERED: u64 = 10_000;

/// A configured user. `password` is `{noop}…`, `{bcrypt}…`, `{argon2}…` or a bare `$argon2id$…`; without a scheme it
/// is plain, as the peer takes it.
#[derive(Clone)]
pub struct User {
    pub name: String,
    pub password: String,
    pub authorities: Vec<String>,
    pub tenant: Option<String>,
}

/// Who has logged in.
#[derive(Clone, Debug)]
pub struct Login {
    pub name: Arc<str>,
    pub tenant: Option<Arc<str>>,
    pub authorities: Arc<Authorities>,
}

/// All users of this node's configuration.
pub struct Users {
    users: HashMap<String, Known>,
    verified: Cache<[u8; 32], ()>,
    key: [u8; 32],
}

struct Known {
    password: Password,
    login: Login,
    /// Of all that the configuration says of the user; the same on every node.
    fingerprint: [u8; 32],
}

enum Password {
    Plain(String),
    Bcrypt(String),
    Argon2(String),
}

impl Users {
    /// Fails on a password scheme that is not known and on a scope that can't be read, naming the user.
    pub fn new(users: impl IntoIterator<Item = User>, rules: &Rules) -> Result<Users, String> {
        let mut known = HashMap::new();
        for user in users {
            let of_user = |error: String| format!("user {}: {error}", user.name);
            let password = Password::parse(&user.password).map_err(of_user)?;
            let fingerprint = fingerprint(&user);
            let authorities = Authorities::new(user.authorities, rules).map_err(of_user)?;
            let login = Login {
                name: user.name.as_str().into(),
                tenant: user.tenant.map(|t| t.to_uppercase().into()),
                authorities: Arc::new(authorities),
            };
            known.insert(user.name, Known { password, login, fingerprint });
        }
        let verified = Cache::builder().max_capacity(REMEMBERED).time_to_idle(REMEMBER).build();
        Ok(Users { users: known, verified, key: rand::random() })
    }

    /// Who logged in with this name and password a moment ago.
    pub fn remembered(&self, name: &str, password: &str) -> Option<Login> {
        let known = self.users.get(name)?;
        self.verified.get(&self.digest(name, password))?;
        Some(known.login.clone())
    }

    /// `None` if the name or the password is wrong. It may take a slow hash, which runs off the async threads.
    pub async fn verify(&self, name: &str, password: &str) -> Result<Option<Login>> {
        let Some(known) = self.users.get(name) else {
            // The time that it takes tells nobody which names there are.
            if let Some(another) = self.users.values().find(|known| known.password.is_slow()) {
                another.password.is(password).await?;
            }
            return Ok(None);
        };
        if !known.password.is(password).await? {
            return Ok(None);
        }
        self.verified.insert(self.digest(name, password), ());
        Ok(Some(known.login.clone()))
    }

    /// The user of this name, who has proven it elsewhere.
    pub(super) fn login(&self, name: &str) -> Option<Login> {
        self.users.get(name).map(|known| known.login.clone())
    }

    /// What ties a secret to a user as configured: another text if anything about the user is another. Worthless without
    /// the secret.
    pub(super) fn proof(&self, name: &str, secret: &str) -> Option<String> {
        let known = self.users.get(name)?;
        let mut hash = Sha256::new_with_prefix(secret);
        hash.update(known.fingerprint);
        Some(hex::encode(hash.finalize()))
    }

    /// The tenant of a user; `None` if there is no such user, or it has no tenant.
    pub(super) fn tenant_of(&self, name: &str) -> Option<&str> {
        self.users.get(name)?.login.tenant.as_deref()
    }

    /// Whether all users are of this tenant.
    pub(super) fn all_of(&self, tenant: &str) -> bool {
        self.users.values().all(|known| known.login.tenant.as_deref() == Some(tenant))
    }

    fn digest(&self, name: &str, password: &str) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(self.key);
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update(password);
        hash.finalize().into()
    }
}

impl Password {
    async fn is(&self, password: &str) -> Result<bool> {
        match self {
            Password::Plain(expected) => Ok(expected.as_bytes().ct_eq(password.as_bytes()).into()),
            Password::Bcrypt(hash) => slowly(verify_bcrypt, password, hash).await,
            Password::Argon2(hash) => slowly(verify_argon2, password, hash).await,
        }
    }

    fn is_slow(&self) -> bool {
        !matches!(self, Password::Plain(_))
    }

    fn parse(text: &str) -> Result<Password, String> {
        if text.starts_with("$argon2") {
            return Ok(Password::Argon2(text.into()));
        }
        let Some((scheme, rest)) = text.strip_prefix('{').and_then(|t| t.split_once('}')) else {
            return Ok(Password::Plain(text.into()));
        };
        match scheme {
            "noop" => Ok(Password::Plain(rest.into())),
            "bcrypt" => Ok(Password::Bcrypt(rest.into())),
            "argon2" | "argon2id" | "argon2@SpringSecurity_v5_8" => Ok(Password::Argon2(rest.into())),
            other => {
                Err(format!("password scheme {{{other}}} is not supported; use {{noop}}, {{bcrypt}} or {{argon2}}"))
            }
        }
    }
}

fn fingerprint(user: &User) -> [u8; 32] {
    let mut hash = Sha256::new();
    let tenant = user.tenant.iter().map(String::as_str);
    for text in [user.name.as_str(), &user.password].into_iter().chain(tenant) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    for authority in &user.authorities {
        hash.update((authority.len() as u64).to_le_bytes());
        hash.update(authority);
    }
    hash.finalize().into()
}

async fn slowly(check: fn(&str, &str) -> bool, password: &str, hash: &str) -> Result<bool> {
    let (password, hash) = (password.to_owned(), hash.to_owned());
    tokio::task::spawn_blocking(move || check(&password, &hash)).await.map_err(Error::internal)
}

fn verify_bcrypt(password: &str, hash: &str) -> bool {
    bcrypt::verify(password, hash).unwrap_or(false)
}

fn verify_argon2(password: &str, hash: &str) -> bool {
    use argon2::{Argon2, PasswordHash, PasswordVerifier};
    PasswordHash::new(hash).is_ok_and(|h| Argon2::default().verify_password(password.as_bytes(), &h).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(password: &str) -> User {
        User {
            name: "u".into(),
            password: password.into(),
            authorities: vec!["READ_TARGET".into()],
            tenant: Some("t1".into()),
        }
    }

    #[tokio::test]
    async fn every_scheme_takes_its_password_and_no_other() {
        for stored in ["secret", "{noop}secret", "{bcrypt}$2b$04$Ogf8rC3hFQDvBoWkkNxDgOkAzQ7zf7kxj0i0JjZTgZqBxYwQbeJYK"]
        {
            let users = Users::new([user(stored)], &Rules::default()).unwrap();
            let bcrypt = stored.starts_with("{bcrypt}");
            if !bcrypt {
                assert!(users.verify("u", "secret").await.unwrap().is_some(), "{stored}");
            }
            for wrong in ["", "Secret", "secret "] {
                assert!(users.verify("u", wrong).await.unwrap().is_none(), "{stored} took {wrong:?}");
            }
            assert!(users.verify("other", "secret").await.unwrap().is_none());
        }
        let hash = bcrypt::hash("secret", 4).unwrap();
        let users = Users::new([user(&format!("{{bcrypt}}{hash}"))], &Rules::default()).unwrap();
        assert_eq!(users.verify("u", "secret").await.unwrap().unwrap().tenant.as_deref(), Some("T1"));
        assert!(users.remembered("u", "secret").is_some());
        assert!(users.remembered("u", "secret ").is_none());
        assert_eq!(users.verified.iter().count(), 1);
    }

    #[test]
    fn a_proof_is_of_one_secret_and_one_user_as_configured() {
        let proof = |user: User, secret: &str| Users::new([user], &Rules::default()).unwrap().proof("u", secret);
        let known = proof(user("secret"), "token");
        assert_eq!(known, proof(user("secret"), "token"), "the same on every node");
        let none = User { tenant: None, ..user("secret") };
        let other = User { authorities: Vec::new(), ..user("secret") };
        for another in [proof(user("secret2"), "token"), proof(user("secret"), "Token"), proof(none, "token")] {
            assert!(another.is_some() && another != known);
        }
        assert!(proof(other, "token") != known);
        assert_eq!(Users::new([user("x")], &Rules::default()).unwrap().proof("v", "token"), None);
    }

    #[test]
    fn an_unknown_scheme_is_named() {
        let error = Users::new([user("{scrypt}x")], &Rules::default()).err().unwrap();
        assert!(error.contains("user u") && error.contains("{scrypt}"), "{error}");
    }

    #[test]
    fn a_wrong_scope_is_named_with_its_user() {
        let user = User { authorities: vec!["READ_TARGET/name=x".into()], ..user("x") };
        let rules = Rules { scoping: Some(super::super::Scoping::ALL), ..Rules::default() };
        let error = Users::new([user], &rules).err().unwrap();
        assert!(error.contains("user u") && error.contains("READ_TARGET/name=x"), "{error}");
    }
}
