//! Why a broker connection failed, in a technician's words: what was found, what to do.

use std::io;

use amiquip::Error;

use super::HEARTBEAT;

/// The reason of an amiquip error. Its URL errors, which may print a password, cannot occur: no URL
/// is ever given to it.
pub fn reason(error: &Error) -> String {
    match error {
        Error::InvalidCredentials => {
            "access refused: the broker took neither user nor password: check both in the broker URL".to_owned()
        }
        Error::ServerClosedConnection { code, message } | Error::ServerClosedChannel { code, message, .. } => {
            closed(*code, message)
        }
        Error::MissedServerHeartbeats => {
            format!("the broker was silent for {} s: it hangs, or the network is cut", 2 * HEARTBEAT.as_secs())
        }
        Error::ConnectionTimeout => "the broker took the connection but did not greet in time".to_owned(),
        Error::UnexpectedSocketClose => "the broker closed the connection".to_owned(),
        Error::IoErrorReadingSocket { source } | Error::IoErrorWritingSocket { source } => source.to_string(),
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
