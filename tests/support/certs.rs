//! An authority of the tests' own, and what it signs: good, expired, not yet valid, for another host.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;

use super::keeper::keep_folder;

/// A folder with `ca.pem`, and what is made beside it.
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Whom a certificate is for, and when.
pub struct Order<'a> {
    /// The files' name, and the certificate's common name.
    pub name: &'a str,
    /// DNS names and IP addresses; a client has none.
    pub hosts: &'a [&'a str],
    /// First and last year.
    pub years: (i32, i32),
}

impl Authority {
    /// An authority that nobody trusts until told.
    pub fn new(name: &str) -> Authority {
        let folder = tempfile::tempdir().expect("a temporary folder");
        keep_folder(folder.path());
        let mut params = params(name, &[], (2020, 2090));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("writable");
        let issuer = Issuer::new(params, key);
        Authority { folder, issuer }
    }

    /// The certificate to trust.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A server's certificate for this machine.
    pub fn server(&self, name: &str) -> Pair {
        self.sign(&Order {
            name,
            hosts: &["localhost", "127.0.0.1", "::1"],
            years: (2020, 2090),
        })
    }

    /// A client's certificate.
    pub fn client(&self, name: &str) -> Pair {
        self.sign(&Order {
            name,
            hosts: &[],
            years: (2020, 2090),
        })
    }

    /// Any certificate.
    pub fn sign(&self, order: &Order<'_>) -> Pair {
        let mut params = params(order.name, order.hosts, order.years);
        params.extended_key_usages = vec![match order.hosts {
            [] => ExtendedKeyUsagePurpose::ClientAuth,
            _ => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let path = |kind: &str| {
            self.folder
                .path()
                .join(format!("{}-{kind}.pem", order.name))
        };
        let pair = Pair {
            cert: path("cert"),
            key: path("key"),
        };
        fs::write(&pair.cert, certificate.pem()).expect("writable");
        fs::write(&pair.key, key.serialize_pem()).expect("writable");
        pair
    }
}

/// A TLS server that shows `pair` and, with `clients`, wants a certificate of that authority.
pub fn server_config(pair: &Pair, clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let ca = CertificateDer::from_pem_file(authority.ca()).expect("a certificate");
            roots.add(ca).expect("usable");
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let chain = CertificateDer::pem_file_iter(&pair.cert).expect("a file");
    let chain = chain.map(|one| one.expect("a certificate")).collect();
    let key = PrivateKeyDer::from_pem_file(&pair.key).expect("a key");
    Arc::new(builder.with_single_cert(chain, key).expect("a pair"))
}

fn params(name: &str, hosts: &[&str], (first, last): (i32, i32)) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("names");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(first, 1, 1);
    params.not_after = date_time_ymd(last, 12, 31);
    params
}
