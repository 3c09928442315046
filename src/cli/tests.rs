//! Command lines, environments and files, and what they come to.

use std::path::Path;

use super::*;
use crate::document::Validation;

const LIST: (&str, &str) = (
    "LEEK_AGENT_SUBSCRIPTIONS",
    r#"[{"broker": "amqp://h", "org_name": "o", "app_name": "a", "app_env": "b", "api_url": "http://h"}]"#,
);

fn line(
    text: &str,
    env: &[(&str, &str)],
    ask: &dyn Fn() -> Result<Secret, String>,
) -> Result<Outcome, StartError> {
    let args: Vec<OsString> = text.split_whitespace().map(Into::into).collect();
    let reading = Reading {
        env: &env.iter().copied().collect(),
        ask,
        occasion: Occasion::Start,
        list: None,
    };
    understand(&args, reading)
}

fn nobody() -> Result<Secret, String> {
    Err("nobody there".into())
}

fn command(text: &str, env: &[(&str, &str)]) -> Command {
    match line(text, env, &nobody) {
        Ok(Outcome::Run(invocation)) => invocation.command,
        other => panic!("{text}: {other:?}"),
    }
}

fn run(text: &str, env: &[(&str, &str)]) -> RunOptions {
    let env = [env, &[LIST, ("LEEK_AGENT_APP_KEY", "k")]].concat();
    match command(text, &env) {
        Command::Run(options) => options,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn run_is_the_default() {
    let options = run(
        "--drain --for 50s --lock /run/l --strict --shutdown-timeout 3",
        &[],
    );
    assert!(options.drain && options.strict);
    assert_eq!(options.run_for, Some(Duration::from_secs(50)));
    assert_eq!(options.lock, Some("/run/l".into()));
    assert_eq!(options.config.shutdown_timeout, Duration::from_secs(3));
    assert_eq!(options.place.to_string(), "LEEK_AGENT_SUBSCRIPTIONS");

    let options = run("", &[]);
    let quarantine = options.config.subscriptions[0].quarantine.clone();
    let quarantine = quarantine.expect("kept by default");
    assert_eq!(quarantine.dir, Path::new("/var/lib/leek-agent/quarantine"));
    assert_eq!(quarantine.max_bytes, 16 * 1024 * 1024);
    assert!(!options.drain && !options.strict);
    assert_eq!((options.run_for, options.lock), (None, None));
    assert_eq!(options.config.shutdown_timeout, Duration::from_secs(10));
}

#[test]
fn switches_and_values_come_from_the_environment_too() {
    let env = [
        ("LEEK_AGENT_DRAIN", "true"),
        ("LEEK_AGENT_FOR", "1h30m"),
        ("LEEK_AGENT_LOCK", ""),
        ("LEEK_AGENT_STRICT", "off"),
        ("LEEK_AGENT_SHUTDOWN_TIMEOUT", "500ms"),
    ];
    let options = run("", &env);
    assert!(options.drain && !options.strict);
    assert_eq!(options.run_for, Some(Duration::from_secs(5400)));
    assert_eq!(options.lock, None, "an empty variable is not set");
    assert_eq!(options.config.shutdown_timeout, Duration::from_millis(500));
    assert_eq!(run("--for 5s", &env).run_for, Some(Duration::from_secs(5)));
}

#[test]
fn refused_documents_are_kept_where_one_is_told_to() {
    let env = [("STATE_DIRECTORY", "/srv/state")];
    let kept = |text, env| run(text, env).config.subscriptions[0].quarantine.clone();
    let quarantine = kept("--quarantine-max-mb 2", &env[..]).expect("kept");
    assert_eq!(quarantine.dir, Path::new("/srv/state/quarantine"));
    assert_eq!(quarantine.max_bytes, 2 * 1024 * 1024);
    let quarantine = kept("--quarantine-dir q", &env[..]).expect("kept");
    assert_eq!(quarantine.dir, Path::new("q"));
    assert_eq!(kept("", &[("LEEK_AGENT_QUARANTINE_MAX_MB", "0")]), None);
    let error = line("--quarantine-max-mb 2000", &[LIST], &nobody).expect_err("too much");
    assert!(error.to_string().contains("expected 0 to 1024 megabytes"));
}

#[test]
fn transform_and_sink_need_no_subscriptions() {
    let Command::Transform(options) = command("transform --app-env qa --now-ms -5 --strict", &[])
    else {
        panic!("not transform");
    };
    assert_eq!(options.now_ms, Some(-5));
    assert_eq!(
        (options.app_env.as_str(), options.validation),
        ("qa", Validation::Strict)
    );
    let Command::Transform(options) = command("transform", &[("LEEK_ENABLE_API", "nonsense")])
    else {
        panic!("not transform");
    };
    assert_eq!(
        (options.now_ms, options.validation),
        (None, Validation::Tolerant)
    );

    let Command::Sink(options) = command("sink --listen [::1]:5000 --out d -t key", &[]) else {
        panic!("not sink");
    };
    assert_eq!(options.listen, "[::1]:5000".parse().expect("an address"));
    assert_eq!(options.out, Some("d".into()));
    assert_eq!(options.app_key, Some(Secret::new("key")));
}

#[test]
fn log_settings_belong_to_every_command() {
    let env = [("LEEK_AGENT_LOG_LEVEL", "WARNING")];
    for (text, level, format) in [
        ("transform", log::LevelFilter::Warn, logging::Format::Json),
        (
            "transform --log-level trace --log-format TEXT",
            log::LevelFilter::Trace,
            logging::Format::Text,
        ),
    ] {
        let Ok(Outcome::Run(invocation)) = line(text, &env, &nobody) else {
            panic!("{text}");
        };
        assert_eq!(invocation.logging, logging::Settings { level, format });
    }
}

#[test]
fn a_bare_key_is_asked_for_once_nothing_else_is_wrong() {
    let key = || Ok(Secret::new("asked"));
    let Ok(Outcome::Run(invocation)) = line("-t", &[LIST], &key) else {
        panic!("not understood");
    };
    let Command::Run(options) = invocation.command else {
        panic!("not run");
    };
    assert_eq!(
        options.config.subscriptions[0].app_key,
        Secret::new("asked")
    );

    let never = || -> Result<Secret, String> { panic!("asked in vain") };
    assert!(line("-t --for soon", &[LIST], &never).is_err());
    assert!(
        line("-t transform", &[], &never).is_ok(),
        "no use for a key"
    );
    let unable = line("-t", &[LIST], &nobody).expect_err("nobody to ask");
    assert_eq!(unable.exit(), Exit::Usage);
}

#[test]
fn one_place_gives_the_key_in_one_form() {
    let both = "--app-key k --app-key-file f";
    let error = line(both, &[LIST], &nobody).expect_err("both").to_string();
    assert!(
        error.contains("--app-key-file: --app-key is given too"),
        "{error}"
    );
    let env = [LIST, ("LEEK_AGENT_APP_KEY_FILE", "/no/such")];
    assert!(
        line("-t k", &env, &nobody).is_ok(),
        "what was typed comes first"
    );
    let error = line("", &env, &nobody).expect_err("no file").to_string();
    assert!(
        error.starts_with("LEEK_AGENT_APP_KEY_FILE: \"/no/such\": expected a file"),
        "{error}"
    );
}

#[test]
fn argh_and_the_table_agree() {
    for command in options::COMMANDS {
        let path = command
            .split(' ')
            .try_fold(options::Path::ROOT, options::Path::at);
        let path = path.expect("it is in the table");
        for spec in &options::OPTIONS {
            if spec.owner(path).is_none() || spec.long == "help" {
                continue;
            }
            let words = if path.takes_words() { "w" } else { "" };
            let value = match spec.takes {
                options::Takes::Nothing => "",
                _ => "x",
            };
            let line = format!("{command} --{} {value} {words}", spec.long);
            let args: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
            let words = at_file::expand(&args).expect("no file");
            let argv = arrange::arrange(words).expect(&line).argv();
            typed::read(&argv).unwrap_or_else(|exit| panic!("{argv:?}: {}", exit.output));
        }
    }
}

#[test]
fn a_disabled_agent_still_checks() {
    let env = [
        LIST,
        ("LEEK_AGENT_APP_KEY", "k"),
        ("LEEK_ENABLE_AGENT", "False"),
    ];
    assert!(matches!(line("", &env, &nobody), Ok(Outcome::Disabled(_))));
    assert!(matches!(line("check", &env, &nobody), Ok(Outcome::Run(_))));
}
