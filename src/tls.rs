//! TLS for brokers and APIs: whom to trust, which certificate to show, and why a handshake failed.
//!
//! rustls with ring, nothing else. Host names are verified always; there is no switch against it.
//! Files are read once, when a [`ClientConfig`] is made; no socket is touched here.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ConfigBuilder, RootCertStore, WantsVerifier};

use crate::small_file;

mod failure;

pub use failure::{cause, reason};

/// Where systems keep the certificates that they trust, in PEM, the commonest first.
const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Alpine, Yocto
    "/etc/pki/tls/certs/ca-bundle.crt",   // Fedora
    "/etc/ssl/ca-bundle.pem",             // openSUSE
    "/etc/ssl/cert.pem",                  // OpenWrt
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // CentOS
];

/// Servers whose sessions are remembered, about 4 KB each: a subscription has one API and a broker
/// or two.
const SESSIONS: usize = 8;

/// What was configured: of a subscription, `tls` or `api_tls`, and of the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The only certificates to trust.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show, and its chain.
    pub cert_file: Option<PathBuf>,
    /// The key of `cert_file`.
    pub key_file: Option<PathBuf>,
    /// `SSL_CERT_FILE`: trusted in place of the system's certificates where `ca_file` is not given.
    pub ssl_cert_file: Option<PathBuf>,
}

/// Which of the settings a fault is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    CaFile,
    CertFile,
    KeyFile,
    SslCertFile,
}

impl Setting {
    /// Its name where it is configured.
    pub fn name(self) -> &'static str {
        match self {
            Setting::CaFile => "ca_file",
            Setting::CertFile => "cert_file",
            Setting::KeyFile => "key_file",
            Setting::SslCertFile => "SSL_CERT_FILE",
        }
    }
}

/// One thing that is wrong with the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFault {
    pub setting: Setting,
    /// What was configured; nothing where it is missing.
    pub path: Option<PathBuf>,
    /// What was expected, and why that was not found.
    pub expected: String,
}

/// Everything that is wrong with the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsError {
    pub faults: Vec<TlsFault>,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let found = fault.path.as_ref().map_or_else(
                || "missing".to_owned(),
                |path| format!("{:?}", path.display().to_string()),
            );
            let name = fault.setting.name();
            write!(f, "{separator}{name}: {found}: {}", fault.expected)?;
        }
        Ok(())
    }
}

impl std::error::Error for TlsError {}

/// Settings whose files were read: ready to connect. Clones share everything.
#[derive(Clone)]
pub struct ClientTls {
    settings: TlsSettings,
    /// Of what the files of the settings said.
    fingerprint: u64,
    config: Arc<ClientConfig>,
}

impl ClientTls {
    /// Reads the files.
    pub fn open(settings: &TlsSettings) -> Result<Self, TlsError> {
        Ok(ClientTls {
            settings: settings.clone(),
            fingerprint: fingerprint(settings),
            config: client_config(settings)?,
        })
    }

    /// True if there is a certificate to show.
    pub fn has_certificate(&self) -> bool {
        self.settings.cert_file.is_some()
    }

    /// A connection that has not begun, to a host by its name or address (IPv6 without brackets).
    pub fn connect(&self, host: &str) -> Result<ClientConnection, rustls::Error> {
        let name = server_name(host)?;
        ClientConnection::new(Arc::clone(&self.config), name)
    }

    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }
}

/// Same settings and same files, same thing: a certificate that was renewed in its place is another.
impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings && self.fingerprint == other.fingerprint
    }
}

fn fingerprint(settings: &TlsSettings) -> u64 {
    let mut hasher = DefaultHasher::new();
    let files = [
        &settings.ca_file,
        &settings.cert_file,
        &settings.key_file,
        &settings.ssl_cert_file,
    ];
    for path in files.into_iter().flatten() {
        small_file::read(path).hash(&mut hasher);
    }
    hasher.finish()
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

/// A host as certificates name it: a DNS name, or an IP address without brackets.
pub fn server_name(host: &str) -> Result<ServerName<'static>, rustls::Error> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| rustls::Error::General(format!("{host}: expected a host name or IP address")))
}

/// Reads the files that `settings` name; all that is wrong with them at once.
pub fn client_config(settings: &TlsSettings) -> Result<Arc<ClientConfig>, TlsError> {
    let mut faults = Vec::new();
    let roots = roots(settings).map_err(|fault| faults.push(fault)).ok();
    let identity = identity(settings, &mut faults);
    if !faults.is_empty() {
        return Err(TlsError { faults });
    }
    let builder = builder().with_root_certificates(roots.unwrap_or_else(RootCertStore::empty));
    let mut config = match identity {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| mismatch(settings, &error))?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(Arc::new(config))
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
}

