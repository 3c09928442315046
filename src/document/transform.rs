//! One event → one document: validation, repairs, and the fields that Leek derives.

use std::borrow::Cow;

use super::admit::Admitted;
use super::args;
use super::datetime::{self, Zone};
use super::field::{ARGS, Field, State};
use super::input::{Input, Inputs, Need, Scope};
use super::kwargs;
use super::policy::{MARK, Redact, Screen};
use super::stamp::Stamp;
use super::traceback::{self, Analysis};
use super::{Document, Kind, Rejected, Repair, Repairs, Span, Validation};
use crate::event::RawEvent;
use crate::json::read;
use crate::json::write::{self, Encoder, Surrogates};

/// A document may not grow beyond this: text of escapes takes six times its room, and the gateway
/// that runs the agent has 64 MB. A body on the broker is 16 MB at most.
const MAX_DOCUMENT: usize = 16 * 1024 * 1024;

/// What a transformation needs beside the event.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The subscription's environment, `app_env` of every document.
    pub app_env: &'a str,
    /// Milliseconds since 1970: `updated_at`.
    pub now_ms: i64,
    /// Whether to mend events.
    pub validation: Validation,
}

/// Turns one event into its document. Repairs are counted only for events that become one.
pub fn transform(
    event: RawEvent<'_>,
    context: &Context<'_>,
    repairs: &mut Repairs,
) -> Result<Document, Rejected> {
    transform_through(&mut Screen::open(), event, context, repairs)
}

/// As [`transform`], less what must not leave the site.
pub fn transform_through(
    screen: &mut Screen,
    event: RawEvent<'_>,
    context: &Context<'_>,
    repairs: &mut Repairs,
) -> Result<Document, Rejected> {
    let hides_values = screen.hides_values();
    build(screen, event, context, repairs).map_err(|rejected| match rejected {
        // Here, where every reason passes, so that none can be forgotten.
        Rejected::Invalid(reason) if hides_values => Rejected::Invalid(without_found(&reason)),
        other => other,
    })
}

fn build(
    screen: &mut Screen,
    event: RawEvent<'_>,
    context: &Context<'_>,
    repairs: &mut Repairs,
) -> Result<Document, Rejected> {
    let text = event.text();
    if text.first() != Some(&b'{') {
        return Err(invalid("event", text, "an object"));
    }
    let inputs = Inputs::collect(event);
    let (kind, state) = event_type(&inputs, context.validation)?;
    let redact = screen.judge(kind, state, &inputs)?;
    let stamp = inputs
        .get(Input::Timestamp)
        .ok_or_else(|| missing("timestamp"))?;
    let stamp = Stamp::read(stamp).ok_or_else(|| invalid("timestamp", stamp, "a finite number"))?;
    let document = Document::new(kind, state, stamp);
    let mut builder = Builder::new(context, redact, text.len(), document);
    builder.unknown_fields(&inputs)?;
    builder.common()?;
    builder.inputs(&inputs)?;
    match kind {
        Kind::Task => builder.task(&inputs)?,
        Kind::Worker => builder.id(Field::Hostname),
    }
    builder.finish(repairs)
}

/// Kind and state by `type`.
fn event_type(inputs: &Inputs<'_>, validation: Validation) -> Result<(Kind, State), Rejected> {
    let value = inputs.get(Input::Type).ok_or_else(|| missing("type"))?;
    let name = match value.first() {
        Some(b'"') => read::decode(read::unquoted(value)),
        _ => return Err(invalid("type", value, "a string")),
    };
    match State::of_event(&name) {
        Some(known) => Ok(known),
        None if validation == Validation::Strict => Err(invalid("type", value, "a type of Leek")),
        None => Err(Rejected::Filtered(shown(&name))),
    }
}

/// A document in the making.
pub(super) struct Builder<'c> {
    pub(super) context: &'c Context<'c>,
    document: Document,
    redact: &'c Redact,
    /// kwargs, where some of it was redacted.
    kwargs: Option<Cow<'static, [u8]>>,
    encoder: Encoder,
    pub(super) repairs: Repairs,
}

