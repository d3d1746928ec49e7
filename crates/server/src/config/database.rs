//! Which database: `sqlite:…`, `postgres://…`, or what a Spring deployment has (JDBC). Credentials leave the URL here, so
//! that it can be logged.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::Url;

use super::value::Secret;

#[derive(Clone, Debug)]
pub struct Database {
    pub engine: Engine,
    /// `sqlite:PATH` or `postgres://HOST:PORT/NAME?…`, without credentials.
    pub url: String,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub max_connections: u32,
    pub acquire_timeout: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    #[default]
    Sqlite,
    Postgres,
}

impl Database {
    /// The URL with user and password in it, to connect with.
    pub fn connection_url(&self) -> Secret {
        let with_credentials = || {
            let mut url = Url::parse(&self.url).ok()?;
            url.set_username(self.username.as_deref()?).ok()?;
            url.set_password(self.password.as_ref().map(Secret::expose)).ok()?;
            Some(url.into())
        };
        Secret::new(with_credentials().unwrap_or_else(|| self.url.clone()))
    }
}

/// What a database URL says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Address {
    pub engine: Engine,
    pub url: String,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// Parameters without effect, most of them the JDBC driver's.
    pub ignored: Vec<String>,
}

pub(super) fn address(text: &str) -> Result<Address, String> {
    let jdbc = text.strip_prefix("jdbc:");
    let (scheme, rest) = jdbc.unwrap_or(text).split_once(':').unwrap_or((text, ""));
    match scheme {
        "sqlite" if rest.is_empty() => Err("expected a path after `sqlite:`".to_owned()),
        "sqlite" => Ok(Address { url: format!("sqlite:{rest}"), ..Address::default() }),
        "postgres" | "postgresql" => postgres(rest, jdbc.is_some()),
        "h2" | "mysql" | "mariadb" | "sqlserver" | "oracle" | "db2" => Err(format!(
            "the engine {scheme} is not supported; PostgreSQL (`postgres://…`, `jdbc:postgresql://…`) and SQLite (`sqlite:PATH`) are"
        )),
        _ => {
            Err("expected `postgres://HOST:PORT/NAME`, `jdbc:postgresql://HOST:PORT/NAME` or `sqlite:PATH`".to_owned())
        }
    }
}

fn postgres(rest: &str, jdbc: bool) -> Result<Address, String> {
    // `jdbc:postgresql:NAME` and `jdbc:postgresql:///NAME` mean this machine.
    let rest = match rest.strip_prefix("//") {
        Some(rest) if jdbc && rest.starts_with('/') => format!("localhost{rest}"),
        Some(rest) => rest.to_owned(),
        None if jdbc => format!("localhost/{}", rest.trim_start_matches('/')),
        None => return Err("expected `//` after `postgres:`".to_owned()),
    };
    if rest.split(['/', '?']).next().is_some_and(|hosts| hosts.contains(',')) {
        return Err("expected one host; several are not supported".to_owned());
    }
    let mut url = Url::parse(&format!("postgres://{rest}")).map_err(|error| format!("expected a URL, but: {error}"))?;
    if url.path().len() < 2 {
        return Err("expected the name of a database at the end of the path".to_owned());
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut address = Address {
        engine: Engine::Postgres,
        username: Some(decoded(url.username())).filter(|user| !user.is_empty()),
        password: url.password().map(|password| Secret::new(decoded(password))),
        ..Address::default()
    };
    let mut kept = Vec::new();
    for (name, value) in url.query_pairs() {
        let (name, value) = (name.into_owned(), value.into_owned());
        match name.as_str() {
            "user" => address.username = Some(value),
            "password" => address.password = Some(Secret::new(value)),
            // What is kept may be logged.
            _ if !jdbc && !name.contains("password") => kept.push((name, value)),
            "sslmode" | "sslrootcert" | "sslcert" | "sslkey" | "options" => kept.push((name, value)),
            "ApplicationName" => kept.push(("application_name".to_owned(), value)),
            "currentSchema" => kept.push(("options[search_path]".to_owned(), value)),
            // pgjdbc: `ssl=true` alone checks the server's certificate and name.
            "ssl" if value != "false" => kept.push(("sslmode".to_owned(), "verify-full".to_owned())),
            _ => address.ignored.push(name),
        }
    }
    url.set_query(None);
    if !kept.is_empty() {
        url.query_pairs_mut().extend_pairs(kept);
    }
    let unset = url.set_username("").and_then(|()| url.set_password(None));
    unset.map_err(|()| "expected a host".to_owned())?;
    address.url = url.into();
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_their_credentials() {
        for (text, url, user, password) in [
            ("sqlite:./data/kettle.db", "sqlite:./data/kettle.db", None, None),
            ("jdbc:sqlite:/var/k.db", "sqlite:/var/k.db", None, None),
            (
                "postgres://u:p%40w@h:5433/db?sslmode=require",
                "postgres://h:5433/db?sslmode=require",
                Some("u"),
                Some("p@w"),
            ),
            ("postgresql://h/db", "postgres://h/db", None, None),
            (
                "jdbc:postgresql://h:5432/db?sslmode=require&user=me&password=p%26w",
                "postgres://h:5432/db?sslmode=require",
                Some("me"),
                Some("p&w"),
            ),
            ("jdbc:postgresql:db", "postgres://localhost/db", None, None),
            ("jdbc:postgresql:///db", "postgres://localhost/db", None, None),
            (
                "jdbc:postgresql://h/db?ssl=true&ApplicationName=k",
                "postgres://h/db?sslmode=verify-full&application_name=k",
                None,
                None,
            ),
        ] {
            let address = address(text).unwrap();
            assert_eq!(address.url, url, "{text}");
            assert_eq!(address.username.as_deref(), user, "{text}");
            assert_eq!(address.password.as_ref().map(Secret::expose), password, "{text}");
        }
        assert_eq!(address("jdbc:postgresql://h/db?tcpKeepAlive=true").unwrap().ignored, ["tcpKeepAlive"]);
    }

    #[test]
    fn other_engines_and_broken_urls_are_refused() {
        for (text, expected) in [
            ("jdbc:h2:mem:hawkbit", "the engine h2 is not supported; PostgreSQL"),
            ("jdbc:mysql://h/db", "the engine mysql is not supported"),
            ("jdbc:mariadb://h/db", "the engine mariadb is not supported"),
            ("kettle.db", "expected `postgres://HOST:PORT/NAME`"),
            ("sqlite:", "expected a path"),
            ("postgres://h", "expected the name of a database"),
            ("postgres://h:port/db", "expected a URL, but: invalid port number"),
            ("jdbc:postgresql://a:1,b:2/db", "expected one host"),
        ] {
            let error = address(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn the_connection_url_has_the_credentials_and_debug_has_not() {
        let Address { engine, url, username, password, .. } =
            address("jdbc:postgresql://h/db?user=me&password=p%40w").unwrap();
        let database =
            Database { engine, url, username, password, max_connections: 1, acquire_timeout: Duration::ZERO };
        assert_eq!(database.connection_url().expose(), "postgres://me:p%40w@h/db");
        assert!(!format!("{database:?}").contains("p@w"));
    }
}
