//! From what a source says to an answer: patterns first, then thresholds, each list's first that
//! matches; where none does, the default.

use regex_lite::{Regex, RegexBuilder};

use super::answer::Answer;
use super::expression::{Expression, Term};
use crate::json::loads;
use crate::python::value::Value;

/// Bytes of a compiled pattern: they are small, and none may take a gateway's memory.
const PATTERN_MAX: usize = 64 * 1024;

/// What comes after `drain:` in `drain: ">7000"`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    operator: Operator,
    number: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// The longer ones first.
const OPERATORS: [(&str, Operator); 6] = [
    (">=", Operator::GreaterEqual),
    ("<=", Operator::LessEqual),
    ("!", Operator::NotEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
    ("=", Operator::Equal),
];

impl Limit {
    pub const EXPECTED: &str =
        "expected a number, with !, <, <=, >, >= or = before it where it is not to be equal";

    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let found = OPERATORS
            .iter()
            .find_map(|(sign, operator)| Some((*operator, text.strip_prefix(sign)?)));
        let (operator, number) = found.unwrap_or((Operator::Equal, text));
        let number = number.trim();
        let is_plain = number
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"-.".contains(&byte));
        let number = number.parse().ok().filter(|_| is_plain)?;
        Some(Limit { operator, number })
    }

    fn holds(self, value: f64) -> bool {
        match self.operator {
            Operator::Equal => value == self.number,
            Operator::NotEqual => value != self.number,
            Operator::Less => value < self.number,
            Operator::LessEqual => value <= self.number,
            Operator::Greater => value > self.number,
            Operator::GreaterEqual => value >= self.number,
        }
    }
}

/// One threshold.
#[derive(Debug, Clone, PartialEq)]
pub enum Threshold {
    /// That answer while the value is so.
    Answer(Answer, Limit),
    /// What is left of `full`, in percent; `least` percent where nothing is left. Always matches.
    Percent { full: f64, least: u32 },
}

impl Threshold {
    fn answer(&self, value: f64) -> Option<Answer> {
        match self {
            Threshold::Answer(answer, limit) => limit.holds(value).then(|| answer.clone()),
            Threshold::Percent { full, least } => {
                let left = 100.0 - value / full * 100.0;
                // Cut off, as Python's int() does; a cast stays within its bounds.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let percent = if left < 1.0 { *least } else { left as u32 };
                Some(Answer::of_weight(percent))
            }
        }
    }
}

/// That answer where a text begins so.
#[derive(Debug, Clone)]
pub struct Pattern {
    answer: Answer,
    regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.answer, self.regex.as_str()) == (&other.answer, other.regex.as_str())
    }
}

impl Pattern {
    /// The error says what is wrong with the expression.
    pub fn new(answer: Answer, source: &str) -> Result<Self, String> {
        // Checked by itself first: `)|(` would be closed by what stands around it.
        compiled(source)?;
        let regex = compiled(&format!(r"\A(?:{source})"))?;
        Ok(Pattern { answer, regex })
    }
}

fn compiled(source: &str) -> Result<Regex, String> {
    let regex = RegexBuilder::new(source).size_limit(PATTERN_MAX).build();
    regex.map_err(|error| format!("expected a regular expression: {error}"))
}

/// Everything that one plugin answers by.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    pub is_json: bool,
    pub patterns_metric: Expression,
    pub patterns: Vec<Pattern>,
    pub thresholds_metric: Expression,
    pub thresholds: Vec<Threshold>,
    pub default: Answer,
}

impl Rules {
    /// The answer to what a source said; the error says why there is none.
    pub fn judge(&self, said: &[u8]) -> Result<Answer, String> {
        let said = said.strip_prefix(b"\xef\xbb\xbf").unwrap_or(said);
        if self.is_json {
            let r = loads::orjson(said).map_err(|error| format!("not JSON: {error}"))?;
            return self.judge_value(&r);
        }
        let text = String::from_utf8_lossy(said);
        self.judge_value(&Value::Str(text.as_bytes().into()))
    }

    /// As [`Rules::judge`], of what is understood already.
    pub fn judge_value(&self, r: &Value<'_>) -> Result<Answer, String> {
        let pattern = match self.patterns.is_empty() {
            true => None,
            false => self.by_pattern(&value(&self.patterns_metric, "patterns_metric", r)?),
        };
        let threshold = match self.thresholds.is_empty() {
            true => None,
            false => self.by_threshold(&value(&self.thresholds_metric, "thresholds_metric", r)?)?,
        };
        Ok(match (pattern, threshold) {
            (Some(pattern), Some(threshold)) => pattern.and(threshold),
            (one, other) => one.or(other).unwrap_or_else(|| self.default.clone()),
        })
    }

    fn by_pattern(&self, value: &Term<'_>) -> Option<Answer> {
        let text = value.shown();
        // Python's $ matches before a text's last line feed, too, and files end with one.
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let found = self
            .patterns
            .iter()
            .find(|pattern| pattern.regex.is_match(text));
        found.map(|pattern| pattern.answer.clone())
    }

    fn by_threshold(&self, value: &Term<'_>) -> Result<Option<Answer>, String> {
        let number = value.number().filter(|number| number.is_finite());
        let Some(number) = number else {
            let (metric, kind) = (&self.thresholds_metric, value.kind());
            return Err(format!(
                "thresholds_metric: {metric}: expected a number, found {kind}"
            ));
        };
        Ok(self.thresholds.iter().find_map(|it| it.answer(number)))
    }
}

