//! TLS settings on real files, and handshakes with a server that lives in memory.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use leek_agent::cli::{Command as CliCommand, Outcome, Recipe};
use leek_agent::tls::{ClientTls, TlsSettings, reason};
use rustls::{ClientConnection, Error, ServerConnection};
use support::certs::{Authority, Order, Pair, server_config};

/// 2026-12-01: after this version's release.
const NOW_MS: i64 = 1_796_083_200_000;

fn trusting(ca: PathBuf) -> TlsSettings {
    TlsSettings {
        ca_file: Some(ca),
        ..TlsSettings::default()
    }
}

fn showing(settings: TlsSettings, cert: &Path, key: &Path) -> TlsSettings {
    TlsSettings {
        cert_file: Some(cert.to_owned()),
        key_file: Some(key.to_owned()),
        ..settings
    }
}

/// A server that shows `pair` and, with `clients`, wants a certificate of that authority.
fn server(pair: &Pair, clients: Option<&Authority>) -> ServerConnection {
    ServerConnection::new(server_config(pair, clients)).expect("a connection")
}

/// Carries bytes between both until nothing is left to say: the client's error, if it has one.
fn converse(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), Error> {
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("a vector takes it");
        }
        server.read_tls(&mut &wire[..]).expect("read");
        // The server's own error reaches the client as an alert.
        let _ = server.process_new_packets();
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("a vector takes it");
        }
        client.read_tls(&mut &wire[..]).expect("read");
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking());
    Ok(())
}

/// What a reload goes by: a broker is left alone unless something about it is another.
#[test]
fn a_certificate_renewed_in_its_place_is_another() {
    let [first, second] = ["one", "two"].map(Authority::new);
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    let open = |from: &Authority| {
        fs::copy(from.ca(), &ca).expect("copied");
        ClientTls::open(&trusting(ca.clone())).expect("a certificate")
    };
    let before = open(&first);
    assert_eq!(before, open(&first));
    assert_ne!(before, open(&second));
}

/// What a technician reads of a handshake with `host`, or "ok".
fn told(settings: &TlsSettings, host: &str, mut server: ServerConnection) -> String {
    let tls = ClientTls::open(settings).expect("files");
    let mut client = tls.connect(host).expect("a host");
    match converse(&mut client, &mut server) {
        Ok(()) => "ok".to_owned(),
        Err(error) => reason(&error, "tls", NOW_MS),
    }
}

#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

#[test]
fn hosts_are_verified_by_name_and_by_address() {
    let authority = Authority::new("site");
    let pair = authority.server("broker");
    let settings = trusting(authority.ca());
    for host in ["localhost", "127.0.0.1", "::1"] {
        assert_eq!(told(&settings, host, server(&pair, None)), "ok", "{host}");
    }
    for (host, expected) in [
        ("broker.plant", "expected broker.plant"),
        ("10.0.0.7", "expected 10.0.0.7"),
    ] {
        let text = told(&settings, host, server(&pair, None));
        assert_says(&text, &["is for localhost, 127.0.0.1", expected]);
    }
    assert!(
        ClientTls::open(&settings)
            .expect("files")
            .connect("a b")
            .is_err()
    );
}

#[test]
fn only_the_named_authority_is_trusted() {
    let (site, other) = (Authority::new("site"), Authority::new("other"));
    let pair = site.server("broker");
    let unknown = ["not from an authority", "tls.ca_file"];
    let text = told(&trusting(other.ca()), "localhost", server(&pair, None));
    assert_says(&text, &unknown);
    let text = told(&TlsSettings::default(), "localhost", server(&pair, None));
    assert_says(&text, &unknown);
    // SSL_CERT_FILE stands in for the system's, ca_file comes before it.
    let environment = TlsSettings {
        ssl_cert_file: Some(site.ca()),
        ..TlsSettings::default()
    };
    assert_eq!(told(&environment, "localhost", server(&pair, None)), "ok");
    let both = TlsSettings {
        ca_file: Some(other.ca()),
        ..environment
    };
    assert_says(&told(&both, "localhost", server(&pair, None)), &unknown);
}

#[test]
fn dates_are_looked_at() {
    let authority = Authority::new("site");
    let order = |name, years| {
        let hosts = &["localhost"];
        authority.sign(&Order { name, hosts, years })
    };
    let settings = trusting(authority.ca());
    let expired = told(
        &settings,
        "localhost",
        server(&order("old", (2020, 2021)), None),
    );
    assert_says(
        &expired,
        &["expired on 2021-12-31", "clock says 2026-12-01"],
    );
    let early = told(
        &settings,
        "localhost",
        server(&order("new", (2080, 2090)), None),
    );
    assert_says(&early, &["not valid before 2080-01-01", "clock says"]);
}

