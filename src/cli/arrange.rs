//! Words in any order → one command and its options: options before or after the command, `--opt
//! value`, `--opt=value`, `-o value`, `-ovalue`; of a repeated option the last one counts, so that a
//! command line can overrule its `@FILE`. What the values mean is not looked at.

use std::collections::BTreeMap;

use super::at_file::Word;
use super::options::{self, OPTIONS, OptionSpec, Path, Takes};
use crate::config::fault::{HIDDEN, quoted};
use crate::nearest::nearest;

/// An option as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    pub value: Option<String>,
    /// `FILE:LINE` where an `@FILE` brought it.
    pub origin: Option<String>,
}

/// The command line in order.
#[derive(Debug, PartialEq, Eq)]
pub struct Arranged {
    /// As far as its words went; the root where there were none.
    pub command: Path,
    /// By long name.
    pub options: BTreeMap<&'static str, Given>,
    /// Behind a command that takes some.
    pub words: Vec<String>,
}

/// Puts the words in order; the fault is one line.
pub fn arrange(words: Vec<Word>) -> Result<Arranged, String> {
    let mut arranged = Arranged {
        command: Path::ROOT,
        options: BTreeMap::new(),
        words: Vec::new(),
    };
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let at = place(&word);
        let Some((spec, attached)) = option(&word.text).map_err(|fault| at.clone() + &fault)?
        else {
            arranged.plain(word.text).map_err(|fault| at + &fault)?;
            continue;
        };
        let next = words.next_if(|next| attached.is_none() && is_value(spec, &next.text));
        let value = attached.map(str::to_owned).or(next.map(|word| word.text));
        complete(spec, value.as_deref()).map_err(|fault| at + &fault)?;
        let origin = word.origin;
        arranged.options.insert(spec.long, Given { value, origin });
    }
    if arranged.has("help") || arranged.has("version") {
        return Ok(arranged);
    }
    arranged.ends_at_a_command()?;
    arranged.only_own_options()?;
    Ok(arranged)
}

/// True where `word` after the option `spec` is its value. A key that looks like an option or a
/// command is given as `--app-key=KEY`.
pub fn is_value(spec: &OptionSpec, word: &str) -> bool {
    match spec.takes {
        Takes::Nothing => false,
        Takes::Value => !word.starts_with("--"),
        Takes::ValueOrPrompt => !word.starts_with('-') && Path::ROOT.at(word).is_none(),
    }
}

/// The option that a word names, with the value attached to it; `None` for a word that is none.
pub fn option(word: &str) -> Result<Option<(&'static OptionSpec, Option<&str>)>, String> {
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        return match options::by_long(name) {
            Some(spec) => Ok(Some((spec, value))),
            None => Err(format!(
                "unknown option --{name}: did you mean --{}?",
                options::nearest_long(name)
            )),
        };
    }
    let mut letters = word.chars();
    let (Some('-'), Some(short)) = (letters.next(), letters.next()) else {
        return Ok(None);
    };
    let spec = options::by_short(short).ok_or_else(|| {
        let known = OPTIONS.iter().filter_map(|spec| spec.short);
        let known: Vec<String> = known.map(|letter| format!("-{letter}")).collect();
        format!(
            "unknown option -{short}: expected one of {}",
            known.join(" ")
        )
    })?;
    let rest = letters.as_str();
    let value = (!rest.is_empty()).then(|| rest.strip_prefix('=').unwrap_or(rest));
    Ok(Some((spec, value)))
}

/// An option has a value where it takes one, and only there.
fn complete(spec: &OptionSpec, value: Option<&str>) -> Result<(), String> {
    match (spec.takes, value) {
        (Takes::Nothing, Some(_)) => Err(format!("--{}: expected no value", spec.long)),
        (Takes::Value, None) => Err(format!("--{}: expected a value after it", spec.long)),
        _ => Ok(()),
    }
}

