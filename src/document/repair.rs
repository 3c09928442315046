//! What tolerant validation mends, counted by kind.

/// Names each kind of repair once.
macro_rules! repairs {
    ($($(#[$doc:meta])* $repair:ident $name:literal,)*) => {
        /// A kind of repair. An event may need several: one for each field that is mended, but one
        /// only for all its unknown fields.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Repair { $($(#[$doc])* $repair),* }

        impl Repair {
            /// Every kind.
            pub const ALL: &[Repair] = &[$(Repair::$repair),*];

            /// The name it is counted under.
            pub fn name(self) -> &'static str {
                match self { $(Repair::$repair => $name),* }
            }
        }
    };
}

repairs! {
    /// A utcoffset with a fraction (India, Celery 5.7): the document carries its floor.
    FractionalUtcoffset "fractional_utcoffset",
    /// null where Leek refuses it: the field is left out, or 0 for the clock.
    Null "null",
    /// A field that Leek does not know: left out.
    UnknownField "unknown_field",
    /// An eta or expires that is no date: left out.
    UnreadableDate "unreadable_date",
    /// An eta or expires without a zone: read as UTC.
    NaiveDate "naive_date",
    /// NaN or an infinity, which JSON cannot carry: left out.
    NotFinite "not_finite",
    /// An integer sent as a string or a float: the document carries the integer.
    IntegerForm "integer_form",
    /// A task event without hostname: client or worker is left out.
    MissingHostname "missing_hostname",
    /// Half of a surrogate pair: replaced by U+FFFD.
    LoneSurrogate "lone_surrogate",
}

const KINDS: usize = Repair::ALL.len();

/// How many repairs of each kind were made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repairs {
    counts: [u64; KINDS],
}

impl Repairs {
    /// Counts one.
    pub fn add(&mut self, repair: Repair) {
        self.counts[repair as usize] += 1;
    }

    /// Adds the counts of another.
    pub fn absorb(&mut self, other: &Repairs) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    /// True where none was made.
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// Repairs of all kinds.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Name and count of each kind that occurred.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = Repair::ALL
            .iter()
            .map(|&repair| (repair.name(), self.counts[repair as usize]));
        counts.filter(|&(_, count)| count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_kind() {
        let mut repairs = Repairs::default();
        assert!(repairs.is_empty());
        repairs.add(Repair::Null);
        repairs.add(Repair::Null);
        repairs.add(Repair::NaiveDate);
        let mut sum = Repairs::default();
        sum.absorb(&repairs);
        assert_eq!(
            sum.iter().collect::<Vec<_>>(),
            [("null", 2), ("naive_date", 1)]
        );
        assert_eq!(sum.total(), 3);
    }
}
