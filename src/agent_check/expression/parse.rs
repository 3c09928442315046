//! Text → steps: recursive descent, no deeper than [`DEPTH_MAX`].

use super::{Binary, DEPTH_MAX, FUNCTIONS, LENGTH_MAX, Step};
use crate::config::fault::quoted;

type Parsed<T = ()> = Result<T, String>;

/// The steps of an expression.
pub fn parse(source: &str) -> Parsed<Vec<Step>> {
    if source.len() > LENGTH_MAX {
        return Err(format!("expected at most {LENGTH_MAX} bytes"));
    }
    let mut parser = Parser {
        source,
        at: 0,
        depth: 0,
        steps: Vec::new(),
    };
    parser.choice()?;
    match parser.rest() {
        "" => Ok(parser.steps),
        rest => Err(parser.unexpected(rest)),
    }
}

struct Parser<'a> {
    source: &'a str,
    at: usize,
    depth: usize,
    steps: Vec<Step>,
}

/// Words that are no names.
const KEYWORDS: [&str; 7] = ["if", "else", "and", "or", "not", "in", "is"];

const COMPARISONS: [(&str, Binary); 6] = [
    ("<=", Binary::LessEqual),
    (">=", Binary::GreaterEqual),
    ("==", Binary::Equal),
    ("!=", Binary::NotEqual),
    ("<", Binary::Less),
    (">", Binary::Greater),
];

/// The longer one first.
const PRODUCTS: [(&str, Binary); 4] = [
    ("//", Binary::FloorDivide),
    ("/", Binary::Divide),
    ("*", Binary::Multiply),
    ("%", Binary::Modulo),
];

const SUMS: [(&str, Binary); 2] = [("+", Binary::Add), ("-", Binary::Subtract)];

impl<'a> Parser<'a> {
    fn choice(&mut self) -> Parsed {
        self.deeper(|parser| {
            let start = parser.steps.len();
            parser.either()?;
            if !parser.word("if") {
                return Ok(());
            }
            // The condition stands behind, and is asked first.
            let then = parser.steps.split_off(start);
            parser.either()?;
            if !parser.word("else") {
                return Err(parser.expected("else"));
            }
            parser.steps.push(Step::Unless(then.len() + 1));
            parser.steps.extend(then);
            let skip = parser.steps.len();
            parser.steps.push(Step::Skip(0));
            parser.choice()?;
            parser.steps[skip] = Step::Skip(parser.steps.len() - skip - 1);
            Ok(())
        })
    }

    fn either(&mut self) -> Parsed {
        self.joined("or", Step::OrElse, Self::both)
    }

    fn both(&mut self) -> Parsed {
        self.joined("and", Step::AndElse, Self::negated)
    }

    fn joined(
        &mut self,
        word: &str,
        step: impl Fn(usize) -> Step,
        part: impl Fn(&mut Self) -> Parsed,
    ) -> Parsed {
        part(self)?;
        while self.word(word) {
            let skip = self.steps.len();
            self.steps.push(Step::Skip(0));
            part(self)?;
            self.steps[skip] = step(self.steps.len() - skip - 1);
        }
        Ok(())
    }

    fn negated(&mut self) -> Parsed {
        if !self.word("not") {
            return self.compared();
        }
        self.deeper(Self::negated)?;
        self.steps.push(Step::Not);
        Ok(())
    }

    fn compared(&mut self) -> Parsed {
        self.sum()?;
        let Some(comparison) = self.comparison() else {
            return Ok(());
        };
        self.sum()?;
        self.steps.push(Step::Binary(comparison));
        let at = self.at;
        if self.comparison().is_some() {
            self.at = at;
            return Err(format!(
                "{}: expected and between two comparisons",
                self.place()
            ));
        }
        Ok(())
    }

    fn comparison(&mut self) -> Option<Binary> {
        let at = self.at;
        if self.word("not") {
            if self.word("in") {
                return Some(Binary::NotIn);
            }
            self.at = at;
            return None;
        }
        if self.word("in") {
            return Some(Binary::In);
        }
        self.sign_of(&COMPARISONS)
    }

    fn sum(&mut self) -> Parsed {
        self.chain(&SUMS, Self::product)
    }

    fn product(&mut self) -> Parsed {
        self.chain(&PRODUCTS, Self::signed)
    }

    fn chain(&mut self, signs: &[(&str, Binary)], part: impl Fn(&mut Self) -> Parsed) -> Parsed {
        part(self)?;
        while let Some(operation) = self.sign_of(signs) {
            part(self)?;
            self.steps.push(Step::Binary(operation));
        }
        Ok(())
    }

    fn signed(&mut self) -> Parsed {
        let step = match (self.sign("-"), self.sign("+")) {
            (true, _) => Step::Negate,
            (_, true) => Step::Plus,
            _ => return self.item(),
        };
        self.deeper(Self::signed)?;
        self.steps.push(step);
        Ok(())
    }

    fn item(&mut self) -> Parsed {
        self.atom()?;
        loop {
            if self.sign("[") {
                self.choice()?;
                self.close("]")?;
                self.steps.push(Step::Index);
            } else if self.sign(".") {
                if !self.word("get") {
                    return Err(self.expected("get: no other method is known"));
                }
                if !self.sign("(") {
                    return Err(self.expected("("));
                }
                self.choice()?;
                match self.sign(",") {
                    true => self.choice()?,
                    false => self.steps.push(Step::None),
                }
                self.close(")")?;
                self.steps.push(Step::Get);
            } else {
                return Ok(());
            }
        }
    }

