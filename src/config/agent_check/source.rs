//! The source of a plugin: `http`, `file` or `self`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::{Http, Open, Source, answer};
use crate::agent_check::Answer;
use crate::config::fault::quoted;
use crate::config::raw::{Faulty, Fields, Read};
use crate::config::url;
use crate::secret::Secret;
use crate::tls::ClientTls;

/// Keys that mean something for one kind of source only.
const OWN_KEYS: [(&str, &str); 5] = [
    ("url", "http"),
    ("ca_file", "http"),
    ("timeout", "http"),
    ("file_path", "file"),
    ("paused_response", "self"),
];

/// As long as Herald waits.
const TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT_MAX: u32 = 60;

/// Reads `source` and the keys that belong to it.
pub fn read(fields: &mut Fields<'_>, open: Open<'_>) -> Result<Source, Faulty> {
    let expected = "expected http, file or self";
    let source = match fields.text("source", expected)? {
        Some("http") => http(fields, open).map(Source::Http),
        Some("file") => file(fields).map(Source::File),
        Some("self") => own(fields),
        Some(other) => return Err(fields.fault("source", quoted(other), expected)),
        None => return Err(fields.fault("source", "missing", expected)),
    };
    let is = fields.get("source").and_then(Value::as_str);
    for (key, of) in OWN_KEYS {
        if Some(of) != is && fields.get(key).is_some() {
            let expected = format!("expected only beside \"source\": \"{of}\"");
            fields.fault(key, "given", &expected);
        }
    }
    source
}

fn file(fields: &mut Fields<'_>) -> Result<PathBuf, Faulty> {
    let expected = "expected a file's name";
    match fields.text_where("file_path", expected, |text| !text.is_empty())? {
        Some(path) => Ok(path.into()),
        None => Err(fields.fault("file_path", "missing", expected)),
    }
}

fn own(fields: &mut Fields<'_>) -> Result<Source, Faulty> {
    let paused = answer(fields, "paused_response")?;
    let paused = paused.filter(|answer| *answer != Answer::NOTHING);
    Ok(Source::Own { paused })
}

fn http(fields: &mut Fields<'_>, open: Open<'_>) -> Result<Http, Faulty> {
    let timeout = fields.fraction("timeout", TIMEOUT_MAX);
    let address = address(fields);
    let is_https = address.as_ref().ok();
    let is_https = is_https.is_some_and(|(url, _)| url.starts_with("https://"));
    let tls = tls(fields, is_https, open);
    let (url, login) = address?;
    Ok(Http {
        url,
        login,
        timeout: timeout?.map_or(TIMEOUT, Duration::from_secs_f64),
        tls: tls?,
    })
}

/// The URL, and the user and password in it, which nothing shows.
fn address(fields: &mut Fields<'_>) -> Result<(String, Option<Secret>), Faulty> {
    let expected = "expected an http or https URL";
    let Some(text) = fields.secret("url", expected)? else {
        return Err(fields.fault("url", "missing", expected));
    };
    let known = ["http", "https"];
    let parts = text.trim().split_once("://");
    let Some((scheme, rest)) = parts.filter(|(scheme, _)| known.contains(scheme)) else {
        return Err(fields.fault_plain("url", expected));
    };
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(fields.fault_plain(
            "url",
            "expected ASCII letters, digits and signs without blanks",
        ));
    }
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority),
    };
    let (name, port) =
        url::host_and_port(host).map_err(|reason| fields.fault_plain("url", &reason))?;
    if name.is_empty() {
        return Err(fields.fault_plain("url", expected));
    }
    let login = login.map(url::decoded_password).transpose();
    let login = login.map_err(|reason| fields.fault_plain("url", &reason))?;
    let (name, port) = (
        url::bracketed(&name),
        port.map_or(String::new(), |port| format!(":{port}")),
    );
    Ok((
        format!("{scheme}://{name}{port}{path}"),
        login.map(Secret::new),
    ))
}

fn tls(fields: &mut Fields<'_>, is_https: bool, open: Open<'_>) -> Read<ClientTls> {
    let expected = "expected a file of certificates";
    let ca_file = fields.text_where("ca_file", expected, |text| !text.is_empty())?;
    if !is_https {
        return match ca_file {
            None => Ok(None),
            Some(file) => {
                let expected =
                    "expected a URL that begins with https://, since http:// is not encrypted";
                Err(fields.fault("ca_file", quoted(file), expected))
            }
        };
    }
    let opened = open(ca_file.map(PathBuf::from));
    opened.map(Some).map_err(|error| {
        let key = if ca_file.is_some() { "ca_file" } else { "url" };
        fields.fault_plain(key, &error.to_string())
    })
}
