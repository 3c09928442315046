//! A POST body, and where its documents lie in it.

use std::ops::Range;

use crate::json::read;

/// The documents of one batch as a JSON list, `[{…}, {…}]`. Ranges and indices count documents;
/// one that is out of range gives nothing.
#[derive(Debug, Clone, Default)]
pub struct Body {
    bytes: Vec<u8>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
struct Part {
    range: Range<usize>,
    events: u32,
}

impl Body {
    /// A body of documents that another one held: for each its events and its JSON text.
    pub fn rebuild(documents: &[(u32, &[u8])]) -> Self {
        let texts: usize = documents.iter().map(|(_, text)| text.len() + 2).sum();
        let mut body = Body::with_capacity(texts + 2, documents.len());
        for (events, text) in documents {
            body.push(*events, |out| out.extend_from_slice(text));
        }
        body.finish()
    }

    pub(super) fn with_capacity(bytes: usize, documents: usize) -> Self {
        let mut body = Body {
            bytes: Vec::with_capacity(bytes),
            parts: Vec::with_capacity(documents),
        };
        body.bytes.push(b'[');
        body
    }

    /// A body of documents that are JSON text already; each counts as one event.
    pub fn of<'a>(documents: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut body = Body::with_capacity(0, 0);
        for document in documents {
            body.push(1, |bytes| bytes.extend_from_slice(document));
        }
        body.finish()
    }

    /// Appends a document that `write` writes.
    pub(super) fn push(&mut self, events: u32, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.parts.is_empty() {
            self.bytes.extend_from_slice(b", ");
        }
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.parts.push(Part {
            range: start..self.bytes.len(),
            events,
        });
    }

    pub(super) fn finish(mut self) -> Self {
        self.bytes.push(b']');
        self
    }

    /// The whole body.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many documents it holds.
    pub fn documents(&self) -> usize {
        self.parts.len()
    }

    /// How many events the documents of a range carry.
    pub fn events(&self, range: Range<usize>) -> usize {
        self.parts(range)
            .iter()
            .map(|part| part.events as usize)
            .sum()
    }

    /// A document's id as text, as the API names it in `_id`.
    pub fn id(&self, index: usize) -> String {
        let mut members = read::members(self.document(index));
        // `id` is the first field of every document.
        let id = members
            .next()
            .map(|(_, value)| read::decode(read::unquoted(value)));
        String::from_utf8_lossy(&id.unwrap_or_default()).into_owned()
    }

    /// A document's JSON text.
    pub fn document(&self, index: usize) -> &[u8] {
        self.parts
            .get(index)
            .map_or(&[], |part| &self.bytes[part.range.clone()])
    }

    /// How long [`slice`](Self::slice) would be.
    pub fn slice_len(&self, range: Range<usize>) -> usize {
        self.between_brackets(range).len() + 2
    }

    /// A body of the documents of a range only.
    pub fn slice(&self, range: Range<usize>) -> Vec<u8> {
        [b"[", self.between_brackets(range), b"]"].concat()
    }

    /// The documents of a range and what stands between them.
    fn between_brackets(&self, range: Range<usize>) -> &[u8] {
        match self.parts(range) {
            [] => &[],
            [first, .., last] => &self.bytes[first.range.start..last.range.end],
            [only] => &self.bytes[only.range.clone()],
        }
    }

    fn parts(&self, range: Range<usize>) -> &[Part] {
        self.parts.get(range).unwrap_or_default()
    }
}