fn value<'a>(metric: &'a Expression, name: &str, r: &'a Value<'a>) -> Result<Term<'a>, String> {
    let value = metric.value(r);
    value.map_err(|reason| format!("{name}: {metric}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        Answer::parse(text).expect("an answer")
    }

    fn rules(metric: &str, thresholds: &[(&str, &str)], patterns: &[(&str, &str)]) -> Rules {
        let threshold = |(action, limit): &(&str, &str)| match action.strip_prefix("pct:") {
            Some(least) => Threshold::Percent {
                full: limit.parse().unwrap(),
                least: least.parse().unwrap(),
            },
            None => Threshold::Answer(answer(action), Limit::parse(limit).unwrap()),
        };
        let pattern = |(action, regex): &(&str, &str)| Pattern::new(answer(action), regex).unwrap();
        Rules {
            is_json: true,
            patterns_metric: Expression::parse("r['health']").unwrap(),
            patterns: patterns.iter().map(pattern).collect(),
            thresholds_metric: Expression::parse(metric).unwrap(),
            thresholds: thresholds.iter().map(threshold).collect(),
            default: answer("ready"),
        }
    }

    #[track_caller]
    fn check(rules: &Rules, said: &str, expect: Result<&str, &str>) {
        let answer = rules
            .judge(said.as_bytes())
            .map(|answer| answer.to_string());
        match (&answer, expect) {
            (Ok(line), Ok(expected)) => assert_eq!(line, expected, "{said}"),
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{said}: {reason}"),
            _ => panic!("{said}: {answer:?}, not {expect:?}"),
        }
    }

    #[test]
    fn the_first_threshold_that_holds_wins() {
        let list = [
            ("drain", ">7000"),
            ("down", "0"),
            ("up", "<=10"),
            ("maint", "!11"),
        ];
        let rules = rules("r['n'] * 2", &list, &[]);
        check(&rules, r#"{"n": 3501}"#, Ok("drain"));
        check(&rules, r#"{"n": 3500}"#, Ok("maint"));
        check(&rules, r#"{"n": 0}"#, Ok("down"));
        check(&rules, r#"{"n": 5}"#, Ok("up"));
        check(&rules, r#"{"n": 5.5}"#, Ok("ready"));
        check(&rules, r#"{"n": false}"#, Ok("down"));
        check(&rules, r#"{"n": "5"}"#, Err("found a text"));
        check(
            &rules,
            r#"{"m": 5}"#,
            Err("thresholds_metric: r['n'] * 2: nothing has the name"),
        );
        check(&rules, r#"{"n": 5"#, Err("not JSON"));
        check(&rules, "", Err("not JSON"));
    }

    #[test]
    fn percentages_are_what_is_left() {
        let rules = rules("r", &[("pct:1", "7000")], &[]);
        for (value, expect) in [
            ("0", "100%"),
            ("3500", "50%"),
            ("6900", "1%"),
            ("6999", "1%"),
            ("7000", "1%"),
            ("99999999", "1%"),
            ("-7000", "200%"),
            ("-1e300", "25600%"),
        ] {
            check(&rules, value, Ok(expect));
        }
        let endless = super::tests::rules("r * 1e300 * 1e300", &[("pct:1", "10")], &[]);
        check(&endless, "1", Err("expected a number"));
        check(
            &super::tests::rules("r", &[("pct:0", "10")], &[]),
            "10",
            Ok("0%"),
        );
    }

    #[test]
    fn patterns_match_from_the_start_and_stand_beside_thresholds() {
        let patterns = [
            ("ready", ".*healthy"),
            ("down", "un|sick$"),
            ("50%", "half"),
        ];
        let mut rules = rules("r['n']", &[("drain", ">5"), ("pct:1", "10")], &patterns);
        check(
            &rules,
            r#"{"health": "so healthy", "n": 5}"#,
            Ok("ready 50%"),
        );
        check(&rules, r#"{"health": "so healthy", "n": 6}"#, Ok("drain"));
        check(&rules, r#"{"health": "sick\n", "n": 6}"#, Ok("down drain"));
        check(&rules, r#"{"health": "is sick", "n": 6}"#, Ok("drain"));
        check(&rules, r#"{"health": "half", "n": 2}"#, Ok("50%"));
        rules.thresholds.clear();
        check(&rules, r#"{"health": "is sick"}"#, Ok("ready"));
        check(&rules, r#"{"health": null}"#, Ok("ready"));
        rules.is_json = false;
        rules.patterns_metric = Expression::parse("r").unwrap();
        check(&rules, "unhealthy\n", Ok("ready"));
        check(&rules, "unwell\n", Ok("down"));
    }

    #[test]
    fn limits_are_read_whole() {
        for (text, holds) in [(" >= 5 ", 5.0), ("<-1.5", -2.0), ("=7", 7.0), ("!7", 8.0)] {
            assert!(
                Limit::parse(text).is_some_and(|limit| limit.holds(holds)),
                "{text}"
            );
        }
        for text in [
            "", ">", "=>5", "5%", "7000abc", "nan", "inf", "1e5", "--1", "<>5",
        ] {
            assert_eq!(Limit::parse(text), None, "{text}");
        }
    }

    #[test]
    fn patterns_that_cannot_be_are_told() {
        for source in ["(", ")|(", "(?=a)", r"(a)\1", "a{1000}{1000}"] {
            let reason = Pattern::new(Answer::NOTHING, source).expect_err(source);
            assert!(
                reason.starts_with("expected a regular expression: "),
                "{reason}"
            );
        }
    }
}
