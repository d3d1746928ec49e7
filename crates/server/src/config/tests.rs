//! Loading as a whole: order of sources, users, masking, and what is reported.

#[cfg(test)]
mod dmf;
#[cfg(test)]
mod events;
#[cfg(test)]
mod guard;

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{
    database::Engine,
    settings::{Roles, User},
    value::Secret,
    *,
};

/// A folder with files in it, gone with the value.
struct Folder(PathBuf);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("kettle-config-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
            fs::write(folder.join(name), text).unwrap();
        }
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn load_in(folder: &Folder, env: &[(&str, &str)], set: &[&str]) -> Result<Loaded, ConfigError> {
    let args = Overrides { set: set.iter().map(|&pair| pair.to_owned()).collect(), ..Overrides::default() };
    load(&args, variables(env), &folder.0)
}

fn variables(env: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()))
}

fn loaded(file: &str, env: &[(&str, &str)], set: &[&str]) -> Loaded {
    load_in(&Folder::with(&[("kettle.toml", file)]), env, set).unwrap_or_else(|error| panic!("{error}"))
}

/// The problems, without the name of the temporary folder.
fn problems(file: &str, env: &[(&str, &str)], set: &[&str]) -> Vec<String> {
    let folder = Folder::with(&[("kettle.toml", file)]);
    let problems = load_in(&folder, env, set).unwrap_err().problems.into_iter();
    problems.map(|problem| problem.replace(&format!("{}/", folder.0.display()), "")).collect()
}

#[test]
fn the_defaults_load_and_are_the_table_of_keys() {
    let Loaded { config, entries, warnings } =
        load(&Overrides::default(), std::iter::empty(), Path::new("/nonexistent")).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    let mut keys: Vec<_> = keys::KEYS.iter().map(|(name, _)| *name).collect();
    keys.sort_unstable();
    let known: Vec<_> = entries
        .iter()
        .map(|entry| entry.key.as_str())
        .filter(|key| !key.starts_with(keys::USERS) && !key.starts_with(keys::ARTIFACT_URLS))
        .collect();
    assert_eq!(known, keys);
    assert!(entries.iter().all(|entry| entry.origin == Origin::Default));
    assert_eq!(config.server.listen().to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.max_body_bytes, 10 << 20);
    assert_eq!(config.server.public_url, None);
    assert_eq!(config.database.url, "sqlite:./data/kettle.db");
    assert_eq!(config.artifacts, Path::new("./data/artifactrepo"));
    assert_eq!(config.quotas.max_artifact_storage, 21_474_836_480);
    assert_eq!(config.repository.skip_implicit_lock_for_tags.len(), 4);
    assert_eq!(config.roles, Roles { mgmt: true, ddi: true, dmf: false });
    assert_eq!(config.rabbitmq, None);
}

#[test]
fn every_key_is_read() {
    let source = [
        include_str!("bind.rs"),
        include_str!("bind/dmf.rs"),
        include_str!("bind/events.rs"),
        include_str!("bind/guard.rs"),
    ]
    .concat();
    for (name, _) in keys::KEYS {
        assert!(source.contains(&format!("\"{name}\"")), "{name} is in the table and the manual, but nothing reads it");
    }
}

#[test]
fn a_later_source_beats_an_earlier_one() {
    let file = "[server]\nport = 1000";
    let env: &[_] = &[("SERVER_PORT", "2000")];
    for (file, env, set, port, origin) in [
        ("", &[][..], &[][..], 8080, "default"),
        (file, &[], &[], 1000, "kettle.toml line 2"),
        (file, env, &[], 2000, "environment SERVER_PORT"),
        (file, env, &["server.port=3000"], 3000, "--set"),
        (file, env, &["server.port=3000", "server.port=3001"], 3001, "--set"),
    ] {
        let loaded = loaded(file, env, set);
        let entry = loaded.entries.iter().find(|entry| entry.key == "server.port").unwrap();
        assert_eq!((loaded.config.server.port, entry.value.as_str()), (port, port.to_string().as_str()));
        assert!(entry.origin.to_string().ends_with(origin), "{}", entry.origin);
    }
    let args = Overrides {
        port: Some(4000),
        bind: Some("::1".parse().unwrap()),
        data: Some("/srv/k".into()),
        set: vec!["server.port=3000".into()],
        ..Overrides::default()
    };
    let config = load(&args, variables(env), Path::new("/nonexistent")).unwrap().config;
    assert_eq!(config.server.listen().to_string(), "[::1]:4000");
    assert_eq!(config.database.url, "sqlite:/srv/k/kettle.db");
}

