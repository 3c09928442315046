//! What a broker hands over, in the core's own words: no type of a client library crosses this line.

use std::fmt;

/// One life of a broker connection. A delivery tag means something only together with the epoch
/// it was received in: acked on a later connection it would acknowledge another message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The epoch of the next connection.
    pub fn next(self) -> Epoch {
        Epoch(self.0.wrapping_add(1))
    }
}

/// The number a broker gave a delivery on one channel (AMQP 0-9-1 §4.1: counted from 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryTag(pub u64);

impl fmt::Display for DeliveryTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who keeps a message until its events are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// The broker, until it is acked: a lost connection costs nothing, it delivers again.
    BrokerKeeps,
    /// Nobody but the agent, from the moment it was read: what it lets go is gone.
    AgentOwes,
}

/// One broker message on its way into the pipeline.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    pub epoch: Epoch,
    pub tag: DeliveryTag,
    pub payload: Payload<'a>,
}

/// The message's content, or why it cannot be read.
#[derive(Debug, Clone, Copy)]
pub enum Payload<'a> {
    /// JSON text, not yet looked at.
    Json(&'a [u8]),
    /// Nothing that could become events; the text is the reason for a human.
    Unreadable(&'a str),
}

/// The largest message body that is read. Celery's own events stay below a few KiB; what is larger
/// than this would cost a gateway more memory than one event is worth.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Whether a message of these AMQP basic properties can hold JSON events: `Err` is the reason for
/// a human. A missing content type or encoding is taken for JSON, since publishers other than
/// kombu often set none.
pub fn check_content(content_type: Option<&str>, encoding: Option<&str>) -> Result<(), String> {
    let media_type = content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let is_json = media_type.is_empty()
        || ["application/json", "text/json", "application/data"]
            .iter()
            .any(|known| media_type.eq_ignore_ascii_case(known));
    if !is_json {
        return Err(format!(
            "content type: {media_type:?}: expected application/json: set event_serializer = 'json' in Celery"
        ));
    }
    let encoding = encoding.unwrap_or_default().trim();
    let is_utf8 = encoding.is_empty()
        || ["utf-8", "utf8", "ascii", "us-ascii", "binary"]
            .iter()
            .any(|known| encoding.eq_ignore_ascii_case(known));
    if !is_utf8 {
        return Err(format!("content encoding: {encoding:?}: expected utf-8"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_content_is_taken_with_or_without_its_label() {
        for (content_type, encoding) in [
            (Some("application/json"), Some("utf-8")),
            (Some("Application/JSON; charset=utf-8"), None),
            (None, None),
            (Some(""), Some("UTF-8")),
        ] {
            assert_eq!(
                check_content(content_type, encoding),
                Ok(()),
                "{content_type:?} {encoding:?}"
            );
        }
    }

    #[test]
    fn other_content_is_named_with_what_to_set() {
        let pickle = check_content(Some("application/x-python-serialize"), Some("binary"));
        assert!(pickle.unwrap_err().contains("event_serializer"));
        let utf16 = check_content(Some("application/json"), Some("utf-16"));
        assert_eq!(
            utf16.unwrap_err(),
            "content encoding: \"utf-16\": expected utf-8"
        );
    }
}
