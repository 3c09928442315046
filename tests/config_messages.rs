//! What a technician reads when a configuration is at fault: (subscriptions, lines), through the
//! library's front door. The examples in configs/ are read here too, so that they stay true.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use leek_agent::cli::{Command, Outcome, Recipe, StartError};
use leek_agent::config::environment::Env;
use leek_agent::config::{BatchLimits, Broker, Config, FailoverStrategy, Mode};
use leek_agent::document::{EventTypes, Part, Policy, Redact, Validation};
use serde_json::{Value, json};

const LIST: &str = "LEEK_AGENT_SUBSCRIPTIONS";

/// A subscription with all that is required, and `changes` on top; null takes a key away.
fn subscription(changes: Value) -> Value {
    let mut subscription = json!({
        "broker": "amqp://u:hunter2@h:5673/v",
        "org_name": "org",
        "app_name": "shop",
        "app_env": "qa",
        "app_key": "hunter2",
        "api_url": "https://leek.example.com/"
    });
    let keys = subscription.as_object_mut().expect("an object");
    for (key, value) in changes.as_object().expect("changes are an object") {
        if value.is_null() {
            keys.remove(key);
        } else {
            keys.insert(key.clone(), value.clone());
        }
    }
    subscription
}

fn start(args: &[&str], env: &[(&str, &str)]) -> Result<Outcome, StartError> {
    let args: Vec<OsString> = args.iter().map(Into::into).collect();
    Recipe::new(args, env.iter().copied().collect::<Env>()).read()
}

/// The configuration that a list in the environment comes to.
fn configured(list: &Value, env: &[(&str, &str)]) -> Result<Config, String> {
    let list = list.to_string();
    let mut env = env.to_vec();
    env.push((LIST, &list));
    match start(&[], &env) {
        Ok(Outcome::Run(invocation)) => match invocation.command {
            Command::Run(options) => Ok(options.config),
            other => panic!("{other:?}"),
        },
        Ok(other) => panic!("{other:?}"),
        Err(error) => {
            assert_eq!(error.exit(), leek_agent::exit::Exit::Config);
            Err(error.to_string())
        }
    }
}