fn place(word: &Word) -> String {
    word.origin
        .as_ref()
        .map_or(String::new(), |origin| format!("{origin}: "))
}

impl Arranged {
    /// A word that is no option: the command, or a word behind it. `help` is `--help`.
    fn plain(&mut self, word: String) -> Result<(), String> {
        if word == "help" {
            let (value, origin) = (None, None);
            self.options.insert("help", Given { value, origin });
            return Ok(());
        }
        if self.command.takes_words() {
            self.words.push(word);
            return Ok(());
        }
        if let Some(path) = self.command.at(&word) {
            self.command = path;
            return Ok(());
        }
        let shown = self.shown(&word);
        let below = self.command.below();
        let known = nearest(&word, below.iter().map(|path| path.word()));
        match known.and_then(|known| self.command.at(known)) {
            Some(known) => Err(format!(
                "unknown command {shown}: did you mean {}?",
                known.as_str()
            )),
            None => Err(format!(
                "unexpected {shown} after the command {}",
                self.command.as_str()
            )),
        }
    }

    /// Without a command, it is the default one; a group alone says too little.
    fn ends_at_a_command(&mut self) -> Result<(), String> {
        if self.command == Path::ROOT {
            self.command = Path::DEFAULT;
        }
        let below = self.command.below();
        if below.is_empty() {
            return Ok(());
        }
        let words: Vec<&str> = below.into_iter().map(Path::word).collect();
        Err(format!(
            "{}: expected one of {} after it",
            self.command.as_str(),
            words.join(", ")
        ))
    }

    /// After a bare `--app-key`, a stray word may be the key.
    fn shown(&self, word: &str) -> String {
        match self.options.get("app-key") {
            Some(Given { value: None, .. }) => HIDDEN.into(),
            _ => quoted(word),
        }
    }

    fn only_own_options(&self) -> Result<(), String> {
        for (long, given) in &self.options {
            let spec = options::by_long(long).expect("only known options are kept");
            if spec.owner(self.command).is_none() {
                let at = given
                    .origin
                    .as_ref()
                    .map_or(String::new(), |at| format!("{at}: "));
                let owners = spec.commands.join(" and ");
                let command = self.command.as_str();
                return Err(format!(
                    "{at}--{long} belongs to {owners}, not to {command}"
                ));
            }
        }
        Ok(())
    }

    pub fn has(&self, long: &str) -> bool {
        self.options.contains_key(long)
    }

    /// The words as argh takes them: each option behind the word that it belongs to, those of every
    /// command in front. A bare `--app-key` is left out, see [`Arranged::asks_for_key`].
    pub fn argv(&self) -> Vec<String> {
        if self.has("help") {
            let words = self.command.words().chain(["--help"]);
            return words.map(str::to_owned).collect();
        }
        let mut argv = Vec::new();
        for path in self.command.lineage() {
            argv.extend(path.words().last().map(str::to_owned));
            for (long, given) in &self.options {
                let spec = options::by_long(long).expect("only known options are kept");
                let is_here = spec.owner(self.command) == Some(path);
                if is_here && (spec.takes == Takes::Nothing || given.value.is_some()) {
                    argv.push(format!("--{long}"));
                    argv.extend(given.value.clone());
                }
            }
        }
        // `-` stands for standard input; argh takes it for an option.
        if self.words.iter().any(|word| word.starts_with('-')) {
            argv.push("--".to_owned());
        }
        argv.extend(self.words.iter().cloned());
        argv
    }

