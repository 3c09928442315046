//! The pipeline in a world of its own: model brokers, a model API, faults, and virtual time.
//!
//! Every seed is another world. A run feeds some hundred messages through connections that break
//! and an API that fails in every way of contract C6, checks the invariants after each step, then
//! heals everything and demands that a drain ends with nothing lost. Hours pass in milliseconds.
//!
//! `SIM_SEEDS=10000 cargo test --test sim` runs more; `SIM_SEED=42` runs one of each kind, and
//! prints what happened.

mod sim {
    pub mod api;
    pub mod broker;
    pub mod disk;
    pub mod spool;
    pub mod world;
}

use sim::world::{Scene, Telling, World};

/// Seeds of an ordinary test run.
const SEEDS: u64 = 500;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn run_worlds(scene: Scene) {
    if let Some(seed) = number("SIM_SEED") {
        World::new(scene, seed, Telling::Aloud).run();
        return;
    }
    for seed in 0..number("SIM_SEEDS").unwrap_or(SEEDS) {
        World::new(scene, seed, Telling::Quietly).run();
    }
}

#[test]
fn every_seed_keeps_the_invariants_and_drains() {
    run_worlds(Scene::Rabbit);
}

#[test]
fn what_a_broker_does_not_keep_is_delivered_or_counted() {
    run_worlds(Scene::Redis);
}

#[test]
fn what_was_spooled_outlives_a_power_cut() {
    run_worlds(Scene::Spool);
}

/// So is a spool that loses what it said it had.
#[test]
#[should_panic(expected = "was on disk")]
fn a_record_that_is_lost_is_noticed() {
    for seed in 0..SEEDS {
        let mut world = World::new(Scene::Spool, seed, Telling::Quietly);
        world.spool.forgets = true;
        world.run();
    }
}

/// The simulator must be able to fail: a broker that loses what it was not told to forget is found.
#[test]
#[should_panic(expected = "was never stored")]
fn a_lost_event_is_noticed() {
    let mut world = World::new(Scene::Rabbit, 1, Telling::Quietly);
    world.broker.lose_one_message();
    world.run();
}

/// So is a disk that did not keep what it said.
#[test]
#[should_panic(expected = "are in no file")]
fn a_document_that_was_not_kept_is_noticed() {
    let mut world = World::new(Scene::Rabbit, 1, Telling::Quietly);
    world.disk.lies = true;
    world.run();
}

#[test]
#[should_panic(expected = "left: ")]
fn an_unheard_event_is_noticed() {
    let mut world = World::new(Scene::Redis, 1, Telling::Quietly);
    world.broker.lose_one_message();
    world.run();
}