/// Asserts the lines below the header that a list with this one subscription is answered with.
fn check(changes: Value, expected: &[&str]) {
    let list = json!([subscription(changes.clone())]);
    let message = configured(&list, &[]).expect_err(&changes.to_string());
    let mut lines = message.lines();
    let noun = if expected.len() == 1 {
        "fault"
    } else {
        "faults"
    };
    let header = format!("{LIST}: {} {noun}", expected.len());
    assert_eq!(lines.next(), Some(header.as_str()), "{message}");
    assert_eq!(lines.collect::<Vec<_>>(), expected, "{changes}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn every_range_is_named() {
    for (key, value, line) in [
        ("prefetch_count", json!(200), "200: expected 1000 to 10000"),
        ("prefetch_count", json!(999), "999: expected 1000 to 10000"),
        (
            "prefetch_count",
            json!(10_001),
            "10001: expected 1000 to 10000",
        ),
        (
            "prefetch_count",
            json!("abc"),
            "\"abc\": expected a number from 1000 to 10000",
        ),
        (
            "prefetch_count",
            json!(1000.5),
            "1000.5: expected a whole number from 1000 to 10000",
        ),
        ("concurrency_pool_size", json!(0), "0: expected 1 to 20"),
        ("concurrency_pool_size", json!(21), "21: expected 1 to 20"),
        (
            "batch_max_size_in_mb",
            json!(0),
            "0: expected over 0, up to 10",
        ),
        (
            "batch_max_size_in_mb",
            json!(10.5),
            "10.5: expected over 0, up to 10",
        ),
        (
            "batch_max_size_in_mb",
            json!([1]),
            "a list: expected a number over 0, up to 10",
        ),
        (
            "batch_max_window_in_seconds",
            json!(0),
            "0: expected over 0, up to 20",
        ),
        (
            "batch_max_window_in_seconds",
            json!(20.1),
            "20.1: expected over 0, up to 20",
        ),
        (
            "batch_max_number_of_messages",
            json!(0),
            "0: expected 1 to 1000 (prefetch_count)",
        ),
        (
            "batch_max_number_of_messages",
            json!(1001),
            "1001: expected 1 to 1000 (prefetch_count)",
        ),
        ("buffer_max_size_in_mb", json!(0), "0: expected 1 to 256"),
        (
            "buffer_max_size_in_mb",
            json!(257),
            "257: expected 1 to 256",
        ),
        (
            "failover_strategy",
            json!("random"),
            "\"random\": expected round-robin or shuffle",
        ),
        (
            "validation",
            json!("lax"),
            "\"lax\": expected tolerant or strict",
        ),
        (
            "app_name",
            json!("Shop"),
            "\"Shop\": expected lower-case letters only",
        ),
        (
            "app_env",
            json!("qa-1"),
            "\"qa-1\": expected lower-case letters only",
        ),
        ("app_env", json!(5), "5: expected lower-case letters only"),
        (
            "exchange",
            json!(""),
            "\"\": expected 1 to 255 bytes without control characters",
        ),
        (
            "queue",
            json!("a\nb"),
            "\"a\\nb\": expected 1 to 255 bytes without control characters",
        ),
        (
            "routing_key",
            json!({}),
            "an object: expected 1 to 255 bytes without control characters",
        ),
    ] {
        check(
            json!({ key: value }),
            &[&format!("subscriptions[0].{key}: {line}")],
        );
    }
}

#[test]
fn the_borders_are_within() {
    let list = json!([subscription(json!({
        "prefetch_count": 10_000, "concurrency_pool_size": 20, "batch_max_size_in_mb": 10,
        "batch_max_number_of_messages": 10_000, "batch_max_window_in_seconds": 20,
        "buffer_max_size_in_mb": 256, "failover_strategy": "shuffle", "validation": "strict",
        "backend": null, "broker_management_url": "http://ignored",
    }))]);
    let config = configured(&list, &[]).expect("valid");
    let subscription = &config.subscriptions[0];
    assert_eq!(subscription.prefetch_count, 10_000);
    assert_eq!(subscription.batch.max_bytes, 10 * 1_048_576);
    assert_eq!(subscription.buffer_bytes, 256 * 1_048_576);
    assert_eq!(subscription.failover, FailoverStrategy::Shuffle);
    assert_eq!(subscription.validation, Validation::Strict);
}

#[test]
fn defaults_are_leeks() {
    let config =
        configured(&json!([subscription(json!({"prefetch_count": 2000}))]), &[]).expect("valid");
    assert_eq!(
        (config.mode, config.shutdown_timeout),
        (Mode::Standalone, Duration::from_secs(10))
    );
    let subscription = &config.subscriptions[0];
    assert_eq!(subscription.name, "shop-qa");
    assert_eq!(subscription.exchange, "celeryev");
    assert_eq!(subscription.queue, "leek.fanout");
    assert_eq!(subscription.routing_key, "#");
    assert_eq!(subscription.api_url, "https://leek.example.com");
    assert_eq!(subscription.app_key.expose(), "hunter2");
    assert_eq!(subscription.concurrency_pool_size, 1);
    assert_eq!(subscription.buffer_bytes, 16 * 1_048_576);
    assert_eq!(subscription.failover, FailoverStrategy::RoundRobin);
    assert_eq!(subscription.validation, Validation::Tolerant);
    let batch = BatchLimits {
        max_bytes: 1_048_576,
        max_messages: 2000,
        window: Duration::from_secs(5),
    };
    assert_eq!(subscription.batch, batch);
    let Broker::Amqp(broker) = &subscription.brokers[0] else {
        panic!("{:?}", subscription.brokers);
    };
    assert_eq!(
        (broker.host.as_str(), broker.port, broker.vhost.as_str()),
        ("h", 5673, "v")
    );
}

#[test]
fn all_that_is_missing_is_named_at_once() {
    let message = configured(&json!([{}]), &[]).expect_err("nothing is there");
    let expected = "LEEK_AGENT_SUBSCRIPTIONS: 6 faults\n\
        subscriptions[0].broker: missing: expected a broker's URL\n\
        subscriptions[0].org_name: missing: expected the organisation's name\n\
        subscriptions[0].app_name: missing: expected lower-case letters only\n\
        subscriptions[0].app_env: missing: expected lower-case letters only\n\
        subscriptions[0].app_key: missing: expected app_key or app_key_file here, or --app-key for all subscriptions\n\
        subscriptions[0].api_url: missing: expected an http or https URL here, or --api-url for all subscriptions";
    assert_eq!(message, expected);
}

#[test]
fn faults_of_several_subscriptions_come_in_order() {
    let list = json!([
        subscription(json!({"prefetch_count": 1})),
        "amqp://u:hunter2@h",
        subscription(json!({"app_env": "prod"})),
        subscription(
            json!({"app_env": "prod", "prefetch_count": 5, "batch_max_number_of_messages": 5000})
        ),
    ]);
    let message = configured(&list, &[]).expect_err("faults");
    let expected = "LEEK_AGENT_SUBSCRIPTIONS: 4 faults\n\
        subscriptions[0].prefetch_count: 1: expected 1000 to 10000\n\
        subscriptions[1]: a string: expected an object\n\
        subscriptions[3].prefetch_count: 5: expected 1000 to 10000\n\
        subscriptions[3].app_name: \"shop-prod\": expected a name of its own, \
        subscriptions[2] has the same app_name and app_env";
    assert_eq!(message, expected);
}

#[test]
fn unknown_keys_name_the_nearest() {
    check(
        json!({"prefetch_cuont": 5, "redcat": []}),
        &[
            "subscriptions[0].prefetch_cuont: unknown key: did you mean prefetch_count?",
            "subscriptions[0].redcat: unknown key: did you mean redact?",
        ],
    );
}

#[test]
fn a_spool_is_read_and_its_faults_are_named() {
    let redis = |changes: Value| {
        let mut subscription = subscription(changes);
        subscription["broker"] = json!("redis://:hunter2@h");
        subscription
    };
    let spool = |subscription: &Value| {
        let config = configured(&json!([subscription]), &[])?;
        Ok::<_, String>(config.subscriptions[0].spool.clone())
    };
    assert_eq!(spool(&redis(json!({}))), Ok(None));
    assert_eq!(spool(&redis(json!({"spool": null}))), Ok(None));
    let found = spool(&redis(json!({"spool": {"dir": "/var/s", "max_mb": 100}})));
    let found = found.expect("valid").expect("given");
    assert_eq!(found.dir, Path::new("/var/s"));
    assert_eq!(found.max_bytes, 100 * 1_048_576);
    let found = spool(&redis(json!({"spool": {"dir": "s"}})));
    assert_eq!(
        found.expect("valid").expect("given").max_bytes,
        64 * 1_048_576
    );

    for (value, expected) in [
        (json!({}), ".dir: missing: expected a folder's name"),
        (json!({"dir": ""}), ".dir: \"\": expected a folder's name"),
        (json!({"dir": 7}), ".dir: 7: expected a folder's name"),
        (json!("/var/s"), ": \"/var/s\": expected an object"),
        (
            json!({"dir": "s", "max_mb": 1}),
            ".max_mb: 1: expected 2 to 1000000",
        ),
        (
            json!({"dir": "s", "maxmb": 100}),
            ".maxmb: unknown key: did you mean max_mb?",
        ),
    ] {
        let message = spool(&redis(json!({ "spool": value }))).expect_err("a fault");
        assert!(
            message.ends_with(&format!("[0].spool{expected}")),
            "{message}"
        );
    }
    let large = json!({"spool": {"dir": "s", "max_mb": 4}, "batch_max_size_in_mb": 2.5});
    let message = spool(&redis(large)).expect_err("a fault");
    let expected = "max_mb: 4: expected at least 5 (2 times batch_max_size_in_mb)";
    assert!(message.ends_with(expected), "{message}");
    check(
        json!({"spool": {"dir": "s"}}),
        &[
            "subscriptions[0].spool: an object: expected only beside a Redis broker: RabbitMQ keeps what is not delivered",
        ],
    );
}

#[test]
fn what_may_leave_is_read() {
    let list = json!([subscription(json!({
        "include": ["shop.*", "pay.[a-c]?"], "exclude": [], "keep_events": ["task-failed"],
        "redact": ["args", "kwargs.user.password", "exception"],
    }))]);
    let config = configured(&list, &[]).expect("valid");
    let policy = &config.subscriptions[0].policy;
    assert_eq!((policy.include.len(), policy.exclude.len()), (2, 0));
    assert_eq!(Some(policy.keep_events), EventTypes::only("task-failed"));
    let mut redact = Redact::default();
    redact.add_part(Part::Args);
    redact.add_part(Part::Exception);
    redact.add_key("user.password");
    assert_eq!(policy.redact, redact);
    let config = configured(&json!([subscription(json!({}))]), &[]).expect("valid");
    assert_eq!(config.subscriptions[0].policy, Policy::default());
}

#[test]
fn what_may_leave_must_be_clear() {
    check(
        json!({
            "include": ["shop.*", "", "a[b"], "exclude": ["[z-a]", 5],
            "keep_events": ["task-recieved", "task-sent"],
            "redact": ["kwarg", "argz.user", "kwarsg.user", "kwargs.", "kwargs.a..b", "args.0", {}],
        }),
        &[
            "subscriptions[0].include[1]: \"\": expected a pattern such as shop.orders.*",
            "subscriptions[0].include[2]: \"a[b\": expected a ] after the [, or [[] for a bracket itself",
            "subscriptions[0].exclude[0]: \"[z-a]\": expected the lower end of a range such as [a-z] first",
            "subscriptions[0].exclude[1]: 5: expected a string",
            "subscriptions[0].keep_events[0]: \"task-recieved\": unknown event type: did you mean task-received?",
            "subscriptions[0].redact[0]: \"kwarg\": unknown field: did you mean kwargs?",
            "subscriptions[0].redact[1]: \"argz.user\": unknown field: did you mean args?",
            "subscriptions[0].redact[2]: \"kwarsg.user\": unknown field: did you mean kwargs.user?",
            "subscriptions[0].redact[3]: \"kwargs.\": expected kwargs.NAME, or kwargs for all of them",
            "subscriptions[0].redact[4]: \"kwargs.a..b\": expected kwargs.NAME, or kwargs for all of them",
            "subscriptions[0].redact[5]: \"args.0\": expected args as a whole: only kwargs has names",
            "subscriptions[0].redact[6]: an object: expected a string",
        ],
    );
    check(
        json!({"include": [], "exclude": "shop.*", "keep_events": [], "redact": {}}),
        &[
            "subscriptions[0].include: an empty list: expected at least one pattern; without the key all may leave",
            "subscriptions[0].exclude: \"shop.*\": expected a list of patterns over task names",
            "subscriptions[0].keep_events: an empty list: expected at least one event type; without the key all may leave",
            "subscriptions[0].redact: an object: expected a list of fields such as args or kwargs.NAME",
        ],
    );
}

#[test]
fn brokers_are_refused_without_their_passwords() {
    for (broker, line) in [
        (
            "amqps://u:hunter2@h?auth_mechanism=gssapi",
            "amqps://u:********@h: expected auth_mechanism=plain or auth_mechanism=external",
        ),
        (
            "redis://:hunter2@h/x",
            "redis://:********@h/x: expected a database's number behind the host",
        ),
        (
            "redis://:hunter2@h;amqp://:hunter2@h",
            "amqp://:********@h: expected brokers of one kind: amqp, redis or sentinel",
        ),
        (
            "rediss://:hunter2@h/x",
            "rediss://:********@h/x: expected a database's number behind the host",
        ),
        (
            "redis+socket://:hunter2@run/r?virtual_host=1",
            "redis+socket://:********@run/r: expected redis+socket:///PATH?virtual_host=DB with the socket's absolute path",
        ),
        (
            "hunter2",
            "(hidden): expected amqp://USER:PASSWORD@HOST:PORT/VHOST or redis://USER:PASSWORD@HOST:PORT/DB",
        ),
        (
            "kafka://u:hunter2@h",
            "kafka://u:********@h: expected amqp://USER:PASSWORD@HOST:PORT/VHOST or redis://USER:PASSWORD@HOST:PORT/DB",
        ),
        (
            "",
            "empty: expected amqp://USER:PASSWORD@HOST:PORT/VHOST or redis://USER:PASSWORD@HOST:PORT/DB",
        ),
    ] {
        check(
            json!({ "broker": broker }),
            &[&format!("subscriptions[0].broker: {line}")],
        );
    }
    check(
        json!({"broker": ["hunter2"]}),
        &["subscriptions[0].broker: a list: expected a broker's URL"],
    );
    check(
        json!({"broker": "rediss://a/x;amqp://u:hunter2@h:x"}),
        &[
            "subscriptions[0].broker: rediss://a/x: expected a database's number behind the host",
            "subscriptions[0].broker: amqp://u:********@h:x: expected a port from 1 to 65535 after the host; \
             in a password \"@\" is written %40 and \"/\" is written %2F",
        ],
    );
}

#[test]
fn every_fault_of_tls_is_named_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name).display().to_string();
        fs::write(&path, text).expect("written");
        path
    };
    let empty = file("empty.pem", "");
    let folder_name = folder.path().display().to_string();
    let broker = "amqps://u:hunter2@h";
    check(
        json!({
            "broker": broker,
            "tls": {"ca_file": "/no/such", "cert_file": "/no/cert", "key_file": "/no/key"},
            "api_tls": {"ca_file": "/no/ca"},
        }),
        &[
            "subscriptions[0].tls.ca_file: \"/no/such\": expected a file that can be read: no such file or directory",
            "subscriptions[0].tls.cert_file: \"/no/cert\": expected a file that can be read: no such file or directory",
            "subscriptions[0].tls.key_file: \"/no/key\": expected a file that can be read: no such file or directory",
            "subscriptions[0].api_tls.ca_file: \"/no/ca\": expected a file that can be read: no such file or directory",
        ],
    );
    let shown = |path: &str| format!("{path:?}");
    check(
        json!({
            "broker": broker,
            "tls": {"ca_file": empty, "key_file": folder_name, "cret_file": "x", "cert_file": 7},
        }),
        &[
            "subscriptions[0].tls.cret_file: unknown key: did you mean cert_file?",
            "subscriptions[0].tls.cert_file: 7: expected a file's name",
        ],
    );
    check(
        json!({"broker": broker, "tls": {"ca_file": empty, "key_file": folder_name}}),
        &[
            &format!(
                "subscriptions[0].tls.ca_file: {}: expected a certificate in PEM \
                 (-----BEGIN CERTIFICATE-----), there is none",
                shown(&empty)
            ),
            "subscriptions[0].tls.cert_file: missing: expected the certificate that key_file belongs to",
        ],
    );
    check(
        json!({"tls": {}, "api_tls": "ca.pem"}),
        &[
            "subscriptions[0].tls: an object: expected a broker that begins with amqps:// or rediss://: others are not encrypted",
            "subscriptions[0].api_tls: a string: expected an object with ca_file, cert_file and key_file",
        ],
    );
    check(
        json!({"api_url": "http://h", "api_tls": {"ca_file": "x"}}),
        &[
            "subscriptions[0].api_tls: an object: expected an api_url that begins with https://, since http:// is not encrypted",
        ],
    );
    check(
        json!({"broker": "amqps://h?auth_mechanism=external"}),
        &[
            "subscriptions[0].broker: auth_mechanism=external: expected amqps:// and tls.cert_file with it",
        ],
    );
}

