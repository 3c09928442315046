//! `tls` and `api_tls` of a subscription: which files, and what is wrong with them. Reading the
//! files is left to a function that is handed in.

use std::path::PathBuf;

use serde_json::Value;

use super::fault::{kind, quoted};
use super::raw::{Faulty, Fields, Read};
use crate::nearest::nearest;
use crate::tls::{ClientTls, Setting, TlsError, TlsSettings};

const KEYS: [&str; 3] = ["ca_file", "cert_file", "key_file"];

/// Reads the files that settings name.
pub type Open<'a> = &'a dyn Fn(&TlsSettings) -> Result<ClientTls, TlsError>;

/// One side of a subscription, and whether its addresses ask for TLS.
pub struct Side<'a> {
    /// `tls` or `api_tls`.
    pub key: &'static str,
    /// `None` where the addresses are at fault themselves.
    pub is_used: Option<bool>,
    /// What to write for the settings to be of use.
    pub expected: &'static str,
    /// For a side without a `ca_file`.
    pub ssl_cert_file: Option<PathBuf>,
    pub open: Open<'a>,
}

/// What a side connects with; nothing where it is not encrypted. Settings that nothing would use are
/// a fault: whoever wrote them relies on them.
pub fn side(fields: &mut Fields<'_>, side: &Side<'_>) -> Read<ClientTls> {
    let settings = settings(fields, side)?;
    match (settings, side.is_used) {
        (None, None | Some(false)) => Ok(None),
        (Some(_), Some(false)) => Err(fields.fault(side.key, "an object", side.expected)),
        (settings, _) => {
            let settings = settings.unwrap_or_default();
            let ssl_cert_file = side.ssl_cert_file.clone();
            let settings = TlsSettings {
                ssl_cert_file,
                ..settings
            };
            (side.open)(&settings)
                .map(Some)
                .map_err(|error| report(fields, side.key, &error))
        }
    }
}

fn settings(fields: &mut Fields<'_>, side: &Side<'_>) -> Read<TlsSettings> {
    let keys = match fields.get(side.key) {
        None => return Ok(None),
        Some(Value::Object(keys)) => keys,
        Some(other) => {
            let expected = "expected an object with ca_file, cert_file and key_file";
            return Err(fields.fault(side.key, kind(other), expected));
        }
    };
    let mut inner = Fields::new(fields.place_of(side.key), keys);
    for key in inner.names().filter(|key| !KEYS.contains(key)) {
        let known = nearest(key, KEYS).expect("there are known keys");
        inner.fault(key, "unknown key", &format!("did you mean {known}?"));
    }
    let mut file = |key| {
        let expected = "expected a file's name";
        let name = inner.text_where(key, expected, |text| !text.is_empty())?;
        Ok(name.map(PathBuf::from))
    };
    let (ca_file, cert_file, key_file) = (file("ca_file"), file("cert_file"), file("key_file"));
    let clean = inner.faults.is_empty();
    fields.faults.append(&mut inner.faults);
    let settings = TlsSettings {
        ca_file: ca_file?,
        cert_file: cert_file?,
        key_file: key_file?,
        ssl_cert_file: None,
    };
    if clean {
        Ok(Some(settings))
    } else {
        Err(Faulty)
    }
}

fn report(fields: &mut Fields<'_>, key: &str, error: &TlsError) -> Faulty {
    for fault in &error.faults {
        let found = fault.path.as_ref().map_or_else(
            || "missing".to_owned(),
            |path| quoted(&path.display().to_string()),
        );
        let name = fault.setting.name();
        if fault.setting == Setting::SslCertFile {
            fields.fault(key, format!("{name}: {found}"), &fault.expected);
        } else {
            fields.fault(&format!("{key}.{name}"), found, &fault.expected);
        }
    }
    Faulty
}
