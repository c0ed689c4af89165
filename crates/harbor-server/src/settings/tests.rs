use harbor_model::policy::order::{OnDead, Ordering};

use super::*;
use crate::settings::load::{Loaded, Origin, Sources, load};
use crate::settings::table::{Key, keys};

/// A file of this text.
fn file(text: &str) -> Sources {
    Sources { file: Some(("h.toml".into(), text.to_owned())), ..Sources::default() }
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn key(name: &str) -> &'static Key {
    keys().iter().find(|key| key.name == name).unwrap()
}

fn origin(loaded: &Loaded, name: &str) -> String {
    loaded.origin(key(name)).to_string()
}

fn mistakes(sources: &Sources) -> Vec<String> {
    load(sources).map_or_else(|mistakes| mistakes.iter().map(ToString::to_string).collect(), |_| Vec::new())
}

#[test]
fn the_defaults_keep_every_rule() {
    assert_eq!(mistakes(&Sources::default()), [""; 0]);
    assert_eq!(mistakes(&file("")), [""; 0]);
}

#[test]
fn the_default_of_every_setting_is_one_that_could_be_set() {
    let defaults = Settings::default();
    for key in keys() {
        let shown = key.show(&defaults);
        if shown.is_empty() {
            continue;
        }
        let mut settings = Settings::default();
        assert_eq!(key.read_text(&mut settings, &shown), Ok(()), "{}", key.name);
        assert_eq!(key.show(&settings), shown, "{}", key.name);
    }
}