#[test]
fn what_the_environment_says_of_tls_and_proxies_is_checked() {
    let list = json!([subscription(json!({}))]);
    let message = configured(
        &list,
        &[
            ("SSL_CERT_FILE", "/no/such"),
            ("https_proxy", "socks5://u:hunter2@h:1080"),
        ],
    );
    assert_eq!(
        message.expect_err("two faults"),
        "LEEK_AGENT_SUBSCRIPTIONS: 2 faults\n\
         subscriptions[0].api_tls: SSL_CERT_FILE: \"/no/such\": expected a file that can be read: no such file or directory\n\
         subscriptions[0].api_url: https_proxy: \"socks5://\": expected http://USER:PASSWORD@HOST:PORT, user and password may be missing"
    );
    let env = [
        ("HTTPS_PROXY", "http://u:hunter2@proxy:3128"),
        ("NO_PROXY", "example.org"),
    ];
    let config = configured(&list, &env).expect("valid");
    let proxy = config.subscriptions[0].proxy.as_ref().expect("a proxy");
    assert_eq!(proxy.to_string(), "http://proxy:3128");
    assert!(!format!("{config:?}").contains("hunter2"));
    let env = [env[0], ("NO_PROXY", "example.com")];
    let config = configured(&list, &env).expect("valid");
    assert_eq!(config.subscriptions[0].proxy, None);
}

