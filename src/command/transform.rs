//! `leek-agent transform`: batches of events on the way in, Leek documents on the way out.
//!
//! A line in is one batch; a line out is its POST body. What is rejected is told on the side.

use std::io::{self, BufRead, Write};

use crate::clock;
use crate::document::{Context, Merger, Rejected, Repairs, Validation, transform};
use crate::event::{Events, RawEvent};
use crate::json::read;
use crate::json::scan::{self, Dialect};

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// `app_env` of every document.
    pub app_env: String,
    /// `updated_at` of every document, milliseconds since 1970; `None` for the clock's.
    pub now_ms: Option<i64>,
    /// Whether to mend events.
    pub validation: Validation,
}

/// What was done, over all lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lines read.
    pub lines: u64,
    /// Lines that are no JSON.
    pub undecodable: u64,
    /// Bodies that are neither an event nor a list, ignored as Leek does.
    pub ignored: u64,
    /// Documents written.
    pub documents: u64,
    /// Events that became part of a document.
    pub events: u64,
    /// Events that are invalid.
    pub invalid: u64,
    /// Events of a type that Leek does not know.
    pub filtered: u64,
    /// Repairs by kind.
    pub repairs: Repairs,
}

/// Transforms line by line until `input` ends. Notes name line and event, both counted from 1.
pub fn run(
    mut input: impl BufRead,
    mut output: impl Write,
    notes: impl Write,
    options: &Options,
) -> io::Result<Summary> {
    let mut batches = Batches {
        notes,
        options,
        summary: Summary::default(),
        merger: Merger::new(),
    };
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        batches.line(line.strip_suffix(b"\n").unwrap_or(&line))?;
        output.write_all(batches.merger.seal().bytes())?;
        output.write_all(b"\n")?;
        line.clear();
    }
    output.flush()?;
    batches.notes.flush()?;
    Ok(batches.summary)
}

struct Batches<'o, N> {
    notes: N,
    options: &'o Options,
    summary: Summary,
    merger: Merger,
}

