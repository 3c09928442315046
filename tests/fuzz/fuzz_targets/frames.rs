//! Anything as the bytes of an AMQP broker, whole and in two pieces.
#![no_main]

use leek_agent::source::amqp::frames::Sanitiser;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else { return };
    let cut = usize::from(*cut).min(bytes.len());
    let mut whole = Vec::new();
    let at_once = Sanitiser::default().push(bytes, &mut whole);
    let (mut parts, mut sanitiser) = (Vec::new(), Sanitiser::default());
    let in_two = sanitiser
        .push(&bytes[..cut], &mut parts)
        .and_then(|()| sanitiser.push(&bytes[cut..], &mut parts));
    assert_eq!(at_once, in_two);
    assert_eq!(whole, parts);
});
