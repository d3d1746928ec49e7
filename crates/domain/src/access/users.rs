//! Configured users and the check of their passwords.
//!
//! A password hash made to be slow must not be computed for every request. A verified pair is remembered for a short
//! time as a keyed digest: never the password, and worthless outside this process.

use std::{collections::HashMap, sync::Arc, time::Duration};

use moka::sync::Cache;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Authorities, Rules};
use crate::error::{Error, Result};

const REMEMBER: Duration = Duration::from_secs(60);
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
    users: HashMap<String, (Password, Login)>,
    verified: Cache<[u8; 32], ()>,
    key: [u8; 32],
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
            let authorities = Authorities::new(user.authorities, rules).map_err(of_user)?;
            let login = Login {
                name: user.name.as_str().into(),
                tenant: user.tenant.map(|t| t.to_uppercase().into()),
                authorities: Arc::new(authorities),
            };
            known.insert(user.name, (password, login));
        }
        let verified = Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBER).build();
        Ok(Users { users: known, verified, key: rand::random() })
    }

    /// `None` if the name or the password is wrong. A first check may take a slow hash; it runs off the async threads.
    pub async fn verify(&self, name: &str, password: &str) -> Result<Option<Login>> {
        let Some((known, login)) = self.users.get(name) else { return Ok(None) };
        if let Password::Plain(expected) = known {
            return Ok(bool::from(expected.as_bytes().ct_eq(password.as_bytes())).then(|| login.clone()));
        }
        let digest = self.digest(name, password);
        if self.verified.contains_key(&digest) {
            return Ok(Some(login.clone()));
        }
        let (known, given) = (known.hash().to_owned(), password.to_owned());
        let bcrypt = matches!(self.users.get(name), Some((Password::Bcrypt(_), _)));
        let check = move || if bcrypt { verify_bcrypt(&given, &known) } else { verify_argon2(&given, &known) };
        if !tokio::task::spawn_blocking(check).await.map_err(Error::internal)? {
            return Ok(None);
        }
        self.verified.insert(digest, ());
        Ok(Some(login.clone()))
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

    fn hash(&self) -> &str {
        match self {
            Password::Plain(text) | Password::Bcrypt(text) | Password::Argon2(text) => text,
        }
    }
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
        assert!(users.verify("u", "secret").await.unwrap().is_some());
        assert_eq!(users.verified.iter().count(), 1);
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
