//! Slow is worse than dead: the agent beside peers that hang, trickle or never end.

mod support;

use support::agent::{Setup, subscription};

#[test]
fn the_longest_pause_is_told_at_the_end() {
    // Nothing listens there: the loop has only time to pass.
    let dead = subscription("amqp://127.0.0.1:1/", "http://127.0.0.1:1");
    let (code, agent) = Setup::new(&[dead]).args(&["--for", "1s"]).run();
    assert_eq!(code, 0);
    let pause = agent.longest_pause_ms();
    assert!(pause > 0.0, "{pause} ms");
}
