//! `@FILE` on the command line: replaced by the words in that file, split as a POSIX shell splits
//! them (quotes, backslashes, `#` comments), nothing expanded. An `@FILE` inside such a file is
//! refused: two levels are where command lines stop being readable.

use std::ffi::OsString;
use std::path::Path;

use crate::small_file;

/// One word of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    /// `FILE:LINE` for a word that an `@FILE` brought.
    pub origin: Option<String>,
}

/// The command line's words, every `@FILE` replaced.
pub fn expand(args: &[OsString]) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    for (index, arg) in args.iter().enumerate() {
        let text = arg
            .to_str()
            .ok_or_else(|| format!("argument {}: expected UTF-8", index + 1))?;
        match text.strip_prefix('@') {
            Some(file) => words.extend(words_of_file(file)?),
            None => words.push(Word {
                text: text.into(),
                origin: None,
            }),
        }
    }
    Ok(words)
}

/// The words of one line, as a shell would take it apart; `None` where a quote is not closed.
pub fn words(line: &str) -> Option<Vec<String>> {
    let words = split(line).ok()?;
    Some(words.into_iter().map(|(_, word)| word).collect())
}

fn words_of_file(file: &str) -> Result<Vec<Word>, String> {
    if file.is_empty() {
        return Err("@: expected a file's name after it".into());
    }
    let text = small_file::read_text(file.as_ref()).map_err(|error| format!("@{file}: {error}"))?;
    let name = Path::new(file).display();
    let lines = split(&text).map_err(|line| format!("{name}:{line}: a quote is not closed"))?;
    lines
        .into_iter()
        .map(|(line, text)| {
            let origin = format!("{name}:{line}");
            if text.starts_with('@') {
                return Err(format!("{origin}: an @FILE inside an @FILE is not read"));
            }
            Ok(Word {
                text,
                origin: Some(origin),
            })
        })
        .collect()
}

/// Words with the line they start on; `Err` is the line of a quote that never closes.
fn split(text: &str) -> Result<Vec<(usize, String)>, usize> {
    let mut words = Vec::new();
    let mut line = 1;
    let mut word: Option<(usize, String)> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let start = line;
        match c {
            '\n' | ' ' | '\t' | '\r' => words.extend(word.take()),
            '#' if word.is_none() => {
                chars.by_ref().find(|c| *c == '\n');
                line += 1;
            }
            '\\' if chars.as_str().starts_with('\n') => {
                chars.next();
                line += 1;
            }
            _ => {
                let (_, text) = word.get_or_insert_with(|| (start, String::new()));
                match c {
                    '\'' => single_quoted(&mut chars, text, &mut line).ok_or(start)?,
                    '"' => double_quoted(&mut chars, text, &mut line).ok_or(start)?,
                    '\\' => text.push(chars.next().unwrap_or(c)),
                    other => text.push(other),
                }
            }
        }
        line += usize::from(c == '\n');
    }
    words.extend(word);
    Ok(words)
}

/// Everything up to the next `'`, as it is.
fn single_quoted(
    chars: &mut std::str::Chars<'_>,
    text: &mut String,
    line: &mut usize,
) -> Option<()> {
    loop {
        match chars.next()? {
            '\'' => return Some(()),
            c => {
                *line += usize::from(c == '\n');
                text.push(c);
            }
        }
    }
}

/// Up to the next `"`; a backslash counts before `"`, `\`, `$`, `` ` `` and a newline only.
fn double_quoted(
    chars: &mut std::str::Chars<'_>,
    text: &mut String,
    line: &mut usize,
) -> Option<()> {
    loop {
        match chars.next()? {
            '"' => return Some(()),
            '\\' => match chars.next()? {
                '\n' => *line += 1,
                c @ ('"' | '\\' | '$' | '`') => text.push(c),
                c => text.extend(['\\', c]),
            },
            c => {
                *line += usize::from(c == '\n');
                text.push(c);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_a_shell_does() {
        let text = "--drain # not a word\n\n  --lock '/run/a b'\n--for=\"1\\\"h\\x\" a#b c\\ d \\\ne 'x\ny' ''";
        let words = split(text).expect("closed quotes");
        let expected = [
            (1, "--drain"),
            (3, "--lock"),
            (3, "/run/a b"),
            (4, "--for=1\"h\\x"),
            (4, "a#b"),
            (4, "c d"),
            (5, "e"),
            (5, "x\ny"),
            (6, ""),
        ];
        let expected: Vec<(usize, String)> = expected
            .into_iter()
            .map(|(line, text)| (line, text.into()))
            .collect();
        assert_eq!(words, expected);
        assert_eq!(split("a\n'b"), Err(2));
        assert_eq!(split("a \"b\\"), Err(1));
    }

    proptest::proptest! {
        #[test]
        fn quoted_words_come_back(text in "[^']{0,20}") {
            let words = split(&format!("'{text}'"));
            proptest::prop_assert_eq!(words, Ok(vec![(1, text)]));
        }
    }
}