    fn atom(&mut self) -> Parsed {
        let rest = self.rest();
        match rest.bytes().next() {
            Some(b'(') => {
                self.at += 1;
                self.choice()?;
                self.close(")")
            }
            Some(b'0'..=b'9' | b'.') => self.number(),
            Some(b'\'' | b'"') => self.text(),
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'_' => self.name(),
            _ => Err(self.unexpected(rest)),
        }
    }

    fn number(&mut self) -> Parsed {
        let rest = self.rest();
        let is_part = |(at, c): (usize, char)| {
            let after_e = at > 0 && matches!(rest.as_bytes()[at - 1], b'e' | b'E');
            c.is_ascii_alphanumeric()
                || matches!(c, '.' | '_')
                || (after_e && matches!(c, '+' | '-'))
        };
        let end = rest.char_indices().find(|it| !is_part(*it));
        let digits = &rest[..end.map_or(rest.len(), |(at, _)| at)];
        let is_float = digits.contains(['.', 'e', 'E']);
        let plain = digits.replace('_', "");
        let step = match is_float {
            true => plain
                .parse()
                .ok()
                .filter(|it: &f64| it.is_finite())
                .map(Step::Float),
            false => plain.parse().ok().map(Step::Int),
        };
        let Some(step) = step else {
            return Err(format!(
                "{}: {}: expected a number",
                self.place(),
                quoted(digits)
            ));
        };
        self.at += digits.len();
        self.steps.push(step);
        Ok(())
    }

    fn text(&mut self) -> Parsed {
        let place = self.place();
        let rest = self.rest();
        let mut chars = rest.char_indices();
        let quote = chars.next().map(|(_, quote)| quote);
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            if Some(c) == quote {
                self.at += at + c.len_utf8();
                self.steps.push(Step::Text(text));
                return Ok(());
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            match chars.next() {
                Some((_, c @ ('\\' | '\'' | '"'))) => text.push(c),
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                _ => {
                    return Err(format!(
                        "{place}: expected one of \\\\ \\' \\\" \\n \\t after \\"
                    ));
                }
            }
        }
        Err(format!("{place}: expected the text's other quote"))
    }

    fn name(&mut self) -> Parsed {
        let place = self.place();
        let name = self.peek_word();
        let step = match name {
            "r" => Step::R,
            "None" => Step::None,
            "True" => Step::Bool(true),
            "False" => Step::Bool(false),
            keyword if KEYWORDS.contains(&keyword) => return Err(self.unexpected(name)),
            _ => return self.call(name, &place),
        };
        self.at += name.len();
        self.steps.push(step);
        Ok(())
    }

    fn call(&mut self, name: &str, place: &str) -> Parsed {
        let Some((_, function, takes)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
            let known = FUNCTIONS.map(|(name, ..)| name).join(", ");
            return Err(format!(
                "{place}: {}: expected r or one of {known}",
                quoted(name)
            ));
        };
        self.at += name.len();
        if !self.sign("(") {
            return Err(self.expected("("));
        }
        let mut arguments = 0;
        loop {
            self.choice()?;
            arguments += 1;
            if !self.sign(",") {
                break;
            }
        }
        self.close(")")?;
        if !takes.contains(&arguments) {
            let (least, most) = (takes.start(), takes.end());
            return Err(format!("{place}: {name} takes {least} to {most} arguments"));
        }
        self.steps.push(Step::Call(*function, arguments));
        Ok(())
    }

    // ── Words and signs ────────────────────────────────────────────────────────────────────────

    fn deeper(&mut self, part: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        if self.depth == DEPTH_MAX {
            return Err(format!(
                "{}: expected at most {DEPTH_MAX} levels",
                self.place()
            ));
        }
        self.depth += 1;
        part(self)?;
        self.depth -= 1;
        Ok(())
    }

    /// What is left, without the blanks before it.
    fn rest(&mut self) -> &'a str {
        let rest = &self.source[self.at..];
        let rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        self.at = self.source.len() - rest.len();
        rest
    }

    fn peek_word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        &rest[..end.unwrap_or(rest.len())]
    }

    /// Takes that word, if it is next.
    fn word(&mut self, word: &str) -> bool {
        let is_next = self.peek_word() == word;
        if is_next {
            self.at += word.len();
        }
        is_next
    }

    /// Takes that sign, if it is next.
    fn sign(&mut self, sign: &str) -> bool {
        let is_next = self.rest().starts_with(sign);
        if is_next {
            self.at += sign.len();
        }
        is_next
    }

    fn sign_of(&mut self, signs: &[(&str, Binary)]) -> Option<Binary> {
        let found = signs.iter().find(|(sign, _)| self.sign(sign));
        found.map(|(_, meaning)| *meaning)
    }

    fn close(&mut self, bracket: &str) -> Parsed {
        match self.sign(bracket) {
            true => Ok(()),
            false => Err(self.expected(bracket)),
        }
    }

    fn place(&mut self) -> String {
        self.rest();
        format!("at {}", self.source[..self.at].chars().count() + 1)
    }

    fn expected(&mut self, what: &str) -> String {
        format!("{}: expected {what}", self.place())
    }

    fn unexpected(&mut self, found: &str) -> String {
        match found {
            "" => "expected more at its end".into(),
            found => format!(
                "{}: {}: expected a value or a sign between two",
                self.place(),
                quoted(found)
            ),
        }
    }
}
