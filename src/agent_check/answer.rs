//! An answer to an agent check: HAProxy's grammar, and what is meant where several answers disagree.
//!
//! HAProxy takes the last word of each class and says nothing of the others. Here the most careful
//! word wins, wherever it stands: down before up, maint before drain before ready, the lowest weight,
//! the fewest connections.

use std::fmt;

/// What HAProxy keeps of a description, without its final zero.
const DESCRIPTION_MAX: usize = 127;

/// HAProxy reads a larger percentage as this one.
const WEIGHT_MAX: u32 = 25_600;

/// Does the server work? In this order the later word wins, but the three for "no" are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Up,
    Down,
    Stopped,
    Fail,
}

/// May it have new connections? In this order the later word wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Admin {
    Ready,
    Drain,
    Maint,
}

/// What one line says; a class without a word leaves HAProxy's state as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub health: Option<Health>,
    pub admin: Option<Admin>,
    /// Percent of the weight that HAProxy's configuration gives the server.
    pub weight: Option<u32>,
    /// Connections at once; 0 is no limit.
    pub maxconn: Option<u32>,
    /// Why; only beside a health word, as HAProxy has it.
    pub description: Option<String>,
}

const HEALTH: [(&str, Health); 4] = [
    ("up", Health::Up),
    ("down", Health::Down),
    ("stopped", Health::Stopped),
    ("fail", Health::Fail),
];

const ADMIN: [(&str, Admin); 3] = [
    ("ready", Admin::Ready),
    ("drain", Admin::Drain),
    ("maint", Admin::Maint),
];

const EXPECTED: &str = "expected up, down, stopped or fail, ready, drain or maint, N%, maxconn:N, \
                        # and a description, or noop";

impl Answer {
    /// A line that changes nothing.
    pub const NOTHING: Answer = Answer {
        health: None,
        admin: None,
        weight: None,
        maxconn: None,
        description: None,
    };

    /// Only a weight.
    pub fn of_weight(percent: u32) -> Self {
        Answer {
            weight: Some(percent.min(WEIGHT_MAX)),
            ..Answer::NOTHING
        }
    }

    /// Only an admin word.
    pub fn of_admin(word: Admin) -> Self {
        Answer {
            admin: Some(word),
            ..Answer::NOTHING
        }
    }

    /// Reads an answer as somebody wrote it: words in any order and case. `noop` and an empty text
    /// say nothing. The error says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err("expected one line without control characters".into());
        }
        let (words, description) = match text.split_once('#') {
            Some((words, description)) => (words, Some(description.trim())),
            None => (text, None),
        };
        let mut answer = Answer::NOTHING;
        let words = words.split([' ', '\t', ',']);
        let words: Vec<String> = words
            .filter(|word| !word.is_empty())
            .map(str::to_ascii_lowercase)
            .collect();
        if words != ["noop"] {
            words.iter().try_for_each(|word| answer.take(word))?;
        }
        answer.describe(description)?;
        Ok(answer)
    }

    fn take(&mut self, word: &str) -> Result<(), String> {
        let is_new = if let Some(health) = named(word, &HEALTH) {
            set(&mut self.health, Some(health))
        } else if let Some(admin) = named(word, &ADMIN) {
            set(&mut self.admin, Some(admin))
        } else if let Some(number) = word.strip_prefix("maxconn:") {
            set(&mut self.maxconn, whole(number))
        } else if let Some(percent) = word.strip_suffix('%') {
            let percent = percent.strip_prefix("weight:").unwrap_or(percent);
            let percent = whole(percent).map(|percent| percent.min(WEIGHT_MAX));
            set(&mut self.weight, percent)
        } else {
            None
        };
        match is_new {
            Some(true) => Ok(()),
            Some(false) => {
                Err("expected one word of each class: HAProxy heeds the last only".into())
            }
            None if word.starts_with("weight:") => {
                Err("expected N%: a weight by itself is known from HAProxy 3.1 on only".into())
            }
            None => Err(EXPECTED.into()),
        }
    }

    fn describe(&mut self, description: Option<&str>) -> Result<(), String> {
        let Some(text) = description else {
            return Ok(());
        };
        if self.health.is_none() {
            return Err(
                "expected up, down, stopped or fail before #: HAProxy shows a description \
                        with one of them only"
                    .into(),
            );
        }
        if text.len() > DESCRIPTION_MAX {
            return Err(format!("expected at most {DESCRIPTION_MAX} bytes after #"));
        }
        self.description = Some(text.into()).filter(|text: &String| !text.is_empty());
        Ok(())
    }

    /// Both at once: of each class the most careful word. Of equally careful health words, ours stays,
    /// and a description goes with its word.
    pub fn and(self, other: Answer) -> Answer {
        let care = |answer: &Answer| match answer.health {
            None => 0,
            Some(Health::Up) => 1,
            Some(Health::Down | Health::Stopped | Health::Fail) => 2,
        };
        let only_theirs = self.health == other.health && self.description.is_none();
        let theirs = care(&other) > care(&self) || only_theirs;
        let (health, description) = match theirs {
            true => (other.health, other.description),
            false => (self.health, self.description),
        };
        Answer {
            health,
            description,
            admin: self.admin.max(other.admin),
            weight: least(self.weight, other.weight, |weight| weight),
            // Without a limit there may be the most.
            maxconn: least(self.maxconn, other.maxconn, |most| most.wrapping_sub(1)),
        }
    }
}