#[test]
fn what_becomes_a_header_must_fit_one() {
    let header =
        "expected printable ASCII without blanks around it, since it is sent as an HTTP header";
    check(
        json!({"org_name": "a\r\nb"}),
        &[&format!(
            "subscriptions[0].org_name: \"a\\r\\nb\": {header}"
        )],
    );
    check(
        json!({"app_key": "hunter2\n"}),
        &[&format!("subscriptions[0].app_key: (hidden): {header}")],
    );
    check(
        json!({"app_key": 4711}),
        &[&format!("subscriptions[0].app_key: a number: {header}")],
    );
    check(
        json!({"app_key": ""}),
        &[&format!("subscriptions[0].app_key: empty: {header}")],
    );
}

#[test]
fn one_key_is_enough() {
    check(
        json!({"app_key_file": "/no/such"}),
        &["subscriptions[0].app_key_file: app_key is given too: expected one of them"],
    );
    check(
        json!({"app_key": null, "app_key_file": "/no/such"}),
        &[
            "subscriptions[0].app_key_file: \"/no/such\": expected a file that can be read: no such file or directory",
        ],
    );
}

#[test]
fn api_addresses_are_checked() {
    check(
        json!({"api_url": "https://u:hunter2@h"}),
        &[
            "subscriptions[0].api_url: https://u:********@h: expected no user or password: \
           the application key is the credential",
        ],
    );
    check(
        json!({"api_url": "leek.example.com"}),
        &[
            "subscriptions[0].api_url: (hidden): expected http://HOST:PORT or https://HOST:PORT, a path may follow",
        ],
    );
}

