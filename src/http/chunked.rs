//! A chunked body (RFC 9112, 7.1). Extensions and trailers are read and dropped.

use httparse::{EMPTY_HEADER, Status};

use super::Limits;
use super::head::Fault;

/// Bytes of a chunk's size line: 16 digits and room for an extension nobody uses.
const MAX_SIZE_LINE: usize = 256;

/// Where in the body the decoder stands.
#[derive(Debug, Default)]
pub(super) enum Chunked {
    #[default]
    Size,
    Data(usize),
    DataEnd,
    Trailers,
}

/// What one step came to.
enum Step {
    Used(usize),
    Incomplete,
    Complete(usize),
}

impl Chunked {
    /// Decodes what it can of `input` into `body`: the bytes used, and whether the body is complete.
    pub fn decode(
        &mut self,
        input: &[u8],
        body: &mut Vec<u8>,
        limits: &Limits,
    ) -> Result<(usize, bool), Fault> {
        let mut used = 0;
        loop {
            match self.step(&input[used..], body, limits)? {
                Step::Used(count) => used += count,
                Step::Incomplete => return Ok((used, false)),
                Step::Complete(count) => return Ok((used + count, true)),
            }
        }
    }

    fn step(&mut self, input: &[u8], body: &mut Vec<u8>, limits: &Limits) -> Result<Step, Fault> {
        match *self {
            Chunked::Size => self.size(input, limits.body.saturating_sub(body.len())),
            Chunked::Data(rest) => Ok(self.data(rest, input, body)),
            Chunked::DataEnd => self.data_end(input),
            Chunked::Trailers => trailers(input, limits),
        }
    }

    /// A size line; `room` is what the body may still grow by.
    fn size(&mut self, input: &[u8], room: usize) -> Result<Step, Fault> {
        let window = &input[..input.len().min(MAX_SIZE_LINE)];
        match window.first() {
            None => return Ok(Step::Incomplete),
            // httparse would read a line without digits as the last chunk.
            Some(first) if !first.is_ascii_hexdigit() => return Err(BAD_CHUNK),
            Some(_) => {}
        }
        match httparse::parse_chunk_size(window) {
            Ok(Status::Partial) if window.len() < MAX_SIZE_LINE => Ok(Step::Incomplete),
            Ok(Status::Complete((used, size))) => {
                *self = match usize::try_from(size) {
                    Ok(0) => Chunked::Trailers,
                    Ok(size) if size <= room => Chunked::Data(size),
                    _ => return Err(Fault(413, "the request's body is too long")),
                };
                Ok(Step::Used(used))
            }
            _ => Err(BAD_CHUNK),
        }
    }

    fn data(&mut self, rest: usize, input: &[u8], body: &mut Vec<u8>) -> Step {
        let count = rest.min(input.len());
        if count == 0 {
            return Step::Incomplete;
        }
        body.extend_from_slice(&input[..count]);
        *self = match rest - count {
            0 => Chunked::DataEnd,
            rest => Chunked::Data(rest),
        };
        Step::Used(count)
    }

    fn data_end(&mut self, input: &[u8]) -> Result<Step, Fault> {
        match input {
            [] | [b'\r'] => Ok(Step::Incomplete),
            [b'\r', b'\n', ..] => {
                *self = Chunked::Size;
                Ok(Step::Used(2))
            }
            _ => Err(BAD_CHUNK),
        }
    }
}

const BAD_CHUNK: Fault = Fault(400, "the chunked body is broken");

fn trailers(input: &[u8], limits: &Limits) -> Result<Step, Fault> {
    let window = &input[..input.len().min(limits.head)];
    let mut headers = vec![EMPTY_HEADER; limits.headers];
    match httparse::parse_headers(window, &mut headers) {
        Ok(Status::Complete((used, _))) => Ok(Step::Complete(used)),
        Ok(Status::Partial) if window.len() < limits.head => Ok(Step::Incomplete),
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Err(Fault(431, "the trailers are too long"))
        }
        Err(_) => Err(BAD_CHUNK),
    }
}
