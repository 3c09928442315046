//! What Leek reads out of a traceback: language, error type and message, and the text to search.

use std::borrow::Cow;

use crate::python::text;

/// Code points of a traceback that Leek looks at.
const MAX_LENGTH: usize = 30_000;
const RETRY: &[u8] = b"celery.exceptions.Retry:";
const HEADER: &[u8] = b"Traceback (most recent call last):";

/// The derived fields of a traceback. Texts are generalised UTF-8.
#[derive(Debug, PartialEq)]
pub struct Analysis<'a> {
    /// What the document has as `traceback`.
    pub traceback: &'a [u8],
    pub lang: &'static str,
    pub error_type: &'a [u8],
    pub message: Cow<'a, [u8]>,
    /// The same text stands in three places of the document.
    pub trace: Cow<'a, [u8]>,
}

impl<'a> Analysis<'a> {
    /// Without anything that a traceback or an exception says. The error's type stays where the
    /// exception begins with it: else it may be part of a message of several lines.
    pub fn redacted(self, exception: Option<&[u8]>, mark: &'a [u8]) -> Self {
        let is_type = RETRY.strip_suffix(b":") == Some(self.error_type)
            || exception.is_some_and(|exception| is_instance(exception, self.error_type));
        Analysis {
            traceback: mark,
            lang: self.lang,
            error_type: if is_type { self.error_type } else { b"" },
            message: mark.into(),
            trace: mark.into(),
        }
    }
}

/// Whether `exception` reads `Name(…)` for an error type `module.Name`.
fn is_instance(exception: &[u8], error_type: &[u8]) -> bool {
    let name = error_type.rsplit(|&byte| byte == b'.').next();
    let rest = name.and_then(|name| exception.strip_prefix(name));
    !error_type.is_empty() && rest.is_some_and(|rest| rest.starts_with(b"("))
}

/// Reads a traceback, with the exception that its event names.
pub fn analyse<'a>(traceback: &'a [u8], exception: Option<&'a [u8]>) -> Analysis<'a> {
    if contains(traceback, RETRY) {
        return retry(traceback, exception);
    }
    let trace = text::cut(traceback, MAX_LENGTH);
    if !is_python(trace) {
        let nothing = &b""[..];
        return Analysis {
            traceback: trace,
            lang: "unknown",
            error_type: nothing,
            message: nothing.into(),
            trace: trace.into(),
        };
    }
    let (error_type, message) = last_error(trace).unwrap_or_default();
    Analysis {
        traceback: trace,
        lang: "python",
        error_type,
        message: message.into(),
        trace: trace.into(),
    }
}

/// A task that asks for another try: its exception says more than the traceback of Celery.
fn retry<'a>(traceback: &'a [u8], exception: Option<&'a [u8]>) -> Analysis<'a> {
    let shown = text::cut(exception.unwrap_or(b"None"), MAX_LENGTH);
    let trace = [b"celery.exceptions.Retry: ", shown].concat();
    Analysis {
        traceback,
        lang: "python",
        error_type: b"celery.exceptions.Retry",
        message: text::cut(exception.unwrap_or_default(), MAX_LENGTH).into(),
        trace: text::cut(&trace, MAX_LENGTH).to_vec().into(),
    }
}

/// Whether some line starts with Python's header, after optional white space. Only `\n` ends a
/// line here.
fn is_python(trace: &[u8]) -> bool {
    let mut from = 0;
    while let Some(found) = find(&trace[from..], HEADER) {
        // What lies before an earlier header cannot be blank up to this one.
        let before = &trace[from..from + found];
        let line = before
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map(|end| &before[end + 1..]);
        let line = if from == 0 {
            Some(line.unwrap_or(before))
        } else {
            line
        };
        if line.is_some_and(|line| text::strip_start(line).is_empty()) {
            return true;
        }
        from += found + HEADER.len();
    }
    false
}

/// Type and message in the last line: `pkg.Error: message`.
fn last_error(trace: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = text::strip_start(text::last_line(text::strip_end(trace)));
    let colon = dotted_name(line)?;
    let (name, rest) = line.split_at(colon);
    Some((name, text::strip_start(rest.strip_prefix(b":")?)))
}

/// The length of the dotted name at the start of a line.
fn dotted_name(line: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        if !line
            .get(at)
            .is_some_and(|&byte| byte.is_ascii_alphabetic() || byte == b'_')
        {
            return None;
        }
        while let Some((_, length)) =
            text::first(&line[at..]).filter(|&(point, _)| text::is_word(point))
        {
            at += length;
        }
        if line.get(at) != Some(&b'.') {
            return Some(at);
        }
        at += 1;
    }
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    find(text, needle).is_some()
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    // Both needles start with a letter that is rare enough to look for alone.
    let mut from = 0;
    loop {
        from += text
            .get(from..)?
            .iter()
            .position(|byte| *byte == needle[0])?;
        if text[from..].starts_with(needle) {
            return Some(from);
        }
        from += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(traceback: &str) -> (&'static str, String, String) {
        let analysis = analyse(traceback.as_bytes(), None);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (
            analysis.lang,
            text(analysis.error_type),
            text(&analysis.message),
        )
    }

    fn check(last_lines: &str, expected: (&str, &str)) {
        let text = format!("Traceback (most recent call last):\n  File \"a\"\n{last_lines}");
        let (lang, kind, message) = error(&text);
        assert_eq!(
            (lang, kind.as_str(), message.as_str()),
            ("python", expected.0, expected.1),
            "{text:?}"
        );
    }

    #[test]
    fn the_last_line_names_the_error() {
        check("a.B_9: boom \n\n", ("a.B_9", "boom"));
        check("ValueError", ("", ""));
        check("ValueError :x", ("", ""));
        check("Err: one\nDetail: two", ("Detail", "two"));
        check("Err: msg\u{2028}more", ("", ""));
        check("\u{a0}Erré:\u{3000}x", ("Erré", "x"));
        check("a.É: x", ("", ""));
        check("a.: x", ("", ""));
    }

    #[test]
    fn a_header_must_start_a_line() {
        assert_eq!(
            error("x\n \n\tTraceback (most recent call last):").0,
            "python"
        );
        assert_eq!(
            error("\u{a0}Traceback (most recent call last):").0,
            "python"
        );
        assert_eq!(error("x\rTraceback (most recent call last):").0, "unknown");
        let twice = "xTraceback (most recent call last): Traceback (most recent call last):";
        assert_eq!(error(twice).0, "unknown");
    }

    #[test]
    fn a_retry_shows_its_exception() {
        let analysis = analyse(b"celery.exceptions.Retry: x", Some(b"E()"));
        assert_eq!(analysis.message, &b"E()"[..]);
        assert_eq!(analysis.trace, &b"celery.exceptions.Retry: E()"[..]);
        let analysis = analyse(b"celery.exceptions.Retry: x", None);
        assert_eq!(analysis.trace, &b"celery.exceptions.Retry: None"[..]);
    }
}
