//! A Consul of a few lines, and time that is told: what is asked, when, and what of it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::clock;
use crate::consul::request::Method;

const TTL: Duration = Duration::from_secs(30);
const WELL: Vitals = Vitals {
    is_consuming: true,
    is_api_well: true,
    is_paused: false,
    buffer_percent: 0,
};
const DOWN: Vitals = Vitals {
    is_consuming: false,
    ..WELL
};

/// What Consul knows: status and output by id, and when each was told that must be.
#[derive(Default)]
struct Known {
    service: bool,
    checks: BTreeMap<String, (String, String, Option<Duration>)>,
}

/// The registration, the Consul it talks to, and what was asked and told, in order.
struct World {
    registration: Registration,
    start: Instant,
    now: Duration,
    subscriptions: Vec<(String, Vitals)>,
    consul: Known,
    /// What each request is answered in place of the usual.
    refusal: Option<Answered>,
    asked: Vec<String>,
    news: Vec<News>,
    /// A check that turned critical since nobody told about it.
    expired: bool,
}

type Answered = Result<Answer, String>;

fn answer(status: u16, text: &str) -> Answered {
    let body = text.as_bytes().to_vec();
    Ok(Answer { status, body })
}

impl World {
    fn new(names: &[&str], checks: Vec<Check>) -> World {
        let settings = Settings {
            service: Service {
                id: "leek-agent".into(),
                name: "leek-agent".into(),
                address: None,
                port: None,
                tags: Vec::new(),
                meta: Vec::new(),
            },
            ttl: TTL,
            critical_after: Duration::from_secs(60),
            deregister_critical_after: None,
            checks,
        };
        let start = clock::monotonic();
        World {
            registration: Registration::new(settings, start, 7),
            start,
            now: Duration::ZERO,
            subscriptions: names
                .iter()
                .map(|name| ((*name).to_owned(), WELL))
                .collect(),
            consul: Known::default(),
            refusal: None,
            asked: Vec::new(),
            news: Vec::new(),
            expired: false,
        }
    }

    fn at(&self) -> Instant {
        self.start + self.now
    }

    /// Everything that is due until then.
    fn run_for(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        loop {
            self.turn();
            let next = self.registration.deadline(self.at());
            let next = next.map_or(end, |at| at.saturating_duration_since(self.start));
            if next >= end {
                self.now = end;
                return;
            }
            assert!(
                next > self.now,
                "a deadline that has passed leaves something to do"
            );
            self.now = next;
        }
    }

    fn turn(&mut self) {
        let now = self.at();
        let seen = self.subscriptions.iter();
        let seen = seen.map(|(name, vitals)| (name.as_str(), *vitals));
        self.registration.look(seen, now);
        while let Some(request) = self.request() {
            let answer = self
                .refusal
                .clone()
                .unwrap_or_else(|| self.consul_answer(&request));
            self.news.extend(self.registration.answered(answer, now));
        }
        let overdue = |told: &Option<Duration>| told.is_some_and(|told| self.now - told > TTL);
        self.expired |= self
            .consul
            .checks
            .values()
            .any(|(_, _, told)| overdue(told));
    }

    fn request(&mut self) -> Option<Request> {
        let now = self.at();
        let reasons = |name: &str| std::iter::once(format!("{name} is down"));
        let request = self.registration.poll_request(reasons, now)?;
        assert_eq!(request.method, Method::Put);
        let target = request.target.replace("/v1/agent/", "").replace("%3A", ":");
        self.asked.push(format!("{} {target}", self.now.as_secs()));
        Some(request)
    }

    fn consul_answer(&mut self, request: &Request) -> Answered {
        let body: Value =
            serde_json::from_str(request.body.as_deref().unwrap_or("{}")).expect("JSON");
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let path = request.target.split('?').next().unwrap_or_default();
        let id = path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .replace("%3A", ":");
        let checks = &mut self.consul.checks;
        match path.strip_prefix("/v1/agent/").unwrap_or_default() {
            "service/register" => {
                checks.clear();
                self.consul.service = true;
                for check in body["Checks"].as_array().into_iter().flatten() {
                    let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
                    checks.insert(
                        text("CheckID"),
                        (text("Status"), String::new(), Some(self.now)),
                    );
                }
            }
            "check/register" if !self.consul.service => return answer(500, "no such service"),
            "check/register" if body.get("Args").is_some() => {
                return answer(400, "Scripts are disabled");
            }
            "check/register" => {
                let told = body.get("TTL").map(|_| self.now);
                checks.insert(text("ID"), (text("Status"), String::new(), told));
            }
            path if path.starts_with("check/update/") => match checks.get_mut(&id) {
                Some(check) => *check = (text("Status"), text("Output"), Some(self.now)),
                None => return answer(404, "Unknown check ID"),
            },
            path if path.starts_with("check/deregister/") => _ = checks.remove(&id),
            path if path.starts_with("service/deregister/") => self.consul = Known::default(),
            other => panic!("{other}"),
        }
        answer(200, "")
    }