impl<'c> Builder<'c> {
    fn new(
        context: &'c Context<'c>,
        redact: &'c Redact,
        event_len: usize,
        document: Document,
    ) -> Self {
        let surrogates = match context.validation {
            Validation::Tolerant => Surrogates::Replace,
            Validation::Strict => Surrogates::Keep,
        };
        // Ids, time stamps and flattened arguments repeat part of the event.
        let out = Vec::with_capacity(event_len + event_len / 4 + 256);
        let encoder = Encoder::new(out, surrogates, MAX_DOCUMENT);
        Builder {
            context,
            document,
            redact,
            kwargs: None,
            encoder,
            repairs: Repairs::default(),
        }
    }

    /// The value of a field, as it is written by `write`.
    #[inline]
    fn field(&mut self, field: Field, write: impl FnOnce(&mut Encoder)) {
        let start = self.encoder.out.len();
        write(&mut self.encoder);
        self.span(field, start);
    }

    /// Takes what was written since `start` as the value of a field.
    #[inline]
    fn span(&mut self, field: Field, start: usize) {
        let length = self.encoder.out.len() - start;
        self.document.put_span(
            field,
            Span {
                start: start as u32,
                length: length as u32,
            },
        );
    }

    /// A second field with the text of one that was written before: no bytes of its own.
    #[inline]
    fn same(&mut self, field: Field, as_field: Field) {
        self.document
            .put_span(field, self.document.spans[as_field as usize]);
    }

    fn unknown_fields(&mut self, inputs: &Inputs<'_>) -> Result<(), Rejected> {
        let scope = match self.document.kind {
            Kind::Task => Scope::Task,
            Kind::Worker => Scope::Worker,
        };
        match inputs.unknown(scope) {
            Some(key) => self.repair(Repair::UnknownField, || {
                Rejected::Invalid(format!("{}: unknown field", shown(key)))
            }),
            None => Ok(()),
        }
    }

    /// What every document has, whatever its event says.
    fn common(&mut self) -> Result<(), Rejected> {
        let kind: &[u8] = match self.document.kind {
            Kind::Task => b"\"task\"",
            Kind::Worker => b"\"worker\"",
        };
        let state = self.document.state;
        let context = self.context;
        self.field(Field::AppEnv, |out| out.string(context.app_env.as_bytes()));
        self.field(Field::Kind, |out| out.raw(kind));
        self.field(Field::State, |out| out.raw(state.json().as_bytes()));
        self.field(Field::UpdatedAt, |out| out.int(context.now_ms));
        let start = self.encoder.out.len();
        self.document.stamp.write_milliseconds(&mut self.encoder);
        self.span(Field::Timestamp, start);
        self.same(state.since(), Field::Timestamp);
        Ok(())
    }

    /// Every field that the event has by its own right.
    fn inputs(&mut self, inputs: &Inputs<'_>) -> Result<(), Rejected> {
        let scope = match self.document.kind {
            Kind::Task => Scope::Task,
            Kind::Worker => Scope::Worker,
        };
        for &input in Input::ALL {
            let spec = input.spec();
            if spec.scope != Scope::Both && spec.scope != scope {
                continue;
            }
            match (inputs.get(input), spec.field) {
                (Some(value), Some(field)) => self.input(input, value, field)?,
                (None, _) if spec.need == Need::Required => return Err(missing(spec.name)),
                _ => {}
            }
        }
        let start = self.encoder.out.len();
        let sent = inputs.get(Input::Timestamp).unwrap_or_default();
        self.document.stamp.write(sent, &mut self.encoder);
        self.span(Field::ExactTimestamp, start);
        Ok(())
    }

    fn input(&mut self, input: Input, value: &[u8], field: Field) -> Result<(), Rejected> {
        let start = self.encoder.out.len();
        match self.admit(input, value)? {
            Admitted::Absent => return Ok(()),
            Admitted::Json(_) if self.redact.covers(input) => self.encoder.string(MARK.as_bytes()),
            Admitted::Json(json) if self.redacts_kwargs(input, json) => {}
            Admitted::Int(digits) => self.encoder.raw(digits.as_bytes()),
            Admitted::Whole(number) => self.encoder.whole(number),
            Admitted::Json(json) => {
                if write::transcode(json, &mut self.encoder).is_err() {
                    self.encoder.out.truncate(start);
                    let name = input.spec().name;
                    return self
                        .repair(Repair::NotFinite, || invalid(name, value, "finite numbers"));
                }
            }
        }
        self.span(field, start);
        Ok(())
    }

