//! A request's head: parsed by httparse, then held to the rules by which two parties agree where a
//! body ends (RFC 9112, 6). What is ambiguous there is refused, never guessed.

use httparse::{EMPTY_HEADER, Header, Status};

use super::Limits;
use super::message::Request;

/// Why a request cannot be served: a status, and words for its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault(pub u16, pub &'static str);

/// Where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes, within the limit.
    Length(usize),
    Chunked,
}

#[derive(Debug)]
pub(super) struct Head {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    keep_alive: bool,
    pub framing: Framing,
    pub expects_continue: bool,
}

impl Head {
    /// The head at the beginning of `input` and its length, or `None` if it is not complete. Looks
    /// at no more than the limit, so that the outcome does not depend on how the bytes were split.
    pub fn parse(input: &[u8], limits: &Limits) -> Result<Option<(usize, Head)>, Fault> {
        let window = &input[..input.len().min(limits.head)];
        let mut headers = vec![EMPTY_HEADER; limits.headers];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(window) {
            Ok(Status::Complete(length)) => Ok(Some((length, Head::checked(&request, limits)?))),
            Ok(Status::Partial) if window.len() >= limits.head => Err(TOO_LONG),
            Ok(Status::Partial) => Ok(None),
            Err(httparse::Error::TooManyHeaders) => Err(Fault(431, "too many headers")),
            Err(httparse::Error::Version) => Err(Fault(505, "expected HTTP/1.1 or HTTP/1.0")),
            Err(_) => Err(Fault(400, "not an http request")),
        }
    }

    fn checked(request: &httparse::Request<'_, '_>, limits: &Limits) -> Result<Head, Fault> {
        let headers = &*request.headers;
        let http_1_1 = request.version == Some(1);
        let hosts = values(headers, "host").count();
        if hosts > 1 || (http_1_1 && hosts == 0) {
            return Err(Fault(400, "expected one host header"));
        }
        let closes = tokens(headers, "connection").any(|token| token == "close");
        Ok(Head {
            framing: framing(headers, http_1_1, limits)?,
            expects_continue: expects_continue(headers, http_1_1)?,
            method: request.method.unwrap_or_default().to_owned(),
            target: request.path.unwrap_or_default().to_owned(),
            headers: headers.iter().map(owned).collect(),
            keep_alive: http_1_1 && !closes,
        })
    }

    pub fn into_request(self, body: Vec<u8>) -> Request {
        Request {
            method: self.method,
            target: self.target,
            headers: self.headers,
            body,
            keep_alive: self.keep_alive,
        }
    }
}

const TOO_LONG: Fault = Fault(431, "the request's head is too long");

fn framing(headers: &[Header<'_>], http_1_1: bool, limits: &Limits) -> Result<Framing, Fault> {
    let coded = values(headers, "transfer-encoding").next().is_some();
    let mut lengths = values(headers, "content-length");
    match (coded, lengths.next(), lengths.next()) {
        (false, None, _) => Ok(Framing::Length(0)),
        (false, Some(length), None) => content_length(length, limits),
        (true, None, _) if http_1_1 => transfer_coding(headers),
        _ => Err(Fault(
            400,
            "expected either one content-length or a transfer-encoding",
        )),
    }
}

fn content_length(value: &[u8], limits: &Limits) -> Result<Framing, Fault> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Fault(400, "content-length: expected a number"));
    }
    // Digits alone fail to parse only where they are too many.
    let length = std::str::from_utf8(value)
        .ok()
        .and_then(|digits| digits.parse().ok());
    match length {
        Some(length) if length <= limits.body => Ok(Framing::Length(length)),
        _ => Err(Fault(413, "the request's body is too long")),
    }
}

fn transfer_coding(headers: &[Header<'_>]) -> Result<Framing, Fault> {
    let mut codings = tokens(headers, "transfer-encoding");
    match (codings.next().as_deref(), codings.next()) {
        (Some("chunked"), None) => Ok(Framing::Chunked),
        _ => Err(Fault(501, "transfer-encoding: expected chunked alone")),
    }
}

fn expects_continue(headers: &[Header<'_>], http_1_1: bool) -> Result<bool, Fault> {
    match tokens(headers, "expect").next().as_deref() {
        None => Ok(false),
        Some("100-continue") => Ok(http_1_1),
        Some(_) => Err(Fault(417, "expect: expected 100-continue")),
    }
}

fn values<'a>(headers: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value)
}

/// A list header's elements, in lower case.
fn tokens<'a>(headers: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = String> {
    values(headers, name)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|token| String::from_utf8_lossy(token.trim_ascii()).to_ascii_lowercase())
}

fn owned(header: &Header<'_>) -> (String, String) {
    let value = String::from_utf8_lossy(header.value).into_owned();
    (header.name.to_owned(), value)
}
