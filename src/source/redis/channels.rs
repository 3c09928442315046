//! Which channels carry a subscription's events: what kombu's transport options make of exchange and
//! routing key. Pure.

use crate::config::redis::RedisOptions;

/// What is subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channels {
    /// `PSUBSCRIBE`: one channel a routing key.
    Patterns(Vec<String>),
    /// `SUBSCRIBE`: one channel for all.
    Names(Vec<String>),
}

/// Whether the server is found through sentinels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    ByAddress,
    BySentinels,
}

impl Channels {
    /// kombu before 5.4 forgot to fill in the database's number where sentinels are used; newer
    /// versions may publish on both, so both are heard.
    pub fn new(
        options: &RedisOptions,
        db: u32,
        exchange: &str,
        routing_key: &str,
        found: Found,
    ) -> Self {
        let mut prefixes = vec![options.fanout_prefix.replace("{db}", &db.to_string())];
        if found == Found::BySentinels && prefixes[0] != options.fanout_prefix {
            prefixes.push(options.fanout_prefix.clone());
        }
        let key = &options.global_keyprefix;
        let channels = prefixes
            .iter()
            .map(|prefix| format!("{key}{prefix}{exchange}"));
        if !options.fanout_patterns {
            return Channels::Names(channels.collect());
        }
        // As kombu: AMQP's `#` becomes the `*` of a glob.
        let pattern = escaped(routing_key).replace('#', "*");
        let pattern = pattern.replace("\\*", "*");
        let patterns = channels.map(|channel| format!("{}/{pattern}", escaped(&channel)));
        Channels::Patterns(patterns.collect())
    }

    pub fn names(&self) -> &[String] {
        match self {
            Channels::Patterns(names) | Channels::Names(names) => names,
        }
    }

    /// How many replies the subscription has.
    pub fn count(&self) -> usize {
        self.names().len()
    }

    pub fn subscribe(&self) -> &'static str {
        match self {
            Channels::Patterns(_) => "PSUBSCRIBE",
            Channels::Names(_) => "SUBSCRIBE",
        }
    }

    pub fn unsubscribe(&self) -> &'static str {
        match self {
            Channels::Patterns(_) => "PUNSUBSCRIBE",
            Channels::Names(_) => "UNSUBSCRIBE",
        }
    }
}

/// What a glob would take for a sign stands for itself.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(options: &RedisOptions, db: u32, key: &str, found: Found, expected: &[&str]) {
        let channels = Channels::new(options, db, "celeryev", key, found);
        assert_eq!(channels.names(), expected);
        let patterns = matches!(channels, Channels::Patterns(_));
        assert_eq!(patterns, options.fanout_patterns);
    }

    /// The table of recorded channels: what each option makes a consumer subscribe to.
    #[test]
    fn channels_are_kombus() {
        let plain = RedisOptions::default();
        let by = Found::ByAddress;
        check(&plain, 0, "#", by, &["/0.celeryev/*"]);
        check(&plain, 3, "#", by, &["/3.celeryev/*"]);
        check(&plain, 0, "task.#", by, &["/0.celeryev/task.*"]);
        check(&plain, 0, "*.multi", by, &["/0.celeryev/*.multi"]);
        let prefixed = RedisOptions {
            global_keyprefix: "pfx:".into(),
            ..plain.clone()
        };
        check(&prefixed, 1, "#", by, &["pfx:/1.celeryev/*"]);
        let bare = RedisOptions {
            fanout_prefix: String::new(),
            ..plain.clone()
        };
        check(&bare, 3, "#", by, &["celeryev/*"]);
        let custom = RedisOptions {
            fanout_prefix: "custom_{db}_".into(),
            ..plain.clone()
        };
        check(&custom, 3, "#", by, &["custom_3_celeryev/*"]);
        let single = RedisOptions {
            fanout_patterns: false,
            ..plain.clone()
        };
        check(&single, 3, "#", by, &["/3.celeryev"]);
        let least = RedisOptions {
            fanout_patterns: false,
            ..bare.clone()
        };
        check(&least, 3, "#", by, &["celeryev"]);
    }

    #[test]
    fn sentinels_are_heard_on_both_spellings() {
        let plain = RedisOptions::default();
        let both = ["/2.celeryev/*", "/{db}.celeryev/*"];
        check(&plain, 2, "#", Found::BySentinels, &both);
        let bare = RedisOptions {
            fanout_prefix: String::new(),
            ..plain
        };
        check(&bare, 2, "#", Found::BySentinels, &["celeryev/*"]);
    }

    #[test]
    fn signs_of_a_glob_stand_for_themselves() {
        let options = RedisOptions {
            global_keyprefix: "a*[b]?".into(),
            ..RedisOptions::default()
        };
        check(
            &options,
            0,
            "#",
            Found::ByAddress,
            &["a\\*\\[b\\]\\?/0.celeryev/*"],
        );
    }
}