impl<N: Write> Batches<'_, N> {
    /// Puts the documents of one line into the merger.
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.summary.lines += 1;
        let number = self.summary.lines;
        if let Err(error) = scan::check(line, Dialect::Python) {
            self.summary.undecodable += 1;
            return writeln!(self.notes, "line {number}: no JSON: {error}");
        }
        let now_ms = self.options.now_ms.unwrap_or_else(clock::wall_ms);
        let start = read::skip_blanks(line, 0);
        let mut event = 0;
        if line[start] != b'[' {
            self.body(&line[start..], 1, &mut event, now_ms)?;
        } else {
            for (index, body) in read::items(&line[start..]).enumerate() {
                self.body(body, index + 1, &mut event, now_ms)?;
            }
        }
        self.summary.events += self.merger.events() as u64;
        self.summary.documents += self.merger.documents() as u64;
        Ok(())
    }

    fn body(&mut self, body: &[u8], index: usize, event: &mut u64, now_ms: i64) -> io::Result<()> {
        if !matches!(body.first(), Some(b'{' | b'[')) {
            self.summary.ignored += 1;
            let line = self.summary.lines;
            return writeln!(
                self.notes,
                "line {line}: body {index}: expected an object or a list, ignored"
            );
        }
        for raw in Events::resume(body, 0) {
            *event += 1;
            if let Err(rejected) = self.event(raw, now_ms) {
                let line = self.summary.lines;
                writeln!(self.notes, "line {line}: event {event}: {rejected}")?;
            }
        }
        Ok(())
    }

    fn event(&mut self, event: RawEvent<'_>, now_ms: i64) -> Result<(), Rejected> {
        let context = Context {
            app_env: &self.options.app_env,
            now_ms,
            validation: self.options.validation,
        };
        let document = transform(event, &context, &mut self.summary.repairs);
        let added = document.and_then(|document| self.merger.add(document));
        match &added {
            Err(Rejected::Invalid(_)) => self.summary.invalid += 1,
            Err(Rejected::Filtered(_) | Rejected::Withheld(_)) => self.summary.filtered += 1,
            Ok(()) => {}
        }
        added
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_on(input: &[u8], validation: Validation) -> (String, String, Summary) {
        let options = Options {
            app_env: "qa".to_owned(),
            now_ms: Some(5),
            validation,
        };
        let (mut output, mut notes) = (Vec::new(), Vec::new());
        let summary = run(input, &mut output, &mut notes, &options).unwrap();
        (
            String::from_utf8(output).unwrap(),
            String::from_utf8(notes).unwrap(),
            summary,
        )
    }

    const EVENT: &str = r#"{"type": "task-started", "uuid": "a", "timestamp": 1.5, "utcoffset": 0,
        "pid": 1, "clock": 2, "hostname": "h"}"#;

    fn event() -> String {
        EVENT.replace('\n', "")
    }

    #[test]
    fn a_line_is_a_batch() {
        let input = format!("{}\n[{}, [{}], []]", event(), event(), event());
        let (output, notes, summary) = run_on(input.as_bytes(), Validation::Strict);
        let lines: Vec<_> = output.lines().collect();
        assert_eq!(
            lines[0],
            "[{\"id\": \"a\", \"app_env\": \"qa\", \"kind\": \"task\", \"state\": \"STARTED\", \
             \"clock\": 2, \"updated_at\": 5, \"timestamp\": 1500, \"exact_timestamp\": 1.5, \
             \"utcoffset\": 0, \"pid\": 1, \"uuid\": \"a\", \"started_at\": 1500, \
             \"worker\": \"h\", \"events\": [\"STARTED\"], \"events_count\": 1}]"
        );
        assert!(
            lines[1].ends_with("\"events\": [\"STARTED\", \"STARTED\"], \"events_count\": 2}]")
        );
        assert_eq!(notes, "");
        assert_eq!(
            (summary.lines, summary.events, summary.documents),
            (2, 3, 2)
        );
    }

    #[test]
    fn what_is_rejected_is_noted_and_lines_stay_aligned() {
        let custom = event().replace("task-started", "task-mine");
        let input = format!("nonsense\n\n[{}, 5, [7, {custom}]]\n5\n", event());
        let (output, notes, summary) = run_on(input.as_bytes(), Validation::Tolerant);
        assert_eq!(output.lines().filter(|line| *line == "[]").count(), 3);
        assert_eq!(output.lines().count(), 4);
        assert_eq!(
            notes,
            "line 1: no JSON: byte 0: expected a value\n\
             line 2: no JSON: byte 0: expected a value\n\
             line 3: body 2: expected an object or a list, ignored\n\
             line 3: event 2: event: 7: expected an object\n\
             line 3: event 3: type: \"task-mine\": no state in Leek, filtered\n\
             line 4: body 1: expected an object or a list, ignored\n"
        );
        let counts = (
            summary.undecodable,
            summary.ignored,
            summary.invalid,
            summary.filtered,
        );
        assert_eq!(counts, (2, 2, 1, 1));
    }

    #[test]
    fn strict_and_tolerant_differ() {
        let input = event().replace("\"clock\": 2", "\"clock\": null, \"mine\": 1");
        let (output, notes, _) = run_on(input.as_bytes(), Validation::Strict);
        assert_eq!(output, "[]\n");
        assert_eq!(notes, "line 1: event 1: mine: unknown field\n");
        let (output, notes, summary) = run_on(input.as_bytes(), Validation::Tolerant);
        assert!(output.contains("\"clock\": 0"));
        assert_eq!(notes, "");
        let repairs: Vec<_> = summary.repairs.iter().collect();
        assert_eq!(repairs, [("null", 1), ("unknown_field", 1)]);
    }
}
