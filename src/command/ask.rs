//! What commands ask the running agent over its control socket: one request, one answer as a value or
//! as what is wrong.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::http::Response;

/// An agent's loop pauses for milliseconds: one that takes this long hangs.
pub const AT_ONCE: Duration = Duration::from_secs(5);

/// Changes wait for each other, and adding waits for each broker of a failover list in turn.
pub const A_CHANGE: Duration = Duration::from_secs(300);

/// Longer than any shutdown timeout that makes sense.
pub const A_STOP: Duration = Duration::from_secs(24 * 3600);

/// Far more than the largest configuration's status.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// Far more than an answer of the agent has.
const MAX_HEADERS: usize = 16;

/// One request.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    pub method: &'a str,
    /// With its query. Nothing in it is encoded here.
    pub path: &'a str,
    pub body: &'a [u8],
    /// How long the agent may take.
    pub patience: Duration,
}

/// Why a command came to nothing. Displays as the lines to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens at the socket.
    Nobody(String),
    /// Somebody may listen there, but no agent answers.
    NoAnswer(String),
    Refused(Refused),
}

/// The agent's word for why it does not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Begins with the HTTP status; Leek's own code where it has one.
    pub code: String,
    pub why: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Nobody(why) | Fault::NoAnswer(why) => why,
            Fault::Refused(refused) => &refused.why,
        })
    }
}

/// What is at that path, which the agent answers at once.
pub fn get(socket: &Path, path: &str) -> Result<Value, Fault> {
    let call = Call {
        method: "GET",
        path,
        body: b"",
        patience: AT_ONCE,
    };
    ask(socket, &call)
}

/// Sends one request and waits for its answer.
pub fn ask(socket: &Path, call: &Call<'_>) -> Result<Value, Fault> {
    let (status, body) = exchange(socket, call).map_err(|error| no_agent(socket, &error))?;
    understood(status, &body)
        .unwrap_or_else(|| Err(no_agent(socket, &strange("no answer of an agent"))))
}

/// What the agent would answer, where this program does its work.
pub fn told(response: &Response) -> Result<Value, Fault> {
    understood(response.status, &response.body).expect("our own answers are JSON")
}

fn no_agent(socket: &Path, error: &io::Error) -> Fault {
    let path = socket.display();
    let advice = "does the agent run, with this --control-socket, and may this user open it?";
    let why = format!("{path}: {error}: {advice}");
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Fault::Nobody(why),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            Fault::NoAnswer(format!("{path}: no answer in time: does the agent hang?"))
        }
        _ => Fault::NoAnswer(why),
    }
}

/// Status and body.
fn exchange(socket: &Path, call: &Call<'_>) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(call.patience))?;
    stream.set_write_timeout(Some(AT_ONCE))?;
    let mut request = format!(
        "{} {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        call.method,
        call.path,
        call.body.len()
    )
    .into_bytes();
    request.extend_from_slice(call.body);
    stream.write_all(&request)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    if answer.is_empty() {
        return Err(strange("it hung up before it answered"));
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    match (head.parse(&answer), head.code) {
        (Ok(httparse::Status::Complete(length)), Some(code)) => {
            Ok((code, answer.split_off(length)))
        }
        _ => Err(strange("no answer of an agent")),
    }
}

fn strange(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// `None` where no agent answers so.
fn understood(status: u16, body: &[u8]) -> Option<Result<Value, Fault>> {
    if status == 200 {
        return serde_json::from_slice(body).ok().map(Ok);
    }
    let error = serde_json::from_slice(body).map(|answer: Value| answer["error"].clone());
    let error = error.unwrap_or_default();
    let refused = match [&error["code"], &error["message"], &error["reason"]].map(Value::as_str) {
        [Some(code), Some(message), Some(reason)] => {
            // A list of faults begins on a line of its own.
            let space = if reason.contains('\n') { '\n' } else { ' ' };
            Refused {
                code: code.to_owned(),
                why: format!("{message}:{space}{reason}"),
            }
        }
        _ => Refused {
            code: status.to_string(),
            why: format!(
                "answered {status}: {}",
                String::from_utf8_lossy(body).trim()
            ),
        },
    };
    Some(Err(Fault::Refused(refused)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::action::Refusal;
    use serde_json::json;

    #[test]
    fn where_nobody_listens_it_says_so() {
        let fault = get(Path::new("/nowhere/control"), "/v1/status").unwrap_err();
        assert!(matches!(fault, Fault::Nobody(_)), "{fault:?}");
        let text = fault.to_string();
        assert!(text.starts_with("/nowhere/control: "), "{text}");
        assert!(text.contains("does the agent run"), "{text}");
    }

    #[test]
    fn a_refusal_is_told_in_its_own_words() {
        let told = |refusal: &Refusal| told(&refusal.response()).unwrap_err();
        let refused = |code: &str, why: &str| {
            let (code, why) = (code.to_owned(), why.to_owned());
            Fault::Refused(Refused { code, why })
        };
        assert_eq!(
            told(&Refusal::Exists("shop-qa".into())),
            refused("412002", "a subscription of that name exists: shop-qa")
        );
        assert_eq!(
            told(&Refusal::Configuration("subs.json: 2 faults\na\nb".into())),
            refused(
                "422001",
                "the configuration is at fault, nothing was changed:\nsubs.json: 2 faults\na\nb"
            )
        );
    }

    #[test]
    fn other_answers_are_shown_as_they_are() {
        assert_eq!(understood(200, b"{\"a\":1}"), Some(Ok(json!({"a": 1}))));
        assert_eq!(understood(200, b"<html>"), None);
        let Some(Err(fault)) = understood(405, b"expected GET\n") else {
            panic!("405 is no answer");
        };
        assert_eq!(fault.to_string(), "answered 405: expected GET");
    }
}
