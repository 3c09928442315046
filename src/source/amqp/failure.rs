//! Why a broker connection failed, in a technician's words: what was found, what to do.

use std::io;

use amiquip::Error;

use super::HEARTBEAT;
use crate::clock;
use crate::config::Login;
use crate::tls;

/// The subscription's key for what TLS needs.
const TLS_KEY: &str = "tls";

/// The reason of an amiquip error. Its URL errors, which may print a password, cannot occur: no URL
/// is ever given to it. `login` is how it was tried.
pub fn reason(error: &Error, login: Login) -> String {
    match error {
        Error::InvalidCredentials if login == Login::Certificate => {
            "access refused: the broker has no user for the client certificate: \
             create one by the name that its ssl_cert_login_from takes from it"
                .to_owned()
        }
        Error::InvalidCredentials => {
            "access refused: the broker took neither user nor password: check both in the broker URL".to_owned()
        }
        Error::ServerClosedConnection { code, message } | Error::ServerClosedChannel { code, message, .. } => {
            closed(*code, message)
        }
        Error::MissedServerHeartbeats => {
            format!("the broker was silent for {} s: it hangs, or the network is cut", 2 * HEARTBEAT.as_secs())
        }
        Error::ConnectionTimeout => {
            "the broker took the connection but did not greet in time: is this RabbitMQ's port for AMQP, and not the one of its web page?".to_owned()
        },
        Error::UnexpectedSocketClose => "the broker closed the connection".to_owned(),
        Error::IoErrorReadingSocket { source } | Error::IoErrorWritingSocket { source } => {
            tls::cause(source).map_or_else(|| source.to_string(), encrypted)
        }
        Error::UnsupportedAuthMechanism { available, .. } if login == Login::Certificate => format!(
            "the broker offers the logins {available}: expected EXTERNAL: \
             enable its plugin rabbitmq_auth_mechanism_ssl, and EXTERNAL among its auth_mechanisms"
        ),
        Error::UnsupportedAuthMechanism { available, .. } => {
            format!("the broker offers the logins {available}: expected PLAIN")
        }
        Error::IoThreadPanic => "the AMQP client failed on what the broker sent".to_owned(),
        other => other.to_string(),
    }
}

fn closed(code: u16, message: &str) -> String {
    let mend = match code {
        320 => ": an operator closed it, or the broker shuts down",
        403 => ": give the user the permissions configure, write and read on queue and exchange",
        404 => ": the queue or exchange does not exist",
        405 => ": another client has the queue for itself",
        530 => ": check the vhost in the broker URL and the user's permission for it",
        _ => "",
    };
    format!("{message} ({code}){mend}")
}

fn encrypted(error: &rustls::Error) -> String {
    tls::reason(error, TLS_KEY, clock::wall_ms())
}

/// Why a TCP connection did not become a TLS one.
pub fn handshake(address: &str, error: &io::Error) -> String {
    let reason = match tls::cause(error) {
        Some(cause) => encrypted(cause),
        None => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                "tls: no answer in time: does this port speak TLS? amqps is 5671 as a rule".to_owned()
            }
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                "tls: closed during the handshake: does this port speak TLS? amqps is 5671 as a rule"
                    .to_owned()
            }
            _ => format!("tls: {error}"),
        },
    };
    format!("{address}: {reason}")
}

/// Why no TCP connection came about.
pub fn unreachable(address: &str, error: &io::Error) -> String {
    let mend = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "nothing listens there: is the broker running, is the port right?"
        }
        io::ErrorKind::TimedOut => "no answer: is the address right, does a firewall drop it?",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "no route: is the network up?"
        }
        _ => return format!("{address}: {error}"),
    };
    format!("{address}: {error}: {mend}")
}