#[test]
fn the_file_is_the_named_one_else_of_the_working_folder_else_of_the_data_folder() {
    let [named, here, data] = [
        ("other.toml", "server.port = 1"),
        ("kettle.toml", "server.port = 2"),
        ("data/kettle.toml", "server.port = 3"),
    ];
    for (files, config, port) in [
        (&[named, here, data][..], Some("other.toml"), 1),
        (&[named, here, data], None, 2),
        (&[data], None, 3),
        (&[named], None, 8080),
    ] {
        let folder = Folder::with(files);
        let args = Overrides { config: config.map(PathBuf::from), ..Overrides::default() };
        assert_eq!(load(&args, std::iter::empty(), &folder.0).unwrap().config.server.port, port);
    }
    let args = Overrides { config: Some("missing.toml".into()), ..Overrides::default() };
    let error = load(&args, std::iter::empty(), Path::new("/nonexistent")).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/missing.toml cannot be read"), "{error}");
}

#[test]
fn a_key_may_be_nested_quoted_dashed_or_a_variable() {
    for (file, env) in [
        ("[hawkbit.controller]\npollingTime = '00:01:00'", &[][..]),
        ("[hawkbit]\ncontroller.polling-time = '00:01:00'", &[]),
        ("'hawkbit.controller.pollingTime' = '00:01:00'", &[]),
        ("hawkbit.controller.pollingTime = 00:01:00", &[]),
        ("", &[("HAWKBIT_CONTROLLER_POLLINGTIME", "00:01:00")]),
        ("", &[("HAWKBIT_CONTROLLER_POLLING_TIME", "00:01:00")]),
    ] {
        assert_eq!(loaded(file, env, &[]).config.controller.polling_time, "00:01:00", "{file}");
    }
    for (file, env) in [
        ("kettle.trusted-proxies = ['10.0.0.0/8', '::1']", &[][..]),
        ("kettle.trustedProxies = '10.0.0.0/8, ::1'", &[]),
        ("", &[("KETTLE_TRUSTEDPROXIES", "10.0.0.0/8,::1")]),
        ("", &[("KETTLE_TRUSTED_PROXIES_0", "10.0.0.0/8"), ("KETTLE_TRUSTED_PROXIES_1", "::1")]),
    ] {
        let networks: Vec<_> =
            loaded(file, env, &[]).config.server.trusted_proxies.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.0.0.0/8", "::1/128"], "{file}");
    }
}

#[test]
fn elements_of_a_list_may_be_set_one_by_one() {
    let set = &[
        "kettle.trusted-proxies[0]=10.0.0.0/8",
        "kettle.trusted-proxies[1]=10.1.0.0/16",
        "kettle.trusted-proxies[1]=::1",
    ];
    let networks = loaded("", &[], set).config.server.trusted_proxies;
    assert_eq!(networks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "::1/128"]);
}

#[test]
fn users_come_from_file_and_environment() {
    let file = "[hawkbit.security.user.'Jane.Doe']\npassword = '{bcrypt}x'\nroles = ['A', 'B']\npermissions = 'READ_TARGET, UPDATE_TARGET'";
    let env = &[
        ("HAWKBIT_SECURITY_USER_OPS_PASSWORD", " s3 "),
        ("HAWKBIT_SECURITY_USER_OPS_ROLES_0", "A"),
        ("HAWKBIT_SECURITY_USER_OPS_ROLES_1", "B"),
        ("HAWKBIT_SECURITY_USER_OPS_TENANT", "T"),
    ];
    let user = |name: &str, password: &str, permissions: &[&str], tenant: Option<&str>| User {
        name: name.to_owned(),
        password: Secret::new(password),
        roles: vec!["A".to_owned(), "B".to_owned()],
        permissions: permissions.iter().map(|&permission| permission.to_owned()).collect(),
        tenant: tenant.map(str::to_owned),
    };
    let expected =
        [user("Jane.Doe", "{bcrypt}x", &["READ_TARGET", "UPDATE_TARGET"], None), user("ops", " s3 ", &[], Some("T"))];
    assert_eq!(loaded(file, env, &[]).config.users, expected);
    assert_eq!(
        problems("hawkbit.security.user.bob.tenant = 'T'", &[], &[]),
        ["the user bob has no password: set hawkbit.security.user.bob.password"]
    );
}