#[test]
fn names_are_used_once() {
    let mut names: Vec<String> = keys().iter().map(|key| key.name.to_owned()).collect();
    names.extend(keys().iter().map(Key::env));
    names.extend(keys().iter().filter_map(|key| key.env_short.map(str::to_owned)));
    names.extend(keys().iter().filter_map(|key| key.flag.map(str::to_owned)));
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn the_stronger_source_wins() {
    let mut sources =
        file("[server]\nlisten = \"127.0.0.1:1\"\nops_listen = \"127.0.0.1:1\"\n\n[log]\nlevel = \"warn\"\n");
    sources.dev = vec![("security.allow_http", "true"), ("log.level", "trace")];
    sources.env =
        env(&[("HARBORHOOK_LISTEN", "127.0.0.1:2"), ("HARBORHOOK_SERVER_OPS_LISTEN", "127.0.0.1:2")]);
    sources.flags = vec![("listen", "127.0.0.1:3".to_owned())];

    let loaded = load(&sources).unwrap();

    assert_eq!(loaded.settings.server.listen.port(), 3);
    assert_eq!(loaded.settings.server.ops_listen.port(), 2);
    assert_eq!(loaded.settings.log.level.to_string(), "warn");
    assert!(loaded.settings.security.allow_http);
    assert_eq!(origin(&loaded, "server.listen"), "--listen");
    assert_eq!(origin(&loaded, "server.ops_listen"), "env HARBORHOOK_SERVER_OPS_LISTEN");
    assert_eq!(origin(&loaded, "log.level"), "h.toml:6");
    assert_eq!(origin(&loaded, "security.allow_http"), "--dev");
    assert_eq!(*loaded.origin(key("server.data_dir")), Origin::Default);
}

#[test]
fn every_mistake_is_shown_at_once_with_its_place() {
    let mut sources = file(
        "listen = \"127.0.0.1:8080\"\n\
         [server]\n\
         lisen = \"127.0.0.1:8080\"\n\
         ops_listen = 9464\n\
         shutdown_grace = \"1ms\"\n\
         [serve]\n\
         [worker]\n\
         slots_max = 0\n\
         retry.max_attempts = 5\n\
         [policy.retry]\n\
         jitter = 1.5\n\
         schedule = [\"1s\", \"soon\"]\n\
         [log]\n\
         level = \"loud\"\n",
    );
    sources.env = env(&[
        ("HARBORHOOK_DATA_DIR", ""),
        ("HARBORHOOK_PUBLIC_URL", "ftp://x"),
        ("HARBORHOOK_LISTEN", "127.0.0.1:1"),
        ("HARBORHOOK_SERVER_LISTEN", "127.0.0.1:2"),
    ]);
    sources.flags = vec![("log-format", "xml".to_owned())];

    assert_eq!(
        mistakes(&sources),
        [
            "h.toml:1: listen is no setting; did you mean server.listen?",
            "h.toml:3: server.lisen is no setting; did you mean server.listen?",
            "h.toml:4: server.ops_listen must be an address with a port, like 127.0.0.1:8080 or [::1]:8080, \
             not an integer",
            "h.toml:5: server.shutdown_grace must be at least 1s",
            "h.toml:6: serve is no setting; did you mean server?",
            "h.toml:8: worker.slots_max must be at least 1",
            "h.toml:9: worker.retry is no setting; did you mean policy.retry?",
            "h.toml:11: policy.retry.jitter must be at most 1",
            "h.toml:12: policy.retry.schedule each must be a duration like 250ms, 30s, 5m, 2h or 30d",
            "h.toml:14: log.level must be error, warn, info, debug, trace or off, or such levels by module: \
             info,harbor_deliver=debug",
            "HARBORHOOK_LISTEN: sets the same as HARBORHOOK_SERVER_LISTEN: give one of them",
            "HARBORHOOK_PUBLIC_URL: must be a URL like https://hooks.example.com",
            "--log-format: must be json or text",
        ]
    );
}

#[test]
fn a_file_that_is_no_toml_says_where() {
    let found = mistakes(&file("[server]\nlisten = \n"));
    assert!(found[0].starts_with("h.toml:2: "), "{found:?}");
    let found = mistakes(&file("[server]\nlisten = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"\n"));
    assert!(found[0].starts_with("h.toml:3: "), "{found:?}");
    assert_eq!(mistakes(&file("server = 5")), ["h.toml:1: server must be a table"]);
}

#[test]
fn rules_that_values_break_together_are_found() {
    let found = mistakes(&file(
        "[policy.rate_limit]\nburst = 5\n[security]\noperator_key = \"x\"\noperator_key_file = \"y\"\n",
    ));
    assert_eq!(
        found,
        [
            "h.toml:5: security.operator_key_file is given beside the operator key: give one of them",
            "h.toml:2: policy.rate_limit.burst needs policy.rate_limit.per_second",
        ]
    );
}

#[test]
fn a_foreign_variable_is_worth_a_warning() {
    let sources = Sources {
        env: env(&[("HARBORHOOK_PORT", "tcp://10.0.0.1:80"), ("HARBORHOOK_LISTN", "127.0.0.1:1")]),
        ..Sources::default()
    };
    let warnings = load(&sources).unwrap().warnings;
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "HARBORHOOK_LISTN: is no setting; did you mean HARBORHOOK_LISTEN?",
            "HARBORHOOK_PORT: is no setting",
        ]
    );
}

#[test]
fn a_policy_is_written_as_the_api_takes_it() {
    let loaded = load(&file(
        "[policy]\n\
         timeout_ms = 5000\n\
         max_in_flight = 4\n\
         ordering = \"key\"\n\
         on_dead = \"hold\"\n\
         rate_limit = { per_second = 10 }\n\
         signing.schemes = [\"standard\"]\n\
         retry = { strategy = \"exponential\", base = \"2s\", factor = 3, max_attempts = 8, client_errors = \"all\" }\n\
         circuit_breaker = { enabled = false, consecutive_failures = 3, p95_ms = 800, cooldown = \"5s\", cooldown_max = \"1m\", probes = 2 }\n",
    ))
    .unwrap();

    let layer = loaded.settings.instance_policy().unwrap().delivery;

    assert_eq!(layer.timeout, Some(Duration::from_secs(5)));
    assert_eq!(layer.max_in_flight, Some(4));
    assert_eq!((layer.ordering, layer.on_dead), (Some(Ordering::Key), Some(OnDead::Hold)));
    assert_eq!(layer.rate_limit.map(|limit| (limit.per_second, limit.burst)), Some((10, 10)));
    assert_eq!(layer.signing.map(|signing| (signing.standard, signing.harborhook)), Some((true, false)));
    assert_eq!(layer.retry.max_attempts, Some(8));
    let backoff =
        harbor_model::policy::retry::Backoff::Exponential { base: Duration::from_secs(2), factor: 3.0 };
    assert_eq!(layer.retry.backoff, Some(backoff));
    assert_eq!(layer.retry.client_errors, Some(harbor_model::policy::retry::ClientErrors::All));
    let breaker = harbor_model::policy::breaker::BreakerLayer {
        is_enabled: Some(false),
        consecutive_failures: Some(3),
        p95: Some(Duration::from_millis(800)),
        cooldown: Some(Duration::from_secs(5)),
        cooldown_max: Some(Duration::from_secs(60)),
        probes: Some(2),
    };
    assert_eq!(layer.breaker, breaker);
}

#[test]
fn a_policy_keeps_the_rules_of_the_api() {
    let found = mistakes(&file("[policy.retry]\nbase = \"2s\"\nclient_errors = 101\n"));
    assert_eq!(
        found,
        [
            "h.toml:2: policy.retry.base needs policy.retry.strategy",
            "h.toml:3: policy.retry.client_errors must be 0 to 100",
        ]
    );
    let found = mistakes(&file("[policy.circuit_breaker]\nprobes = 0\ncooldown = \"1ms\"\n"));
    assert_eq!(
        found,
        [
            "h.toml:2: policy.circuit_breaker.probes must be at least 1",
            "h.toml:3: policy.circuit_breaker.cooldown must be at least 1s",
        ]
    );
}

#[test]
fn quota_and_retention_are_part_of_what_tenants_inherit() {
    let loaded = load(&file(
        "[quota]\nper_second = 50\nper_day = 1000000\n\
         [retention]\nhistory = \"7d\"\ndead_letters = \"730d\"\nbatch_rows = 50\npause = \"5ms\"\n",
    ))
    .unwrap();

    let policy = loaded.settings.instance_policy().unwrap();

    assert_eq!(policy.quota.rate.map(|rate| (rate.per_second, rate.burst)), Some((50, 50)));
    assert_eq!(policy.quota.per_day, Some(1_000_000));
    let day = Duration::from_secs(24 * 60 * 60);
    assert_eq!(policy.retention.history, Some(7 * day));
    assert_eq!(policy.retention.dead_letters, Some(730 * day));
    assert_eq!(loaded.settings.upkeep.sweep_rows_max, 50);
    assert_eq!(loaded.settings.upkeep.sweep_pause, Duration::from_millis(5));

    let found = mistakes(&file(
        "[quota]\nburst = 5\n\
         [retention]\nhistory = \"30s\"\ndead_letters = \"4000d\"\n\
         [jobs]\nlook_interval = \"2m\"\n\
         [leadership]\nfence_after = \"5s\"\n",
    ));
    assert_eq!(
        found,
        [
            "h.toml:4: retention.history must be at least 1m",
            "h.toml:5: retention.dead_letters must be at most 3650d",
            "leadership: confirm_interval must be more than zero and less than fence_after",
            "jobs: look_interval must be at most look_interval_max",
            "h.toml:2: quota.burst needs quota.per_second",
        ]
    );
}

#[test]
fn jobs_keep_the_limits_of_replays() {
    let loaded = load(&file("[replay]\nreason_chars_max = 7\n[jobs]\nids_max = 5\n")).unwrap();
    let limits = loaded.settings.job_limits();
    assert_eq!((limits.reason_chars_max, limits.ids_max), (7, 5));
}

#[test]
fn a_secret_is_never_shown() {
    let key_text = format!("hhk_{}", "s3cret".repeat(8));
    let sources = Sources { env: env(&[("HARBORHOOK_OPERATOR_KEY", &key_text)]), ..Sources::default() };
    let loaded = load(&sources).unwrap();
    let (text, json) = (print::as_text(&loaded), print::as_json(&loaded).to_string());
    for shown in [text, json, format!("{loaded:?}")] {
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("security.operator_key"), "{shown}");
    }
}