    fn status(&self, id: &str) -> &str {
        self.consul
            .checks
            .get(id)
            .map_or("none", |(status, ..)| status)
    }
}

fn theirs(id: &str, kind: Kind) -> Check {
    Check {
        id: id.into(),
        name: id.into(),
        notes: None,
        kind,
        deregister_critical_after: None,
        status: None,
    }
}

#[test]
fn it_registers_once_and_renews_well_before_the_ttl() {
    let mut world = World::new(&["shop-qa"], Vec::new());
    world.run_for(31);
    let expected = [
        "0 service/register?replace-existing-checks",
        "0 check/register",
        "0 check/update/leek-agent",
        "0 check/update/leek-agent:shop-qa",
        "10 check/update/leek-agent",
        "10 check/update/leek-agent:shop-qa",
        "20 check/update/leek-agent",
        "20 check/update/leek-agent:shop-qa",
        "30 check/update/leek-agent",
        "30 check/update/leek-agent:shop-qa",
    ];
    assert_eq!(world.asked, expected);
    assert_eq!(world.news, [News::Registered]);
    let (_, output, _) = &world.consul.checks["leek-agent"];
    assert!(output.ends_with("1 of 1 subscriptions passing"), "{output}");
    world.run_for(3600);
    assert!(!world.expired && world.news.len() == 1);
}

#[test]
fn health_is_told_as_it_changes() {
    let mut world = World::new(&["shop-qa", "till-qa"], Vec::new());
    world.run_for(5);
    world.subscriptions[1].1 = DOWN;
    world.run_for(1);
    assert_eq!(world.status("leek-agent:till-qa"), "warning");
    let (_, output, _) = &world.consul.checks["leek-agent:till-qa"];
    assert_eq!(output, "till-qa is down");
    world.run_for(58);
    assert_eq!(world.status("leek-agent:till-qa"), "warning");
    world.run_for(2);
    assert_eq!(world.status("leek-agent:till-qa"), "critical");
    assert_eq!(world.status("leek-agent:shop-qa"), "passing");
    world.subscriptions[1].1 = WELL;
    world.run_for(1);
    assert_eq!(world.status("leek-agent:till-qa"), "passing");
}

#[test]
fn what_flaps_is_told_once_a_second_at_most() {
    let mut world = World::new(&["shop-qa"], Vec::new());
    world.run_for(5);
    let before = world.asked.len();
    for turn in 0..1000 {
        world.subscriptions[0].1 = if turn % 2 == 0 { DOWN } else { WELL };
        world.now += Duration::from_millis(10);
        world.turn();
    }
    let told = world.asked.len() - before;
    assert!((5..=12).contains(&told), "{told}");
}

#[test]
fn a_consul_that_forgot_is_told_everything_again() {
    let mut world = World::new(&["shop-qa"], Vec::new());
    world.run_for(5);
    world.consul = Known::default();
    world.run_for(15);
    assert!(
        matches!(
            world.news[..],
            [News::Registered, News::Forgotten { .. }, News::Registered]
        ),
        "{:?}",
        world.news
    );
    assert_eq!(world.status("leek-agent:shop-qa"), "passing");
    // One check alone is missed, too.
    world.consul.checks.remove("leek-agent:shop-qa");
    world.run_for(15);
    assert_eq!(world.status("leek-agent:shop-qa"), "passing");
}

#[test]
fn a_consul_that_is_down_is_asked_ever_more_rarely_and_answered_at_once() {
    let mut world = World::new(&["shop-qa"], Vec::new());
    world.run_for(5);
    world.refusal = Some(Err("connection refused".into()));
    let before = world.asked.len();
    world.run_for(3600);
    let asked = world.asked.len() - before;
    assert!(
        (60..200).contains(&asked),
        "{asked}: about one in half a minute"
    );
    world.refusal = None;
    world.run_for(60);
    assert_eq!(world.status("leek-agent:shop-qa"), "passing");
    let registered = world
        .asked
        .iter()
        .filter(|line| line.contains("service/register"));
    assert_eq!(registered.count(), 1, "nothing was forgotten");
}

#[test]
fn a_token_that_may_not_is_a_matter_for_people() {
    let mut world = World::new(&["shop-qa"], Vec::new());
    world.refusal = Some(answer(403, "Permission denied"));
    world.run_for(600);
    assert!(world.asked.len() <= 21, "{}", world.asked.len());
    let all_refused = world
        .news
        .iter()
        .all(|news| matches!(news, News::Refused { reason, .. } if reason.contains("token")));
    assert!(all_refused, "{:?}", world.news);
}

#[test]
fn subscriptions_that_come_and_go_are_followed() {
    let mut world = World::new(&["a-qa", "b-qa"], Vec::new());
    world.run_for(5);
    world.subscriptions.remove(0);
    world.subscriptions.push(("c-qa".into(), WELL));
    world.run_for(1);
    let ids: Vec<&str> = world.consul.checks.keys().map(String::as_str).collect();
    assert_eq!(ids, ["leek-agent", "leek-agent:b-qa", "leek-agent:c-qa"]);
    world.subscriptions.insert(0, ("a-qa".into(), WELL));
    world.subscriptions.swap(0, 2);
    world.run_for(1);
    assert_eq!(world.consul.checks.len(), 4);
    world.run_for(300);
    assert!(!world.expired);
    let registered = world
        .asked
        .iter()
        .filter(|line| line.contains("service/register"));
    assert_eq!(registered.count(), 1);
}

