//! Request limits, failed logins, sessions and Redis.

use std::time::Duration;

use super::{
    super::settings::{Limits, Redis},
    loaded, problems,
};

#[test]
fn devices_have_the_limits_of_addresses_unless_they_have_their_own() {
    let limits = |file: &str| {
        let Limits { reads, writes, device_reads, device_writes, .. } = loaded(file, &[], &[]).config.limits;
        (reads, writes, device_reads, device_writes)
    };
    assert_eq!(limits(""), (200, 50, 200, 50));
    assert_eq!(limits("[hawkbit.server.security.dos.filter]\nmaxRead = 7"), (7, 50, 7, 50));
    assert_eq!(limits("[kettle.limits.device]\nmaxRead = 3\nmax-write = 0"), (200, 50, 3, 0));
    let variables = [("HAWKBIT_SERVER_SECURITY_DOS_FILTER_WHITELIST", ""), ("KETTLE_LIMITS_DENY", "10.0.0.0/8,::1")];
    let limits = loaded("", &variables, &[]).config.limits;
    assert_eq!((limits.whitelist.as_str(), limits.deny.len()), ("", 2));
}

#[test]
fn the_stock_list_of_addresses_is_the_peers() {
    let expected = concat!(
        r"10\.\d{1,3}\.\d{1,3}\.\d{1,3}|192\.168\.\d{1,3}\.\d{1,3}|169\.254\.\d{1,3}\.\d{1,3}|",
        r"127\.\d{1,3}\.\d{1,3}\.\d{1,3}|172\.1[6-9]{1}\.\d{1,3}\.\d{1,3}|172\.2[0-9]{1}\.\d{1,3}\.\d{1,3}|",
        r"172\.3[0-1]{1}\.\d{1,3}\.\d{1,3}"
    );
    assert_eq!(loaded("", &[], &[]).config.limits.whitelist, expected);
}

#[test]
fn a_session_time_without_a_unit_is_seconds() {
    for (timeout, seconds) in [
        ("", 1_800),
        ("[server.servlet.session]\ntimeout = 90", 90),
        ("[server.servlet.session]\ntimeout = \"2m\"", 120),
    ] {
        assert_eq!(loaded(timeout, &[], &[]).config.sessions.idle, Duration::from_secs(seconds));
    }
    let found = problems("[server.servlet.session]\ntimeout = 0", &[], &[]);
    assert!(found.len() == 1 && found[0].contains("above 0"), "{found:?}");
}

#[test]
fn redis_is_there_when_it_has_a_host_or_an_address() {
    let redis = |set: &[&str]| loaded("", &[], set).config.redis;
    assert!(redis(&[]).is_none());
    assert!(redis(&["spring.data.redis.port=7000"]).is_none());
    for (set, expected) in [
        (&["spring.data.redis.host=r.example"][..], "redis://r.example:6379/0"),
        (&["spring.data.redis.host=[::1]", "spring.data.redis.database=3"], "redis://[::1]:6379/3"),
        (
            &[
                "spring.data.redis.host=r",
                "spring.data.redis.username=u",
                "spring.data.redis.password=p/@:w",
                "spring.data.redis.ssl.enabled=true",
                "spring.data.redis.port=7000",
            ],
            "rediss://u:p%2F%40%3Aw@r:7000/0",
        ),
        (&["spring.data.redis.url=rediss://u:p@r:7000/1", "spring.data.redis.host=other"], "rediss://u:p@r:7000/1"),
    ] {
        let Redis { url, timeout, limits, logins, sessions, cache, .. } = redis(set).unwrap();
        assert_eq!(url.expose(), expected);
        assert_eq!((timeout, limits, logins, sessions, cache), (Duration::from_millis(250), true, true, true, false));
    }
    let some = redis(&["spring.data.redis.host=r", "kettle.redis.use=limits,cache"]).unwrap();
    assert_eq!((some.limits, some.logins, some.sessions, some.cache), (true, false, false, true));
}

#[test]
fn a_wrong_address_of_redis_is_told_without_its_password() {
    for set in [
        "spring.data.redis.url=http://u:geheim@r",
        "spring.data.redis.url=geheim",
        "spring.data.redis.host=r/geheim",
        "kettle.redis.use=everything",
    ] {
        let found = problems("", &[], &[set]);
        let shown = set.starts_with("spring.data.redis.host");
        assert!(found.len() == 1 && (shown || !found[0].contains("geheim")), "{set}: {found:?}");
    }
}