    fn id(&mut self, from: Field) {
        self.same(Field::Id, from);
    }

    /// What only tasks have.
    fn task(&mut self, inputs: &Inputs<'_>) -> Result<(), Rejected> {
        self.id(Field::Uuid);
        self.node(inputs)?;
        if self.document.present.has(Field::Name) {
            self.name_parts();
        }
        self.date(inputs, Input::Eta, Field::Eta)?;
        self.date(inputs, Input::Expires, Field::Expires)?;
        if let Some(text) = string(inputs, Input::Args)
            && !self.redact.covers(Input::Args)
        {
            self.args(&text)?;
        }
        if let Some(text) = self.kwargs_text(inputs) {
            self.kwargs(&text)?;
        }
        self.traceback(inputs)
    }

    /// The hostname is that of the client that sent a task, else that of its worker.
    fn node(&mut self, inputs: &Inputs<'_>) -> Result<(), Rejected> {
        let field = match self.document.state {
            State::Queued => Field::Client,
            _ => Field::Worker,
        };
        match inputs.get(Input::Hostname) {
            None => self.repair(Repair::MissingHostname, || missing("hostname")),
            Some(b"null") => self.repair(Repair::Null, || invalid("hostname", b"null", "a string")),
            Some(value) => self.input(Input::Hostname, value, field),
        }
    }

    /// Module and function of the name, split at its last dot, which no escape contains.
    fn name_parts(&mut self) {
        let quoted = self.document.spans[Field::Name as usize].range();
        let name = quoted.start + 1..quoted.end - 1;
        let dot = self.encoder.out[name.clone()]
            .iter()
            .rposition(|&byte| byte == b'.');
        let module = dot.map_or(name.start..name.start, |dot| name.start..name.start + dot);
        let function = dot.map_or(name.clone(), |dot| name.start + dot + 1..name.end);
        self.field(Field::NameParts, |out| {
            out.raw(b"{\"module\": \"");
            out.again(module);
            out.raw(b"\", \"function\": \"");
            out.again(function);
            out.raw(b"\"}");
        });
    }

    fn date(&mut self, inputs: &Inputs<'_>, input: Input, field: Field) -> Result<(), Rejected> {
        let Some(value) = inputs.get(input) else {
            return Ok(());
        };
        let Admitted::Json(json) = self.admit(input, value)? else {
            return Ok(());
        };
        let Some(moment) = datetime::parse(&read::decode(read::unquoted(json))) else {
            let name = input.spec().name;
            return self.repair(Repair::UnreadableDate, || invalid(name, value, "a date"));
        };
        if moment.zone == Zone::Naive && !self.is_strict() {
            self.repairs.add(Repair::NaiveDate);
        }
        self.field(field, |out| out.int(moment.milliseconds));
        Ok(())
    }

    fn args(&mut self, text: &[u8]) -> Result<(), Rejected> {
        let validation = self.context.validation;
        let mut fields = ARGS.iter();
        let flattened = args::flatten(text, validation, |item| {
            if let Some(&field) = fields.next() {
                self.field(field, |out| out.string(item));
            }
        });
        flattened.map_err(|args::Raises| {
            Rejected::Invalid("args: an integer of over 4300 digits".to_owned())
        })
    }

    /// Writes kwargs without the values of some keys, where it has such.
    fn redacts_kwargs(&mut self, input: Input, json: &[u8]) -> bool {
        if input != Input::Kwargs || !self.redact.has_keys() {
            return false;
        }
        self.kwargs = self.redact.kwargs(&read::decode(read::unquoted(json)));
        match &self.kwargs {
            Some(text) => self.encoder.string(text),
            None => return false,
        }
        true
    }