/// The one of both that is least by that measure, or the only one.
fn least(one: Option<u32>, other: Option<u32>, measure: impl Fn(u32) -> u32) -> Option<u32> {
    [one, other]
        .into_iter()
        .flatten()
        .min_by_key(|it| measure(*it))
}

/// Sets a class that has no word yet; nothing where the word means nothing.
fn set<T>(class: &mut Option<T>, meaning: Option<T>) -> Option<bool> {
    let meaning = meaning?;
    let is_new = class.is_none();
    *class = Some(meaning);
    Some(is_new)
}

fn named<T: Copy>(word: &str, words: &[(&str, T)]) -> Option<T> {
    let found = words.iter().find(|(known, _)| *known == word);
    found.map(|(_, meaning)| *meaning)
}

/// Digits only: no sign, as HAProxy would read one.
fn whole(text: &str) -> Option<u32> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // HAProxy keeps it in an int.
    text.parse()
        .ok()
        .filter(|it| is_plain && *it <= i32::MAX as u32)
}

/// The line without its end; empty where there is nothing to say.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn word<T: PartialEq>(meaning: &Option<T>, words: &[(&str, T)]) -> Option<String> {
            let found = words
                .iter()
                .find(|(_, known)| Some(known) == meaning.as_ref());
            found.map(|(word, _)| (*word).to_owned())
        }
        let words = [
            word(&self.health, &HEALTH),
            word(&self.admin, &ADMIN),
            self.weight.map(|percent| format!("{percent}%")),
            self.maxconn.map(|most| format!("maxconn:{most}")),
            self.description.as_ref().map(|text| format!("# {text}")),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expect: Result<&str, &str>) {
        let answer = Answer::parse(text).map(|answer| answer.to_string());
        match (&answer, expect) {
            (Ok(line), Ok(expected)) => assert_eq!(line, expected, "{text}"),
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{text}: {reason}"),
            _ => panic!("{text}: {answer:?}, not {expect:?}"),
        }
    }

    #[test]
    fn haproxys_grammar_is_kept() {
        check("", Ok(""));
        check("noop", Ok(""));
        check("up", Ok("up"));
        check("50% UP", Ok("up 50%"));
        check("ready,up\t75%", Ok("up ready 75%"));
        check(
            "down # too many, of # them",
            Ok("down # too many, of # them"),
        );
        check("stopped #", Ok("stopped"));
        check("fail#why", Ok("fail # why"));
        check("maxconn:30 drain", Ok("drain maxconn:30"));
        check("weight:30%", Ok("30%"));
        check("99999%", Ok("25600%"));
        for unknown in [
            "failed",
            "dwon",
            "5",
            "-5%",
            "+5%",
            "%",
            "maxconn:",
            "maxconn:-1",
            "50 %",
        ] {
            check(unknown, Err("expected up, down"));
        }
        check("noop up", Err("expected up, down"));
        check("weight:30", Err("HAProxy 3.1"));
        check("up down", Err("one word of each class"));
        check("# only words", Err("before #"));
        check("drain # why", Err("before #"));
        check("up\ndown", Err("one line"));
        check(&format!("up #{}", "x".repeat(128)), Err("127 bytes"));
    }

    #[track_caller]
    fn both(one: &str, other: &str, expect: &str) {
        let answers = [one, other].map(|text| Answer::parse(text).expect("an answer"));
        let [one, other] = answers;
        assert_eq!(one.and(other).to_string(), expect);
    }

    #[test]
    fn the_most_careful_word_wins_wherever_it_stands() {
        for (one, other, expect) in [
            ("up", "down # why", "down # why"),
            ("down # one", "fail # other", "down # one"),
            ("up", "up # fine", "up # fine"),
            ("", "up # fine", "up # fine"),
            ("maint", "drain", "maint"),
            ("ready", "drain", "drain"),
            ("80%", "20%", "20%"),
            ("0%", "", "0%"),
            ("maxconn:0", "maxconn:10", "maxconn:10"),
            ("up ready 100%", "drain 0%", "up drain 0%"),
        ] {
            both(one, other, expect);
        }
        both("drain", "maint", "maint");
        both("down", "up # fine", "down");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(text in ".{0,80}") {
            if let Ok(answer) = Answer::parse(&text) {
                let line = answer.to_string();
                prop_assert!(!line.contains(['\r', '\n']));
                prop_assert_eq!(Answer::parse(&line), Ok(answer));
            }
        }
    }
}
