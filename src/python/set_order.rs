//! The order in which CPython 3.9 prints a set of small integers.
//!
//! A set is a hash table walked slot by slot, and a small non-negative integer is its own hash, so
//! the order follows from inserting one by one. Other items keep the order in which they are
//! written: the hashes of strings differ from process to process.

use super::value::Value;

/// Slots looked at behind the first one before the hash is perturbed.
const LINEAR_PROBES: usize = 9;
const PERTURB_SHIFT: u32 = 5;

/// Puts the items of a set, all distinct, into the order of CPython's table.
pub fn order(items: Vec<Value<'_>>) -> Vec<Value<'_>> {
    let hashes: Option<Vec<u64>> = items.iter().map(hash).collect();
    let Some(hashes) = hashes.filter(|hashes| hashes.len() > 1) else {
        return items;
    };
    let table = fill(&hashes);
    let mut items: Vec<Option<Value<'_>>> = items.into_iter().map(Some).collect();
    table
        .into_iter()
        .flatten()
        .filter_map(|index| items[index].take())
        .collect()
}

/// The hash of a small non-negative integer, also as a float or a bool.
fn hash(item: &Value<'_>) -> Option<u64> {
    // Hashes are taken modulo the prime 2^61 - 1; below it an integer stands for itself.
    const MODULUS: u64 = (1 << 61) - 1;
    let hash = match item {
        Value::Bool(value) => u64::from(*value),
        Value::Int(digits) => digits.parse().ok()?,
        Value::Float(number) if number.fract() == 0.0 && (0.0..1e15).contains(number) => {
            *number as u64
        }
        _ => return None,
    };
    (hash < MODULUS).then_some(hash)
}

/// The table after all insertions: in each slot the index of its item.
fn fill(hashes: &[u64]) -> Vec<Option<usize>> {
    let mut table = vec![None; 8];
    for (index, &hash) in hashes.iter().enumerate() {
        insert(&mut table, hash, index);
        let used = index + 1;
        if used * 5 >= (table.len() - 1) * 3 {
            table = grow(&table, hashes, used);
        }
    }
    table
}

fn grow(table: &[Option<usize>], hashes: &[u64], used: usize) -> Vec<Option<usize>> {
    let wanted = if used > 50_000 { used * 2 } else { used * 4 };
    let mut grown = vec![None; (wanted + 1).next_power_of_two().max(8)];
    for &index in table.iter().flatten() {
        insert(&mut grown, hashes[index], index);
    }
    grown
}

fn insert(table: &mut [Option<usize>], hash: u64, index: usize) {
    let mask = table.len() - 1;
    let mut perturb = hash;
    let mut slot = hash as usize & mask;
    loop {
        let probes = if slot + LINEAR_PROBES <= mask {
            LINEAR_PROBES
        } else {
            0
        };
        if let Some(free) = (slot..=slot + probes).find(|&slot| table[slot].is_none()) {
            table[free] = Some(index);
            return;
        }
        perturb >>= PERTURB_SHIFT;
        slot = (slot.wrapping_mul(5))
            .wrapping_add(1)
            .wrapping_add(perturb as usize)
            & mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(numbers: &[u64]) -> Vec<u64> {
        let items = numbers
            .iter()
            .map(|number| Value::Int(number.to_string().into()))
            .collect();
        let digits = |item: Value<'_>| match item {
            Value::Int(digits) => digits.parse().unwrap(),
            other => panic!("{other:?}"),
        };
        order(items).into_iter().map(digits).collect()
    }

    /// Recorded from CPython 3.9.18.
    #[test]
    fn small_integers_come_as_cpython_prints_them() {
        assert_eq!(ordered(&[3, 1, 2]), [1, 2, 3]);
        assert_eq!(ordered(&[10, 1, 5]), [1, 10, 5]);
        assert_eq!(ordered(&[8, 0, 16]), [8, 0, 16]);
        assert_eq!(ordered(&[100, 50, 200, 7, 9, 1]), [1, 100, 7, 200, 9, 50]);
        assert_eq!(
            ordered(&[1_000_000, 33, 1, 65, 97, 129]),
            [1000000, 33, 97, 1, 65, 129]
        );
    }

    #[test]
    fn other_items_keep_their_order() {
        let items = vec![Value::None, Value::Int("2".into()), Value::Int("1".into())];
        assert_eq!(order(items.clone()), items);
    }
}
