//! `spool: {…}` of a subscription: where on disk waits what cannot be delivered.

use std::path::PathBuf;

use super::fault::quoted;
use super::raw::{Faulty, Fields, Read};
use super::{BatchLimits, Broker};
use crate::nearest::nearest;

/// A place of bounded size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    pub dir: PathBuf,
    pub max_bytes: u64,
}

const KEYS: [&str; 2] = ["dir", "max_mb"];

/// Some 50,000 ordinary events: hours of an ordinary site, and little on flash.
const MAX_MB_DEFAULT: u32 = 64;

/// Of the largest batch. With less, the batch that comes would drive out all that are there.
const BATCHES_MIN: u64 = 2;

const MIB: u64 = 1_048_576;

/// Reads the object, which means nothing beside a broker that keeps what is not acknowledged.
pub fn spool(
    fields: &mut Fields<'_>,
    brokers: Option<&[Broker]>,
    batch: Option<&BatchLimits>,
) -> Read<Spool> {
    let Some(mut inner) = fields.object("spool")? else {
        return Ok(None);
    };
    let spool = read(&mut inner, batch);
    fields.faults.append(&mut inner.faults);
    if matches!(brokers, Some([Broker::Amqp(_), ..])) {
        let expected = "expected only beside a Redis broker: RabbitMQ keeps what is not delivered";
        return Err(fields.fault("spool", "an object", expected));
    }
    spool.map(Some)
}

fn read(inner: &mut Fields<'_>, batch: Option<&BatchLimits>) -> Result<Spool, Faulty> {
    for key in inner.names().filter(|key| !KEYS.contains(key)) {
        let known = nearest(key, KEYS).expect("there are known keys");
        inner.fault(key, "unknown key", &format!("did you mean {known}?"));
    }
    let dir = dir(inner);
    let max_bytes = max_bytes(inner, batch);
    Ok(Spool {
        dir: dir?,
        max_bytes: max_bytes?,
    })
}

fn dir(inner: &mut Fields<'_>) -> Result<PathBuf, Faulty> {
    let expected = "expected a folder's name";
    match inner.text("dir", expected)? {
        None => Err(inner.fault("dir", "missing", expected)),
        Some(text) if text.is_empty() || text.contains('\0') => {
            Err(inner.fault("dir", quoted(text), expected))
        }
        Some(text) => Ok(text.into()),
    }
}

fn max_bytes(inner: &mut Fields<'_>, batch: Option<&BatchLimits>) -> Result<u64, Faulty> {
    let max_mb = inner.whole("max_mb", 2..=1_000_000, "2 to 1000000")?;
    let max_mb = max_mb.unwrap_or(MAX_MB_DEFAULT);
    let bytes = u64::from(max_mb) * MIB;
    let least = batch.map_or(0, |batch| batch.max_bytes as u64 * BATCHES_MIN);
    if bytes < least {
        let expected = format!(
            "expected at least {} ({BATCHES_MIN} times batch_max_size_in_mb)",
            least.div_ceil(MIB)
        );
        return Err(inner.fault("max_mb", max_mb.to_string(), &expected));
    }
    Ok(bytes)
}