    /// kwargs as it may leave.
    fn kwargs_text<'a>(&mut self, inputs: &Inputs<'a>) -> Option<Cow<'a, [u8]>> {
        let text = string(inputs, Input::Kwargs)?;
        if self.redact.covers(Input::Kwargs) {
            return Some(b"{}".into());
        }
        Some(self.kwargs.take().unwrap_or(text))
    }

    fn kwargs(&mut self, text: &[u8]) -> Result<(), Rejected> {
        let start = self.encoder.out.len();
        let left_out = kwargs::flatten(text, self.context.validation, &mut self.encoder);
        let left_out = left_out.map_err(|raises| {
            let reason = match raises {
                kwargs::Raises::TooDeep => "over 495 levels",
                kwargs::Raises::OverlongInt => "an integer of over 4300 digits",
                kwargs::Raises::NotFinite => "an infinite number",
            };
            Rejected::Invalid(format!("kwargs: {reason}"))
        })?;
        if left_out == kwargs::LeftOut::NotFinite {
            self.repairs.add(Repair::NotFinite);
        }
        self.span(Field::KwargsFlattened, start);
        Ok(())
    }

    fn traceback(&mut self, inputs: &Inputs<'_>) -> Result<(), Rejected> {
        let Some(value) = inputs.get(Input::Traceback) else {
            return Ok(());
        };
        let Admitted::Json(json) = self.admit(Input::Traceback, value)? else {
            return Ok(());
        };
        let text = read::decode(read::unquoted(json));
        let exception = string(inputs, Input::Exception);
        let mut analysis = traceback::analyse(&text, exception.as_deref());
        if self.redact.covers(Input::Traceback) {
            analysis = analysis.redacted(exception.as_deref(), MARK.as_bytes());
        }
        self.field(Field::Traceback, |out| out.string(analysis.traceback));
        self.analysis(&analysis);
        Ok(())
    }

    fn analysis(&mut self, analysis: &Analysis<'_>) {
        self.field(Field::Lang, |out| out.string(analysis.lang.as_bytes()));
        self.field(Field::Error, |out| {
            out.raw(b"{\"type\": ");
            out.string(analysis.error_type);
            out.raw(b", \"message\": ");
            out.string(&analysis.message);
            out.raw(b"}");
        });
        self.field(Field::Stack, |out| out.raw(b"[]"));
        self.field(Field::Trace, |out| {
            out.raw(b"{\"raw\": ");
            let start = out.out.len();
            out.string(&analysis.trace);
            let trace = start..out.out.len();
            out.raw(b", \"text\": ");
            out.again(trace.clone());
            out.raw(b", \"wc\": ");
            out.again(trace);
            out.raw(b"}");
        });
    }

    fn finish(mut self, repairs: &mut Repairs) -> Result<Document, Rejected> {
        if self.encoder.overflowed {
            return Err(Rejected::Invalid(format!(
                "event: its document would exceed {MAX_DOCUMENT} bytes"
            )));
        }
        if self.encoder.replaced {
            self.repairs.add(Repair::LoneSurrogate);
        }
        repairs.absorb(&self.repairs);
        self.document.text = self.encoder.out;
        Ok(self.document)
    }
}

/// The decoded text of a field that is a string.
pub(super) fn string<'a>(inputs: &Inputs<'a>, input: Input) -> Option<Cow<'a, [u8]>> {
    let value = inputs
        .get(input)
        .filter(|value| value.first() == Some(&b'"'))?;
    Some(read::decode(read::unquoted(value)))
}

pub(super) fn missing(name: &str) -> Rejected {
    Rejected::Invalid(format!("{name}: missing"))
}

pub(super) fn invalid(name: &str, found: &[u8], expected: &str) -> Rejected {
    Rejected::Invalid(format!("{name}: {}: expected {expected}", shown(found)))
}

/// A reason of [`invalid`] without what was found. The last `expected` is ours, whatever was found.
fn without_found(reason: &str) -> String {
    let Some((found, expected)) = reason.rsplit_once(": expected ") else {
        return reason.to_owned();
    };
    let name = found.split(": ").next().unwrap_or_default();
    format!("{name}: expected {expected}")
}

/// The start of a text from outside, fit for a log line.
fn shown(text: &[u8]) -> String {
    const LENGTH: usize = 40;
    let start = String::from_utf8_lossy(&text[..text.len().min(4 * LENGTH)]);
    let cut = if start.chars().count() > LENGTH {
        "…"
    } else {
        ""
    };
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    start
        .chars()
        .take(LENGTH)
        .map(printable)
        .chain(cut.chars())
        .collect()
}
