//! The fields of an event: what Leek knows of each, and where an event's text has it.

use super::field::Field;
use crate::event::RawEvent;
use crate::json::read;

/// What a field may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    String,
    StringOrNull,
    Number,
    Integer,
    IntegerStringOrNull,
    Bool,
    Array,
}

/// Which events have a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Both,
    Task,
    Worker,
}

/// Whether an event without the field is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Required,
    Optional,
}

/// What is known of a field.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    pub name: &'static str,
    pub rule: Rule,
    pub scope: Scope,
    pub need: Need,
    /// Where its value goes unchanged; `None` where more is done to it.
    pub field: Option<Field>,
}

/// Names each field of an event once.
macro_rules! inputs {
    ($($input:ident $name:literal $rule:ident $scope:ident $need:ident $field:expr,)*) => {
        /// A field of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Input { $($input),* }

        impl Input {
            pub const ALL: &[Input] = &[$(Input::$input),*];
            pub const COUNT: usize = Input::ALL.len();

            const SPECS: [Spec; Input::COUNT] = [$(Spec {
                name: $name,
                rule: Rule::$rule,
                scope: Scope::$scope,
                need: Need::$need,
                field: $field,
            }),*];

            fn named(name: &[u8]) -> Option<Input> {
                $(if name == $name.as_bytes() {
                    return Some(Input::$input);
                })*
                None
            }
        }
    };
}

inputs! {
    Type "type" String Both Required None,
    Timestamp "timestamp" Number Both Required None,
    Hostname "hostname" String Worker Required Some(Field::Hostname),
    // A task's hostname passes Leek's validation when absent, and then raises.
    Utcoffset "utcoffset" Integer Both Required Some(Field::Utcoffset),
    Pid "pid" Integer Both Required Some(Field::Pid),
    Clock "clock" Integer Both Required Some(Field::Clock),
    Uuid "uuid" String Task Required Some(Field::Uuid),
    Name "name" String Task Optional Some(Field::Name),
    Args "args" String Task Optional Some(Field::Args),
    Kwargs "kwargs" String Task Optional Some(Field::Kwargs),
    RootId "root_id" StringOrNull Task Optional Some(Field::RootId),
    ParentId "parent_id" StringOrNull Task Optional Some(Field::ParentId),
    Retries "retries" Integer Task Optional Some(Field::Retries),
    Eta "eta" StringOrNull Task Optional None,
    Expires "expires" StringOrNull Task Optional None,
    Queue "queue" String Task Optional Some(Field::Queue),
    Exchange "exchange" String Task Optional Some(Field::Exchange),
    RoutingKey "routing_key" String Task Optional Some(Field::RoutingKey),
    Result "result" String Task Optional Some(Field::Result),
    Runtime "runtime" Number Task Optional Some(Field::Runtime),
    Exception "exception" String Task Optional Some(Field::Exception),
    Traceback "traceback" String Task Optional None,
    Terminated "terminated" Bool Task Optional Some(Field::Terminated),
    Expired "expired" Bool Task Optional Some(Field::Expired),
    Requeue "requeue" Bool Task Optional Some(Field::Requeue),
    Signum "signum" IntegerStringOrNull Task Optional Some(Field::Signum),
    Freq "freq" Number Worker Required Some(Field::Freq),
    SwIdent "sw_ident" String Worker Required Some(Field::SwIdent),
    SwVer "sw_ver" String Worker Required Some(Field::SwVer),
    SwSys "sw_sys" String Worker Required Some(Field::SwSys),
    Active "active" Integer Worker Optional Some(Field::Active),
    Processed "processed" Integer Worker Optional Some(Field::Processed),
    Loadavg "loadavg" Array Worker Optional Some(Field::Loadavg),
}

impl Input {
    pub fn spec(self) -> &'static Spec {
        &Input::SPECS[self as usize]
    }
}

/// The fields of one event as JSON text; of equal keys the last one.
pub struct Inputs<'a> {
    values: [&'a [u8]; Input::COUNT],
    /// The first key that Leek does not know.
    unknown: Option<&'a [u8]>,
}

impl<'a> Inputs<'a> {
    /// Finds the fields of an event.
    pub fn collect(event: RawEvent<'a>) -> Self {
        let mut inputs = Inputs {
            values: [&[]; Input::COUNT],
            unknown: None,
        };
        event.members(|key, value| match Input::named(&read::decode(key)) {
            Some(input) => inputs.values[input as usize] = value,
            None => inputs.unknown = inputs.unknown.or(Some(key)),
        });
        inputs
    }

    /// The text of a field's value; `None` where the event lacks it.
    pub fn get(&self, input: Input) -> Option<&'a [u8]> {
        let value = self.values[input as usize];
        (!value.is_empty()).then_some(value)
    }

    /// A key that no event of this scope has, as it stands in the text.
    pub fn unknown(&self, scope: Scope) -> Option<&'a [u8]> {
        let strays = Input::ALL.iter().filter(|input| !input.belongs_to(scope));
        let stray = strays.copied().find(|&input| self.get(input).is_some());
        self.unknown
            .or(stray.map(|input| input.spec().name.as_bytes()))
    }
}

impl Input {
    /// Whether events of a scope have the field. A hostname both kinds have, each its own way.
    pub fn belongs_to(self, scope: Scope) -> bool {
        let own = self.spec().scope;
        own == scope || own == Scope::Both || self == Input::Hostname
    }
}