#[test]
fn the_stock_user_is_there_until_a_user_is_configured() {
    for (file, env, names, in_use) in [
        ("", &[][..], &["admin"][..], true),
        ("hawkbit.security.user.bob.password = 'x'", &[], &["bob"], false),
        ("", &[("HAWKBIT_SECURITY_USER_BOB_PASSWORD", "x")], &["bob"], false),
        ("", &[("HAWKBIT_SECURITY_USER_ADMIN_PASSWORD", "{noop}x")], &["admin"], false),
        ("", &[("HAWKBIT_SECURITY_USER_ADMIN_TENANT", "T")], &["admin"], true),
        ("hawkbit.security.user.admin.password = 'admin'", &[], &["admin"], true),
        (
            "hawkbit.security.user.admin.password = 'x'\nhawkbit.security.user.bob.password = 'x'",
            &[],
            &["admin", "bob"],
            false,
        ),
    ] {
        let config = loaded(file, env, &[]).config;
        assert_eq!(config.users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), names, "{file}{env:?}");
        assert_eq!(config.default_admin_in_use(), in_use, "{file}{env:?}");
    }
    let changed = loaded("", &[("HAWKBIT_SECURITY_USER_ADMIN_PASSWORD", "{noop}x")], &[]).config.users;
    assert_eq!(
        (changed[0].roles.as_slice(), changed[0].tenant.as_deref()),
        (&["TENANT_ADMIN".to_owned()][..], Some("DEFAULT"))
    );
}

#[test]
fn a_spring_datasource_becomes_a_postgres_url() {
    let env = &[
        ("SPRING_DATASOURCE_URL", "jdbc:postgresql://db:5432/hawkbit?sslmode=require&tcpKeepAlive=true"),
        ("SPRING_DATASOURCE_USERNAME", "me"),
        ("SPRING_DATASOURCE_PASSWORD", "pw"),
        ("SPRING_DATASOURCE_HIKARI_MAXIMUM_POOL_SIZE", "20"),
    ];
    let Loaded { config: Config { database, .. }, warnings, .. } = loaded("", env, &[]);
    assert_eq!((database.engine, database.max_connections), (Engine::Postgres, 20));
    assert_eq!(database.url, "postgres://db:5432/hawkbit?sslmode=require");
    assert_eq!(database.connection_url().expose(), "postgres://me:pw@db:5432/hawkbit?sslmode=require");
    assert_eq!(
        warnings,
        ["spring.datasource.url: the parameter tcpKeepAlive has no effect: the database driver has none like it"]
    );
    let args = Overrides { database: Some("postgres://you:word@other/k".to_owned()), ..Overrides::default() };
    let database = load(&args, variables(env), Path::new("/nonexistent")).unwrap().config.database;
    assert_eq!(database.connection_url().expose(), "postgres://you:word@other/k");
}