#[test]
fn one_of_the_users_checks_that_is_refused_hinders_no_other() {
    let interval = Duration::from_secs(10);
    let script = theirs(
        "script",
        Kind::Args {
            words: vec!["true".into()],
            interval,
        },
    );
    let tcp = theirs(
        "port",
        Kind::Tcp {
            place: "h:1".into(),
            interval,
        },
    );
    let mut world = World::new(&["a-qa"], vec![script, tcp]);
    world.run_for(100);
    let expected = News::CheckRefused {
        id: "script".into(),
        reason: "400: Scripts are disabled".into(),
    };
    assert_eq!(world.news, [News::Registered, expected]);
    let ids: Vec<&str> = world.consul.checks.keys().map(String::as_str).collect();
    assert_eq!(ids, ["leek-agent", "leek-agent:a-qa", "port"]);
}

#[test]
fn it_leaves_in_one_request_and_never_waits_for_a_dead_consul() {
    let mut world = World::new(&["a-qa"], Vec::new());
    world.run_for(5);
    world.registration.leave(world.at());
    assert!(!world.registration.is_gone());
    world.turn();
    assert!(world.registration.is_gone() && !world.consul.service);
    assert_eq!(world.registration.deadline(world.at()), None);

    let mut world = World::new(&["a-qa"], Vec::new());
    world.refusal = Some(Err("timed out".into()));
    world.turn();
    world.registration.leave(world.at());
    assert!(world.registration.is_gone());
}

#[test]
fn a_service_on_its_way_in_is_taken_out_again() {
    let mut world = World::new(&["a-qa"], Vec::new());
    let request = world.request().expect("the service");
    world.registration.leave(world.at());
    let answer = world.consul_answer(&request);
    world.registration.answered(answer, world.at());
    world.turn();
    assert!(world.registration.is_gone() && !world.consul.service);
}

#[test]
fn a_subscription_that_goes_while_it_is_registered_leaves_nothing_behind() {
    let mut world = World::new(&["a-qa"], Vec::new());
    let service = world.request().expect("the service");
    let answer = world.consul_answer(&service);
    world.registration.answered(answer, world.at());
    let seen = [("a-qa", WELL)];
    world.registration.look(seen.into_iter(), world.at());
    let check = world.request().expect("the check");
    world.registration.look(std::iter::empty(), world.at());
    let answer = world.consul_answer(&check);
    world.registration.answered(answer, world.at());
    world.subscriptions.clear();
    world.turn();
    let ids: Vec<&str> = world.consul.checks.keys().map(String::as_str).collect();
    assert_eq!(ids, ["leek-agent"]);
}

/// Consul goes, forgets, refuses and hangs, subscriptions come, go and fail, in any order: a while after
/// the last of it Consul knows exactly what is so.
#[test]
fn whatever_happened_consul_knows_the_truth_in_the_end() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::new(&["a-qa"], Vec::new());
        for _ in 0..random.usize(..40) {
            trouble(&mut world, &mut random);
            world.run_for(random.u64(..50));
        }
        world.refusal = None;
        world.expired = false;
        // The longest backoff, the grace time, and a renewal.
        world.run_for(60 + 60 + 30);
        let mut expected: BTreeMap<String, &str> = BTreeMap::new();
        expected.insert("leek-agent".into(), "passing");
        for (name, vitals) in &world.subscriptions {
            let status = if *vitals == WELL {
                "passing"
            } else {
                "critical"
            };
            expected.insert(format!("leek-agent:{name}"), status);
        }
        let known = world.consul.checks.iter();
        let known = known.map(|(id, (status, ..))| (id.clone(), status.as_str()));
        assert_eq!(known.collect::<BTreeMap<_, _>>(), expected, "seed {seed}");
        world.expired = false;
        world.run_for(300);
        assert!(!world.expired, "seed {seed}");
    }
}

fn trouble(world: &mut World, random: &mut fastrand::Rng) {
    match random.u8(..8) {
        0 => world.consul = Known::default(),
        1 => world.refusal = Some(Err("timed out".into())),
        2 => world.refusal = Some(answer(503, "no leader")),
        3 => world.refusal = Some(answer(500, "no")),
        4 => world.refusal = None,
        5 => {
            let name = format!("{}-qa", random.lowercase());
            if world.subscriptions.iter().all(|(known, _)| *known != name) {
                let place = random.usize(..=world.subscriptions.len());
                world.subscriptions.insert(place, (name, WELL));
            }
        }
        6 if !world.subscriptions.is_empty() => {
            let place = random.usize(..world.subscriptions.len());
            world.subscriptions.remove(place);
        }
        _ => {
            for (_, vitals) in &mut world.subscriptions {
                *vitals = if random.bool() { WELL } else { DOWN };
            }
        }
    }
}
