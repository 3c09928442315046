//! The fields of a document in the order in which Leek writes them, and its states.

use super::Kind;

/// Names each field once: the enum, its count, and the key text with quotes and colon.
macro_rules! fields {
    ($($field:ident $key:literal,)*) => {
        /// A field of a document.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Field { $($field),* }

        impl Field {
            const ALL: &[Field] = &[$(Field::$field),*];
            pub const COUNT: usize = Field::ALL.len();
        }

        /// What stands before a field's value: a separator, which the first of a document has not, and
        /// its key.
        pub const KEYS: [&str; Field::COUNT] = [$(concat!(", \"", $key, "\": ")),*];
    };
}

// `events` and `events_count` are missing: a document keeps them as numbers.
fields! {
    Id "id", AppEnv "app_env", Kind "kind", State "state", Clock "clock", UpdatedAt "updated_at",
    Timestamp "timestamp", ExactTimestamp "exact_timestamp", Utcoffset "utcoffset", Pid "pid",
    // Tasks.
    Uuid "uuid", Name "name", NameParts "name_parts", Args "args", Kwargs "kwargs",
    Args0 "args_0", Args1 "args_1", Args2 "args_2", Args3 "args_3", Args4 "args_4",
    Args5 "args_5", Args6 "args_6", Args7 "args_7", Args8 "args_8", Args9 "args_9",
    KwargsFlattened "kwargs_flattened", Result "result", Runtime "runtime", RootId "root_id",
    ParentId "parent_id", Exchange "exchange", RoutingKey "routing_key", Queue "queue",
    Eta "eta", Expires "expires", Retries "retries", QueuedAt "queued_at",
    ReceivedAt "received_at", StartedAt "started_at", SucceededAt "succeeded_at",
    FailedAt "failed_at", RejectedAt "rejected_at", RevokedAt "revoked_at",
    RetriedAt "retried_at", Terminated "terminated", Expired "expired", Signum "signum",
    Requeue "requeue", Exception "exception", Traceback "traceback", Lang "lang", Error "error",
    Stack "stack", Trace "trace", Client "client", Worker "worker",
    // Workers.
    Hostname "hostname", OnlineAt "online_at", OfflineAt "offline_at",
    LastHeartbeatAt "last_heartbeat_at", SwIdent "sw_ident", SwVer "sw_ver", SwSys "sw_sys",
    Processed "processed", Active "active", Freq "freq", Loadavg "loadavg",
}

/// The texts of the first ten arguments.
pub const ARGS: [Field; 10] = [
    Field::Args0,
    Field::Args1,
    Field::Args2,
    Field::Args3,
    Field::Args4,
    Field::Args5,
    Field::Args6,
    Field::Args7,
    Field::Args8,
    Field::Args9,
];

/// A set of fields, a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSet(u128);

impl FieldSet {
    pub const EMPTY: FieldSet = FieldSet(0);
    pub const COMMON: FieldSet = FieldSet::range(Field::Id, Field::Pid);
    pub const TASK: FieldSet = FieldSet::range(Field::Uuid, Field::Worker);
    pub const WORKER: FieldSet = FieldSet::range(Field::Hostname, Field::Loadavg);

    /// These fields.
    pub const fn of(fields: &[Field]) -> FieldSet {
        let mut bits = 0;
        let mut index = 0;
        while index < fields.len() {
            bits |= 1 << fields[index] as u32;
            index += 1;
        }
        FieldSet(bits)
    }

    /// All fields from `first` to `last`.
    pub const fn range(first: Field, last: Field) -> FieldSet {
        FieldSet((2 << last as u32) - (1 << first as u32))
    }

    pub const fn or(self, other: FieldSet) -> FieldSet {
        FieldSet(self.0 | other.0)
    }

    pub fn and(self, other: FieldSet) -> FieldSet {
        FieldSet(self.0 & other.0)
    }

    #[inline]
    pub fn has(self, field: Field) -> bool {
        self.0 >> field as u32 & 1 == 1
    }

    #[inline]
    pub fn add(&mut self, field: Field) {
        self.0 |= 1 << field as u32;
    }

    #[inline]
    pub fn remove(&mut self, field: Field) {
        self.0 &= !(1 << field as u32);
    }

    /// The fields in the order in which they are written.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = Field> {
        let mut bits = self.0;
        std::iter::from_fn(move || {
            let field = Field::ALL.get(bits.trailing_zeros() as usize)?;
            bits &= bits - 1;
            Some(*field)
        })
    }
}

/// Leek's state of a task or a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Queued,
    Received,
    Started,
    Succeeded,
    Failed,
    Rejected,
    Revoked,
    Retry,
    /// Failed after retries; only merging gives it.
    Critical,
    /// Succeeded after retries; only merging gives it.
    Recovered,
    Online,
    Heartbeat,
    Offline,
}

impl State {
    /// What an event of this type is about, and the state that it tells of.
    pub fn of_event(event_type: &[u8]) -> Option<(Kind, State)> {
        Some(match event_type {
            b"task-sent" => (Kind::Task, State::Queued),
            b"task-received" => (Kind::Task, State::Received),
            b"task-started" => (Kind::Task, State::Started),
            b"task-succeeded" => (Kind::Task, State::Succeeded),
            b"task-failed" => (Kind::Task, State::Failed),
            b"task-rejected" => (Kind::Task, State::Rejected),
            b"task-revoked" => (Kind::Task, State::Revoked),
            b"task-retried" => (Kind::Task, State::Retry),
            b"worker-online" => (Kind::Worker, State::Online),
            b"worker-heartbeat" => (Kind::Worker, State::Heartbeat),
            b"worker-offline" => (Kind::Worker, State::Offline),
            _ => return None,
        })
    }

    /// Its name in quotes.
    pub fn json(self) -> &'static str {
        match self {
            State::Queued => "\"QUEUED\"",
            State::Received => "\"RECEIVED\"",
            State::Started => "\"STARTED\"",
            State::Succeeded => "\"SUCCEEDED\"",
            State::Failed => "\"FAILED\"",
            State::Rejected => "\"REJECTED\"",
            State::Revoked => "\"REVOKED\"",
            State::Retry => "\"RETRY\"",
            State::Critical => "\"CRITICAL\"",
            State::Recovered => "\"RECOVERED\"",
            State::Online => "\"ONLINE\"",
            State::Heartbeat => "\"HEARTBEAT\"",
            State::Offline => "\"OFFLINE\"",
        }
    }

    /// No later event of the same task is expected.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            State::Succeeded
                | State::Failed
                | State::Rejected
                | State::Revoked
                | State::Recovered
                | State::Critical
        )
    }

    /// The field that says when the state began.
    pub fn since(self) -> Field {
        match self {
            State::Queued => Field::QueuedAt,
            State::Received => Field::ReceivedAt,
            State::Started => Field::StartedAt,
            State::Succeeded | State::Recovered => Field::SucceededAt,
            State::Failed | State::Critical => Field::FailedAt,
            State::Rejected => Field::RejectedAt,
            State::Revoked => Field::RevokedAt,
            State::Retry => Field::RetriedAt,
            State::Online => Field::OnlineAt,
            State::Heartbeat => Field::LastHeartbeatAt,
            State::Offline => Field::OfflineAt,
        }
    }
}
