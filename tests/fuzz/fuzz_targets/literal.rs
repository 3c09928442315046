//! A Python literal: no panic, and what it prints reads back.
#![no_main]

use leek_agent::python::literal::parse;
use leek_agent::python::repr::{Limited, write_repr};
use leek_agent::python::value::Value;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &[u8]| {
    let Ok(value) = parse(source) else { return };
    let printed = repr(&value);
    // `inf`, `Ellipsis` and integers beyond 4300 digits do not read back. A set may print in another
    // order, and a complex number flips between `-2j` and `(-0-2j)`, as in Python.
    if let Ok(again) = parse(&printed)
        && !printed.contains(&b'j')
    {
        assert_eq!(repr(&again).len(), printed.len());
    }
});

fn repr(value: &Value<'_>) -> Vec<u8> {
    let mut out = Limited::new(usize::MAX);
    write_repr(value, &mut out);
    out.into_text()
}