#[test]
fn clients_show_their_certificate() {
    let authority = Authority::new("site");
    let pair = authority.server("broker");
    let settings = trusting(authority.ca());
    let ask = |settings: &TlsSettings| told(settings, "localhost", server(&pair, Some(&authority)));
    let client = authority.client("gateway");
    let with = showing(settings.clone(), &client.cert, &client.key);
    assert_eq!(ask(&with), "ok");
    assert_says(
        &ask(&settings),
        &["asks for a client certificate", "tls.cert_file"],
    );
    let foreign = Authority::new("other");
    let stranger = foreign.client("gateway");
    let with = showing(settings, &stranger.cert, &stranger.key);
    assert_says(&ask(&with), &["tls.cert_file"]);
}

#[test]
fn the_example_is_true() {
    let authority = Authority::new("site");
    let pair = authority.client("gateway");
    let key = authority.folder().join("app.key");
    fs::write(&key, "k").expect("written");
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let text = fs::read_to_string(configs.join("subscriptions.tls.example.json"));
    let files = [
        ("plant-ca.pem", authority.ca()),
        ("gateway.pem", pair.cert),
        ("gateway.key", pair.key),
        ("packing.key", key.clone()),
        ("robots.key", key),
    ];
    let list = files
        .iter()
        .fold(text.expect("an example"), |text, (name, path)| {
            text.replace(
                &format!("/etc/leek-agent/{name}"),
                &path.display().to_string(),
            )
        });
    let env = [("LEEK_AGENT_SUBSCRIPTIONS", list)].into_iter().collect();
    let outcome = Recipe::new(vec!["check".into(), "--offline".into()], env).read();
    let invocation = match outcome {
        Ok(Outcome::Run(invocation)) => *invocation,
        other => panic!("{other:?}"),
    };
    let CliCommand::Check(options) = invocation.command else {
        panic!("another command");
    };
    let robots = &options.config.subscriptions[1];
    // The URL names nobody: the certificate logs in.
    assert_eq!(robots.brokers[1].to_string(), "amqps://10.20.0.12:5671/");
    assert_eq!(robots.tls, robots.api_tls);
}

#[test]
fn keys_of_every_kind_are_read() {
    let authority = Authority::new("site");
    let folder = authority.folder();
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl")
            .args(args)
            .current_dir(folder)
            .output();
        let output = output.expect("openssl starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
    };
    let subject = ["-subj", "/CN=gateway", "-days", "100"];
    openssl(
        &[
            &[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-noenc",
                "-keyout",
                "pkcs8.pem",
                "-out",
                "rsa.pem",
            ],
            &subject[..],
        ]
        .concat(),
    );
    openssl(&[
        "rsa",
        "-in",
        "pkcs8.pem",
        "-traditional",
        "-out",
        "pkcs1.pem",
    ]);
    openssl(&[
        "ecparam",
        "-name",
        "prime256v1",
        "-genkey",
        "-noout",
        "-out",
        "sec1.pem",
    ]);
    openssl(
        &[
            &["req", "-x509", "-key", "sec1.pem", "-out", "ec.pem"],
            &subject[..],
        ]
        .concat(),
    );
    openssl(&[
        "pkcs8",
        "-topk8",
        "-in",
        "sec1.pem",
        "-passout",
        "pass:x",
        "-out",
        "locked.pem",
    ]);
    let open = |cert: &str, key: &str| {
        let settings = showing(
            TlsSettings::default(),
            &folder.join(cert),
            &folder.join(key),
        );
        ClientTls::open(&settings)
            .map(drop)
            .map_err(|error| error.to_string())
    };
    for (cert, key) in [
        ("rsa.pem", "pkcs8.pem"),
        ("rsa.pem", "pkcs1.pem"),
        ("ec.pem", "sec1.pem"),
    ] {
        assert_eq!(open(cert, key), Ok(()), "{cert} {key}");
    }
    fs::write(
        folder.join("broken.pem"),
        "-----BEGIN PRIVATE KEY-----\nhunter2!\n",
    )
    .expect("written");
    for (cert, key, expected) in [
        ("ec.pem", "pkcs8.pem", "do not fit together"),
        ("ec.pem", "locked.pem", "without a passphrase"),
        (
            "ec.pem",
            "ec.pem",
            "expected a private key in PEM (-----BEGIN PRIVATE KEY-----), there is none",
        ),
        ("ec.pem", "broken.pem", "the file is damaged"),
        ("sec1.pem", "sec1.pem", "expected a certificate in PEM"),
    ] {
        let text = open(cert, key).expect_err(key);
        assert_says(&text, &[expected]);
        assert!(!text.contains("hunter2"), "{text}");
    }
}
