//! The keys that say what may leave the site: `include`, `exclude`, `keep_events`, `redact`.

use super::raw::{Faulty, Fields, Read};
use crate::document::{EVENT_TYPES, EventTypes, Glob, Part, Policy, Redact};
use crate::nearest::nearest;

/// Reads all four; every key is read before the first `?`, so that none hides another's fault.
pub fn read(fields: &mut Fields<'_>) -> Result<Policy, Faulty> {
    let include = globs(fields, "include");
    let include = include.and_then(|globs| not_empty(fields, "include", "pattern", globs));
    let exclude = globs(fields, "exclude");
    let keep_events = keep_events(fields);
    let redact = redact(fields);
    Ok(Policy {
        include: include?.unwrap_or_default(),
        exclude: exclude?.unwrap_or_default(),
        keep_events: keep_events?.unwrap_or_default(),
        redact: redact?,
    })
}

fn globs(fields: &mut Fields<'_>, key: &str) -> Read<Vec<Glob>> {
    fields.list_of(key, "patterns over task names", |text| {
        Glob::parse(text).map_err(|fault| fault.to_string())
    })
}

/// An empty list of what may leave: nobody knows whether nothing or everything is meant.
fn not_empty<T>(
    fields: &mut Fields<'_>,
    key: &str,
    item: &str,
    list: Option<Vec<T>>,
) -> Read<Vec<T>> {
    match list {
        Some(list) if list.is_empty() => {
            let expected = format!("expected at least one {item}; without the key all may leave");
            Err(fields.fault(key, "an empty list", &expected))
        }
        list => Ok(list),
    }
}

fn keep_events(fields: &mut Fields<'_>) -> Read<EventTypes> {
    let types = fields.list_of("keep_events", "event types", |text| {
        EventTypes::only(text).ok_or_else(|| {
            let known = nearest(text, EVENT_TYPES).expect("there are event types");
            format!("unknown event type: did you mean {known}?")
        })
    })?;
    let types = not_empty(fields, "keep_events", "event type", types)?;
    Ok(types.map(|types| types.into_iter().fold(EventTypes::NONE, EventTypes::or)))
}

fn redact(fields: &mut Fields<'_>) -> Result<Redact, Faulty> {
    let mut redact = Redact::default();
    let wanted = fields.list_of("redact", "fields such as args or kwargs.NAME", field)?;
    for field in wanted.unwrap_or_default() {
        match field {
            Field::Part(part) => redact.add_part(part),
            Field::Key(path) => redact.add_key(&path),
        }
    }
    Ok(redact)
}

enum Field {
    Part(Part),
    Key(String),
}

fn field(text: &str) -> Result<Field, String> {
    let part = |name| Part::NAMED.into_iter().find(|(known, _)| *known == name);
    if let Some((_, part)) = part(text) {
        return Ok(Field::Part(part));
    }
    let (head, path) = text.split_once('.').unwrap_or((text, ""));
    match part(head) {
        Some((_, Part::Kwargs)) if path.split('.').all(|key| !key.is_empty()) => {
            Ok(Field::Key(path.to_owned()))
        }
        Some((_, Part::Kwargs)) => {
            Err("expected kwargs.NAME, or kwargs for all of them".to_owned())
        }
        Some((name, _)) => Err(format!("expected {name} as a whole: only kwargs has names")),
        None => {
            let known = nearest(head, Part::NAMED.map(|(name, _)| name)).expect("there are fields");
            let tail = if known == "kwargs" {
                &text[head.len()..]
            } else {
                ""
            };
            Err(format!("unknown field: did you mean {known}{tail}?"))
        }
    }
}
