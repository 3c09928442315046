//! The lines of a file of any size, one in memory at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

/// A line holds one document. The largest come of messages of 16 MiB, parts of which a document has
/// twice.
const MAX_LINE: u64 = 64 * 1024 * 1024;

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Without its newline.
    Line(&'a [u8]),
    /// Passed over.
    TooLong,
    End,
}

/// See the module's text.
pub struct Lines {
    reader: BufReader<File>,
    line: Vec<u8>,
    number: u64,
    max_line: u64,
}

impl Lines {
    pub fn new(file: File) -> Self {
        Lines {
            reader: BufReader::new(file),
            line: Vec::new(),
            number: 0,
            max_line: MAX_LINE,
        }
    }

    /// How many lines there were so far.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn next(&mut self) -> io::Result<Found<'_>> {
        self.line.clear();
        let mut bounded = self.reader.by_ref().take(self.max_line);
        if bounded.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(Found::End);
        }
        self.number += 1;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if self.line.len() as u64 == self.max_line {
            return self.pass_over();
        }
        Ok(Found::Line(&self.line))
    }

    fn pass_over(&mut self) -> io::Result<Found<'static>> {
        self.line = Vec::new();
        self.reader.skip_until(b'\n')?;
        Ok(Found::TooLong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_passed_over_and_the_last_needs_no_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "one\n\n12345678901\n123456789\nlast").unwrap();
        let mut lines = Lines::new(File::open(&path).unwrap());
        lines.max_line = 10;
        let wanted = [
            Found::Line(b"one"),
            Found::Line(b""),
            Found::TooLong,
            Found::Line(b"123456789"),
            Found::Line(b"last"),
            Found::End,
        ];
        for (number, wanted) in wanted.iter().enumerate() {
            assert_eq!(&lines.next().unwrap(), wanted, "{number}");
        }
        assert_eq!(lines.number(), 5);
    }
}