#[test]
fn all_problems_are_reported_together() {
    let file = "\
[server]
prot = 1
[hawkbit.server.security.dos]
maxArtifactSize = 'abc'
[hawkbit.controller]
pollingTime = '00:05:00'
polling-time = '00:05:00'
[kettle.log]
format = ['text']
requests = [{}]
[kettle.http]
header-timeout = 'soon'
";
    let env = &[
        ("SERVER_PORT", "tcp://10.0.0.1:80"),
        ("SPRING_DATASOURCE_URL", "jdbc:h2:mem:db;PASSWORD=geheim"),
        ("SERVER_ADDRESS", "localhost"),
    ];
    let set = &["kettle.trusted-proxies=everyone", "hawkbit.security.user.bob.pasword=geheim", "geheim"];
    assert_eq!(
        problems(file, env, set),
        [
            "hawkbit.security.user.bob.pasword (from --set) is not a known setting; did you mean hawkbit.security.user.bob.password?",
            "--set number 3: expected KEY=VALUE",
            "server.prot (from kettle.toml line 2) is not a known setting; did you mean server.port?",
            "hawkbit.controller.pollingTime is set twice: kettle.toml line 6 and kettle.toml line 7",
            "kettle.log.requests (from kettle.toml line 10): expected a value or a list of values",
            "spring.datasource.url = jdbc:h2:mem:db;PASSWORD=******** (from environment SPRING_DATASOURCE_URL): the engine h2 is not supported; PostgreSQL (`postgres://…`, `jdbc:postgresql://…`) and SQLite (`sqlite:PATH`) are",
            "server.address = localhost (from environment SERVER_ADDRESS): expected an IP address",
            "server.port = tcp://10.0.0.1:80 (from environment SERVER_PORT): expected a port, 0 to 65535",
            "kettle.trusted-proxies = everyone (from --set): expected IP addresses or networks such as 10.0.0.0/8",
            "kettle.http.header-timeout = soon (from kettle.toml line 12): expected a duration, such as 10s, 500ms or a number of milliseconds",
            "kettle.log.format = text (from kettle.toml line 9): expected one value, not a list",
            "hawkbit.server.security.dos.maxArtifactSize = abc (from kettle.toml line 4): expected a number of bytes, such as 1048576 or 1MiB",
        ]
    );
}

#[test]
fn a_broken_file_is_reported_by_line_without_its_text() {
    let problems = problems("server.port = 1\nspring.datasource.password = 'geheim\n", &[], &[]);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("kettle.toml line 2 is not valid TOML: "), "{problems:?}");
    assert!(!problems[0].contains("geheim"), "{problems:?}");
}

#[test]
fn settings_without_effect_and_unknown_variables_are_warnings() {
    let file = "[hawkbit.executor]\ncoreThreads = 4";
    let env = &[
        ("SPRING_JPA_SHOW_SQL", "true"),
        ("HAWKBIT_CONTROLLER_POLINGTIME", "geheim"),
        ("KETTLE_SERVICE_HOST", "10.0.0.1"),
        ("SERVER_NAME", "x"),
        ("SPRING_OTHER", "x"),
    ];
    let mut warnings = loaded(file, env, &[]).warnings;
    let of_file = warnings.pop().unwrap();
    assert_eq!(
        warnings,
        [
            "environment HAWKBIT_CONTROLLER_POLINGTIME is not a known setting; did you mean HAWKBIT_CONTROLLER_POLLINGTIME?",
            "environment KETTLE_SERVICE_HOST is not a known setting",
            "environment SPRING_JPA_SHOW_SQL has no effect: part of Spring's database layer",
        ]
    );
    assert!(of_file.starts_with("hawkbit.executor.coreThreads (from /"), "{of_file}");
    assert!(
        of_file.ends_with("kettle.toml line 2) has no effect: jobs run without thread pools of their own"),
        "{of_file}"
    );
}

#[test]
fn no_secret_is_ever_shown() {
    let file = "\
spring.datasource.url = 'postgres://me:geheim@db/k?sslpassword=geheim'
spring.datasource.password = 'geheim'
hawkbit.security.user.bob.password = 'geheim'
hawkbit.server.ddi.security.authentication.gatewaytoken.key = 'geheim'
";
    let loaded = loaded(file, &[], &[]);
    let shown = loaded.entries.iter().map(|entry| format!("{entry}\n")).collect::<String>();
    assert!(shown.contains("spring.datasource.url = postgres://********@db/k?sslpassword=******** (/"), "{shown}");
    assert!(shown.contains("hawkbit.security.user.bob.password = ******** (/"), "{shown}");
    let debug = format!("{loaded:?}");
    for text in [shown, debug] {
        assert!(!text.contains("geheim"), "{text}");
    }
}