#[test]
fn the_list_itself_may_be_wrong() {
    for (text, expected) in [
        (
            "[{]",
            "LEEK_AGENT_SUBSCRIPTIONS:1:3: not JSON: key must be a string",
        ),
        (
            "{}",
            "LEEK_AGENT_SUBSCRIPTIONS: an object: expected a JSON list of subscriptions",
        ),
        (
            "[]",
            "LEEK_AGENT_SUBSCRIPTIONS: an empty list: expected at least one subscription",
        ),
    ] {
        let error = start(&[], &[(LIST, text)]).expect_err(text);
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_local_agent_takes_leeks_key_and_address() {
    let list = json!([subscription(json!({"app_key": 5, "api_url": "nonsense"}))]);
    let local = [("LEEK_ENABLE_API", "true"), ("LEEK_ENABLE_AGENT", "true")];
    let with_secret = [local.as_slice(), &[("LEEK_AGENT_API_SECRET", "between-us")]].concat();
    let config = configured(&list, &with_secret).expect("valid");
    assert_eq!(config.mode, Mode::Local);
    assert_eq!(config.subscriptions[0].app_key.expose(), "between-us");
    assert_eq!(config.subscriptions[0].api_url, "http://0.0.0.0:5000");

    let message = configured(&list, &local).expect_err("no secret");
    assert!(
        message.starts_with("LEEK_AGENT_API_SECRET: missing: expected"),
        "{message}"
    );
    assert_eq!(
        message.lines().count(),
        1,
        "once, not for each subscription: {message}"
    );
}

#[test]
fn without_authentication_there_is_one_organisation() {
    let list = json!([subscription(json!({"org_name": null}))]);
    let config = configured(&list, &[("LEEK_API_ENABLE_AUTH", "false")]).expect("valid");
    assert_eq!(config.subscriptions[0].org_name, "mono");
}

#[test]
fn debug_output_shows_no_secret() {
    let config = configured(&json!([subscription(json!({}))]), &[]).expect("valid");
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_examples_are_true() {
    let folder = tempfile::tempdir().expect("a folder");
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let key = folder.path().join("key");
    fs::write(&key, "k\n").expect("written");
    let place = |name: &str, folders: &[(&str, &Path)]| {
        let mut text = fs::read_to_string(configs.join(name)).expect(name);
        for (from, to) in folders {
            text = text.replace(from, to.to_str().expect("UTF-8"));
        }
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path
    };
    let keys: [(&str, &Path); 3] = [
        ("/etc/leek-agent/packing.key", &key),
        ("/etc/leek-agent/robots.key", &key),
        ("/etc/leek-agent/welding.key", &key),
    ];
    let list = place("subscriptions.example.json", &keys);
    let options: [(&str, &Path); 2] = [
        ("/etc/leek-agent/subscriptions.json", &list),
        ("/etc/leek-agent/app.key", &key),
    ];
    let haproxy = place("leek-agent.haproxy.example.json", &options);
    let config = place("leek-agent.example.json", &options);
    let outcome = start(&["check", "--config", config.to_str().expect("UTF-8")], &[]);
    let Ok(Outcome::Run(invocation)) = outcome else {
        panic!("{outcome:?}");
    };
    let Command::Check(options) = invocation.command else {
        panic!("{:?}", invocation.command);
    };
    let names: Vec<&str> = options
        .config
        .subscriptions
        .iter()
        .map(|s| s.name.as_str())
        .collect();
    assert_eq!(names, ["packing-prod", "robots-staging", "welding-prod"]);
    assert_eq!(options.config.subscriptions[1].brokers.len(), 2);
    let key = ("LEEK_AGENT_APP_KEY", "k");
    let url = ("LEEK_AGENT_API_URL", "https://leek");
    let words = ["check", "--config", haproxy.to_str().expect("UTF-8")];
    let outcome = start(&words, &[key, url]);
    let Ok(Outcome::Run(invocation)) = outcome else {
        panic!("{outcome:?}");
    };
    let Command::Check(options) = invocation.command else {
        panic!("{:?}", invocation.command);
    };
    let plugins = options.config.agent_check[0].plugins.iter();
    let names: Vec<&str> = plugins.map(|plugin| plugin.name.as_str()).collect();
    assert_eq!(names, ["queue", "agent"]);
}