fn mismatch(settings: &TlsSettings, error: &rustls::Error) -> TlsError {
    let (setting, path, expected) = match error {
        rustls::Error::InconsistentKeys(_) => (
            Setting::KeyFile,
            &settings.key_file,
            "expected the key of the certificate in cert_file: they do not fit together".to_owned(),
        ),
        rustls::Error::InvalidCertificate(_) => (
            Setting::CertFile,
            &settings.cert_file,
            "expected a certificate that can be used: it is damaged".to_owned(),
        ),
        other => (
            Setting::KeyFile,
            &settings.key_file,
            format!("expected an RSA, ECDSA or Ed25519 key that can be used: {other}"),
        ),
    };
    let path = path.clone();
    let fault = TlsFault {
        setting,
        path,
        expected,
    };
    TlsError {
        faults: vec![fault],
    }
}

// ── Whom to trust ──────────────────────────────────────────────────────────────────────────────

fn roots(settings: &TlsSettings) -> Result<RootCertStore, TlsFault> {
    let named = [
        (Setting::CaFile, &settings.ca_file),
        (Setting::SslCertFile, &settings.ssl_cert_file),
    ];
    let named = named.into_iter().find_map(|(setting, path)| {
        let path = path.as_deref()?;
        Some((setting, path))
    });
    match named {
        Some((setting, path)) => trusted(path).map_err(|expected| TlsFault {
            setting,
            path: Some(path.to_owned()),
            expected,
        }),
        None => Ok(system_roots()),
    }
}

/// The certificates of a file that somebody chose: each must be usable.
fn trusted(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates(path)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|_| {
            let number = index + 1;
            format!("expected certificates: number {number} in the file is damaged")
        })?;
    }
    Ok(roots)
}

/// The system's own certificates, or those of Mozilla where the system has none. A bundle of more
/// than a hundred may have one that rustls does not take.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let bundle = SYSTEM_ROOTS
        .iter()
        .find_map(|path| certificates(Path::new(path)).ok());
    roots.add_parsable_certificates(bundle.unwrap_or_default());
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

// ── Which certificate to show ──────────────────────────────────────────────────────────────────

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(settings: &TlsSettings, faults: &mut Vec<TlsFault>) -> Option<Identity> {
    let missing = match (&settings.cert_file, &settings.key_file) {
        (None, None) => return None,
        (Some(cert), Some(key)) => return read_identity(cert, key, faults),
        (None, Some(_)) => (
            Setting::CertFile,
            "expected the certificate that key_file belongs to",
        ),
        (Some(_), None) => (Setting::KeyFile, "expected the key of cert_file"),
    };
    faults.push(TlsFault {
        setting: missing.0,
        path: None,
        expected: missing.1.to_owned(),
    });
    None
}

fn read_identity(cert: &Path, key: &Path, faults: &mut Vec<TlsFault>) -> Option<Identity> {
    let mut fault = |setting, path: &Path, expected| {
        faults.push(TlsFault {
            setting,
            path: Some(path.to_owned()),
            expected,
        });
    };
    let chain = certificates(cert).map_err(|expected| fault(Setting::CertFile, cert, expected));
    let private = private_key(key).map_err(|expected| fault(Setting::KeyFile, key, expected));
    Some((chain.ok()?, private.ok()?))
}

// ── Files ──────────────────────────────────────────────────────────────────────────────────────

/// At least one certificate; `Err` is what was expected instead.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = small_file::read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(
            "expected a certificate in PEM (-----BEGIN CERTIFICATE-----), there is none".to_owned(),
        ),
        Ok(found) => Ok(found),
        Err(_) => Err("expected certificates in PEM: the file is damaged".to_owned()),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = small_file::read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound if is_encrypted(&text) => {
            "expected a key without a passphrase, this one is encrypted".to_owned()
        }
        pem::Error::NoItemsFound => {
            "expected a private key in PEM (-----BEGIN PRIVATE KEY-----), there is none".to_owned()
        }
        // The error itself may quote the file.
        _ => "expected a private key in PEM: the file is damaged".to_owned(),
    })
}

fn is_encrypted(text: &[u8]) -> bool {
    let mark = b"BEGIN ENCRYPTED PRIVATE KEY";
    text.windows(mark.len()).any(|window| window == mark)
}