    /// True where the application key is to be asked for on the terminal.
    pub fn asks_for_key(&self) -> bool {
        self.options
            .get("app-key")
            .is_some_and(|given| given.value.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Arranged, String> {
        let words = text.split_whitespace().map(|text| Word {
            text: text.into(),
            origin: None,
        });
        arrange(words.collect())
    }

    #[test]
    fn order_and_spelling_do_not_matter() {
        for text in [
            "run --drain --api-url http://h --for 5s",
            "--api-url=http://h --for=5s --drain",
            "-u http://h --drain run --for 5s",
            "-uhttp://h --for 1h --drain --for 5s",
        ] {
            let argv = line(text).expect(text).argv();
            let expected = ["--api-url", "http://h", "run", "--drain", "--for", "5s"];
            assert_eq!(argv, expected, "{text}");
        }
        assert_eq!(line("").expect("nothing").argv(), ["run"]);
        for text in [
            "replay a b -u http://h",
            "-uhttp://h replay a --api-url=http://h b",
        ] {
            let argv = line(text).expect(text).argv();
            assert_eq!(
                argv,
                ["--api-url", "http://h", "replay", "a", "b"],
                "{text}"
            );
        }
        assert_eq!(
            line("help check").expect("help").argv(),
            ["check", "--help"]
        );
    }

    #[test]
    fn commands_of_several_words_stand_in_groups() {
        for text in [
            "consul check register db --ttl 10s --consul-address http://c -u http://h",
            "--ttl 10s --consul-address http://c consul -u http://h check register db",
        ] {
            let argv = line(text).expect(text).argv().join(" ");
            assert_eq!(
                argv,
                "--api-url http://h consul --consul-address http://c check register --ttl 10s db",
                "{text}"
            );
        }
        let argv = |text| line(text).expect(text).argv().join(" ");
        assert_eq!(argv("consul check --help"), "consul check --help");
        assert_eq!(argv("help consul"), "consul --help");
        assert_eq!(
            argv("consul join -t K check"),
            "--app-key K consul join check"
        );
        assert_eq!(
            argv("subscriptions add - --json"),
            "subscriptions add --json -- -"
        );
        assert!(line("-t consul checks").expect("asks").asks_for_key());
    }

    #[test]
    fn a_bare_key_asks() {
        for text in [
            "-t",
            "--app-key",
            "-t run",
            "run -t --drain",
            "-t -u http://h check",
        ] {
            let arranged = line(text).expect(text);
            assert!(arranged.asks_for_key(), "{text}");
            assert!(!arranged.argv().contains(&"--app-key".into()), "{text}");
        }
        for text in [
            "-t K",
            "--app-key=K",
            "--app-key=run",
            "-tK",
            "-t=K",
            "--app-key=-K",
        ] {
            assert!(!line(text).expect(text).asks_for_key(), "{text}");
        }
    }

    #[test]
    fn faults_are_one_helpful_line() {
        for (text, expected) in [
            ("--darin", "unknown option --darin: did you mean --drain?"),
            (
                "--app-kye=hunter2",
                "unknown option --app-kye: did you mean --app-key?",
            ),
            ("-x", "unknown option -x: expected one of -u -t -h -V"),
            ("chekc", "unknown command \"chekc\": did you mean check?"),
            ("rum replay", "unknown command \"rum\": did you mean run?"),
            ("run again", "unexpected \"again\" after the command run"),
            (
                "-t run hunter2",
                "unexpected (hidden) after the command run",
            ),
            ("--lock", "--lock: expected a value after it"),
            ("--lock --drain", "--lock: expected a value after it"),
            ("--drain=yes", "--drain: expected no value"),
            ("check --drain", "--drain belongs to run, not to check"),
            ("--offline", "--offline belongs to check, not to run"),
            (
                "consul chekcs",
                "unknown command \"chekcs\": did you mean consul checks?",
            ),
            (
                "consul service",
                "consul service: expected one of register, deregister after it",
            ),
            ("service", "unknown command \"service\": did you mean sink?"),
            (
                "consul checks db",
                "unexpected \"db\" after the command consul checks",
            ),
            (
                "consul services --drain",
                "--drain belongs to run, not to consul services",
            ),
            (
                "check --consul-address h",
                "--consul-address belongs to consul, not to check",
            ),
        ] {
            assert_eq!(line(text), Err(expected.into()), "{text}");
        }
    }
}
