//! Takes a key or a token that was typed out of the process title, where every user of the machine
//! could read it with `ps`. Best effort: without /proc the title stays as it is. The environment is
//! left alone; it is readable by the same user only.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;

use crate::cli;
use crate::cli::options::{self, OptionSpec};

/// Overwrites typed keys in this process's command line. Call it once the arguments are collected.
pub fn hide_keys() {
    let Ok(line) = fs::read("/proc/self/cmdline") else {
        return;
    };
    let ranges = key_ranges(&line);
    let start = fs::read_to_string("/proc/self/stat")
        .ok()
        .and_then(|stat| arg_start(&stat));
    if let (false, Some(start)) = (ranges.is_empty(), start) {
        // What cannot be written stays readable; there is nobody to tell before logging starts.
        let _ = overwrite(start, &ranges);
    }
}

/// Writes through /proc/self/mem, the one way to the arguments' memory without unsafe code.
fn overwrite(start: u64, ranges: &[Range<usize>]) -> std::io::Result<()> {
    let mut memory = OpenOptions::new().write(true).open("/proc/self/mem")?;
    for range in ranges {
        memory.seek(SeekFrom::Start(start + range.start as u64))?;
        memory.write_all(&vec![b'*'; range.len()])?;
    }
    Ok(())
}

/// Field 48 of /proc/PID/stat: the address of the arguments. The program's name, in parentheses,
/// may hold blanks, so counting starts behind it with field 3.
fn arg_start(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(48 - 3)?.parse().ok()
}

/// Where the keys stand in a command line of NUL-terminated arguments.
fn key_ranges(line: &[u8]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut begin = 0;
    // The option that the next word may be the value of.
    let mut key_of: Option<&OptionSpec> = None;
    for arg in line.split(|byte| *byte == 0) {
        let end = begin + arg.len();
        let text = String::from_utf8_lossy(arg);
        let parsed = cli::option(&text).ok().flatten();
        let of_key = parsed.filter(|(spec, _)| options::is_secret(spec.long));
        match of_key {
            _ if key_of.is_some_and(|spec| cli::is_value(spec, &text)) => ranges.push(begin..end),
            Some((_, Some(value))) => ranges.push(end - value.len().min(arg.len())..end),
            _ => {}
        }
        key_of = of_key
            .filter(|(_, value)| value.is_none())
            .map(|(spec, _)| spec);
        begin = end + 1;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_keys_in_every_spelling() {
        for (line, expected) in [
            (
                "leek-agent\0-t\0hunter2\0run\0",
                "leek-agent\0-t\0*******\0run\0",
            ),
            (
                "leek-agent\0--app-key=hunter2\0",
                "leek-agent\0--app-key=*******\0",
            ),
            ("leek-agent\0-thunter2\0", "leek-agent\0-t*******\0"),
            ("leek-agent\0-t=hunter2\0", "leek-agent\0-t=*******\0"),
            ("leek-agent\0-t\0run\0", "leek-agent\0-t\0run\0"),
            (
                "leek-agent\0consul\0--consul-token\0-x\0checks\0",
                "leek-agent\0consul\0--consul-token\0**\0checks\0",
            ),
            ("leek-agent\0-t\0--drain\0", "leek-agent\0-t\0--drain\0"),
            (
                "leek-agent\0--control-token\0hunter2\0--control-token-file\0f\0",
                "leek-agent\0--control-token\0*******\0--control-token-file\0f\0",
            ),
            (
                "leek-agent\0--app-key-file\0f\0",
                "leek-agent\0--app-key-file\0f\0",
            ),
        ] {
            let mut bytes = line.as_bytes().to_vec();
            for range in key_ranges(line.as_bytes()) {
                bytes[range].fill(b'*');
            }
            assert_eq!(String::from_utf8_lossy(&bytes), expected);
        }
    }

    #[test]
    fn counts_fields_behind_the_name() {
        let mut stat = String::from("7 (a b) c)");
        for field in 3..=52 {
            stat += &format!(" {field}");
        }
        assert_eq!(arg_start(&stat), Some(48));
    }
}
