//! What Redis refuses, in a technician's words: what was found, what to do. Pure.

/// What was asked when the error came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    Auth,
    Select { db: u32 },
    Subscribe { channels: &'a [String] },
    Other,
}

/// Longest part of a server's own words that is repeated.
const WORDS_MAX: usize = 200;

/// The reason behind an error reply. The server's own words are left out where they may repeat what
/// it was sent: a server that does not know AUTH quotes the password.
pub fn reason(error: &[u8], asked: Asked<'_>) -> String {
    let text = String::from_utf8_lossy(error);
    let words: String = text
        .chars()
        .filter(|c| !c.is_control())
        .take(WORDS_MAX)
        .collect();
    let code = words.split(' ').next().unwrap_or_default();
    match (code, asked) {
        ("WRONGPASS", _) | ("ERR", Asked::Auth) if is_wrong_password(&words) => {
            "access refused: wrong user or password: check both in the broker URL".to_owned()
        }
        ("NOAUTH", _) => "access refused: the server asks for a password: put it into the broker \
                          URL (redis://:PASSWORD@HOST)"
            .to_owned(),
        ("ERR", Asked::Auth) => auth_not_taken(&words).to_owned(),
        ("NOPERM", Asked::Subscribe { channels }) => format!(
            "{words}: give the user +@pubsub +ping, and in this very spelling the channels &{}",
            channels.join(" &")
        ),
        ("NOPERM", _) => format!("{words}: give the user +@connection +@pubsub"),
        ("ERR", Asked::Select { db }) => {
            format!("{words}: the server has no database {db}: check the number in the broker URL")
        }
        ("DENIED", _) => "the server runs in protected mode and takes only clients of its own \
                          machine: set a password there, or turn protected-mode off"
            .to_owned(),
        ("LOADING", _) => "the server is still loading its data".to_owned(),
        ("MASTERDOWN", _) => "the server is a replica whose master is down".to_owned(),
        (code, Asked::Auth) => format!("AUTH refused ({code})"),
        _ if words.contains("max number of clients") => {
            format!("{words}: raise maxclients on the server")
        }
        _ => words,
    }
}

fn is_wrong_password(words: &str) -> bool {
    words.starts_with("WRONGPASS") || words.contains("invalid password")
}

fn auth_not_taken(words: &str) -> &'static str {
    if words.contains("without any password") || words.contains("no password is set") {
        "the server wants no password: take it out of the broker URL"
    } else if words.contains("wrong number of arguments") {
        "the server knows passwords but no users (Redis before 6): leave the user out of the \
         broker URL"
    } else if words.contains("max number of clients") {
        "the server has no room for further clients: raise maxclients there"
    } else {
        "the server does not know AUTH: is it Redis? take user and password out of the broker URL"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_to_do() {
        for (error, asked, expected) in [
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                Asked::Auth,
                "wrong user or password",
            ),
            (
                "ERR invalid password",
                Asked::Auth,
                "wrong user or password",
            ),
            (
                "NOAUTH Authentication required.",
                Asked::Other,
                "asks for a password",
            ),
            (
                "ERR AUTH <password> called without any password configured for the default user.",
                Asked::Auth,
                "take it out",
            ),
            (
                "ERR wrong number of arguments for 'auth' command",
                Asked::Auth,
                "before 6",
            ),
            (
                "ERR DB index is out of range",
                Asked::Select { db: 99 },
                "no database 99",
            ),
            (
                "NOPERM this user has no permissions to access one of the channels",
                Asked::Subscribe {
                    channels: &["/0.celeryev/*".to_owned()],
                },
                "the channels &/0.celeryev/*",
            ),
            ("NOPERM this user", Asked::Other, "give the user"),
            (
                "DENIED Redis is running in protected mode because",
                Asked::Other,
                "protected mode",
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                Asked::Other,
                "still loading",
            ),
            (
                "ERR max number of clients reached",
                Asked::Other,
                "maxclients",
            ),
            (
                "ERR max number of clients reached",
                Asked::Auth,
                "maxclients",
            ),
            ("ERR something", Asked::Other, "ERR something"),
        ] {
            let found = reason(error.as_bytes(), asked);
            assert!(found.contains(expected), "{error}: {found}");
        }
    }

    #[test]
    fn a_quoted_password_is_not_repeated() {
        for error in [
            "ERR unknown command 'AUTH', with args beginning with: 'hunter2'",
            "WHAT hunter2",
        ] {
            let found = reason(error.as_bytes(), Asked::Auth);
            assert!(!found.contains("hunter2"), "{found}");
        }
    }
}
