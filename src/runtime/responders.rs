//! The agent checks of a running agent: when sources are asked, who asks them, and what HAProxy is told.
//! It runs in the event loop and never waits: answers of threads come over a channel.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::event::Event;
use mio::net::TcpListener;
use mio::{Registry, Token};

use crate::agent_check::answer::Admin;
use crate::agent_check::cache::Cache;
use crate::agent_check::own::{self, ErrorRate, Posts};
use crate::agent_check::{Answer, Rules};
use crate::config::agent_check::{self as config, Source};
use crate::control::status::Status;
use crate::poller::Poller;
use crate::responder::{CONNECTIONS, Line, Responder};
use crate::source::bell::Bell;

/// Between the tokens of the control interface and those of the sources.
const FIRST: usize = 1 << 21;

/// What listens for HAProxy, before there is a loop.
#[derive(Debug, Default)]
pub struct CheckListeners(Vec<(TcpListener, config::Responder)>);

impl CheckListeners {
    /// Listens; the fault says for a human where, and what is wrong.
    pub fn open(responders: &[config::Responder]) -> Result<Self, String> {
        let open = |config: &config::Responder| Ok((listen(config)?, config.clone()));
        let open = responders.iter().map(open).collect::<Result<_, _>>();
        open.map(CheckListeners)
    }
}

fn listen(config: &config::Responder) -> Result<TcpListener, String> {
    let address = config.address;
    TcpListener::bind(address).map_err(|error| format!("agent_check {address}: {error}"))
}

/// All responders at work in a loop.
pub struct Responders {
    sites: Vec<Site>,
    /// How many there were, ever: what a thread finds out goes to the site that asked, or nowhere.
    count: usize,
    bell: Bell,
    sender: Sender<News>,
    news: Receiver<News>,
}

/// What a source's thread has found out.
struct News {
    site: usize,
    plugin: usize,
    answer: Result<Answer, String>,
}

/// One responder and its plugins.
struct Site {
    id: usize,
    /// Which tokens it has.
    slot: usize,
    config: config::Responder,
    responder: Responder,
    plugins: Vec<Plugin>,
}

/// One source.
struct Plugin {
    name: String,
    cache: Cache,
    asks: Asks,
    /// Why it gives no answer, while it does not.
    failing: Option<String>,
}

/// Who is asked.
enum Asks {
    Thread(Poller),
    /// This agent: it is known already.
    Own {
        rules: Arc<Rules>,
        paused: Option<Answer>,
        errors: ErrorRate,
    },
}

impl Responders {
    pub fn new(
        listeners: CheckListeners,
        registry: &Registry,
        bell: &Bell,
        now: Instant,
    ) -> io::Result<Self> {
        let (sender, news) = unbounded();
        let mut responders = Responders {
            sites: Vec::new(),
            count: 0,
            bell: bell.clone(),
            sender,
            news,
        };
        for (listener, config) in listeners.0 {
            responders.add(listener, config, registry, now)?;
        }
        Ok(responders)
    }

    fn add(
        &mut self,
        listener: TcpListener,
        config: config::Responder,
        registry: &Registry,
        now: Instant,
    ) -> io::Result<()> {
        let is_free = |slot: &usize| self.sites.iter().all(|site| site.slot != *slot);
        let slot = (0..).find(is_free).unwrap_or_default();
        let id = self.count;
        self.count += 1;
        let plugins = config.plugins.iter().enumerate();
        let plugins = plugins.map(|(plugin, config)| {
            let notify = notify((id, plugin), self.sender.clone(), self.bell.clone());
            Plugin::start(config, notify, now)
        });
        let token = Token(FIRST + slot * (CONNECTIONS + 1));
        self.sites.push(Site {
            id,
            slot,
            plugins: plugins.collect::<io::Result<_>>()?,
            responder: Responder::new(listener, registry, token)?,
            config,
        });
        Ok(())
    }

    /// Has these responders from now on; those that were there already go on as they are. One that
    /// cannot listen is told, and the others go on without it.
    pub fn apply(&mut self, configs: &[config::Responder], registry: &Registry, now: Instant) {
        self.sites.retain(|site| configs.contains(&site.config));
        for config in configs {
            if self.sites.iter().any(|site| site.config == *config) {
                continue;
            }
            let added = listen(config).and_then(|listener| {
                let added = self.add(listener, config.clone(), registry, now);
                added.map_err(|error| format!("agent_check {}: {error}", config.address))
            });
            if let Err(reason) = added {
                log::error!(reason = reason.as_str(); "cannot listen: haproxy cannot ask");
            }
        }
    }

    /// The poll saw something.
    pub fn wake(&mut self, event: &Event) {
        for site in &mut self.sites {
            site.responder.wake(event.token());
        }
    }

    /// True if a thread has found something out since the last turn.
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// True if the next turn may speak of the agent itself.
    pub fn needs_status(&self, now: Instant) -> bool {
        self.sites.iter().any(|site| {
            let has_knocked = site.responder.has_knocked();
            site.plugins.iter().any(|plugin| {
                let is_due = plugin.cache.deadline().is_some_and(|due| due <= now);
                matches!(plugin.asks, Asks::Own { .. }) && (is_due || has_knocked)
            })
        })
    }

    /// Asks, listens and tells.
    pub fn turn(&mut self, registry: &Registry, status: Option<&Status>, now: Instant) {
        while let Ok(news) = self.news.try_recv() {
            let asked = self.sites.iter_mut().find(|site| site.id == news.site);
            if let Some(site) = asked {
                let address = site.config.address;
                site.plugins[news.plugin].learn(news.answer, address, now);
            }
        }
        for site in &mut self.sites {
            site.turn(registry, status, now);
        }
    }

    /// When the next turn is due at the latest.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let plugins = self.sites.iter().flat_map(|site| &site.plugins);
        let due = plugins.filter_map(|plugin| plugin.cache.deadline());
        let responders = self.sites.iter();
        due.chain(responders.filter_map(|site| site.responder.deadline(now)))
            .min()
    }
}

/// How a source's thread tells what it has found out.
fn notify(
    (site, plugin): (usize, usize),
    sender: Sender<News>,
    bell: Bell,
) -> impl Fn(Result<Answer, String>) + Send + 'static {
    move |answer| {
        // The loop is gone only when the process ends.
        let _ = sender.send(News {
            site,
            plugin,
            answer,
        });
        bell.ring();
    }
}

impl Site {
    fn turn(&mut self, registry: &Registry, status: Option<&Status>, now: Instant) {
        // Those who waited first: whoever comes now may start a new question.
        self.tell(now);
        let came = self.responder.accept(registry, now) > 0;
        for plugin in &mut self.plugins {
            if plugin.cache.poll(now) || (came && plugin.cache.requested()) {
                plugin.ask(self.config.address, status, now);
            }
        }
        self.tell(now);
    }

    fn tell(&mut self, now: Instant) {
        let is_inline = |plugin: &Plugin| plugin.cache.is_inline() && plugin.cache.is_asked();
        let is_final = !self.plugins.iter().any(is_inline);
        let text = match self.responder.is_asked() {
            true => format!("{}\n", self.answer(now)),
            false => String::new(),
        };
        let text = text.as_bytes();
        self.responder.turn(&Line { text, is_final }, now);
    }

    /// What all plugins say together.
    fn answer(&self, now: Instant) -> Answer {
        let answers = self.plugins.iter().map(|plugin| plugin.cache.answer(now));
        answers.cloned().fold(Answer::NOTHING, Answer::and)
    }
}

impl Plugin {
    fn start(
        config: &config::Plugin,
        notify: impl Fn(Result<Answer, String>) + Send + 'static,
        now: Instant,
    ) -> io::Result<Self> {
        let rules = &config.rules;
        let asks = match (
            Poller::start(&config.source, rules, notify)?,
            &config.source,
        ) {
            (Some(poller), _) => Asks::Thread(poller),
            (None, Source::Own { paused }) => Asks::Own {
                rules: Arc::clone(rules),
                paused: paused.clone(),
                errors: ErrorRate::default(),
            },
            (None, _) => return Err(io::Error::other("a source without a thread")),
        };
        Ok(Plugin {
            name: config.name.clone(),
            cache: Cache::new(config.timing.clone(), now),
            asks,
            failing: None,
        })
    }

    fn ask(&mut self, address: SocketAddr, status: Option<&Status>, now: Instant) {
        let answer = match &mut self.asks {
            Asks::Thread(poller) => return poller.ask(),
            Asks::Own {
                rules,
                paused,
                errors,
            } => own_answer(rules, paused.as_ref(), errors, status, now),
        };
        self.learn(answer, address, now);
    }

    /// Takes an answer, or tells why there is none, once for each reason.
    fn learn(&mut self, answer: Result<Answer, String>, address: SocketAddr, now: Instant) {
        let failing = answer.as_ref().err().cloned();
        let plugin = self.name.as_str();
        match &failing {
            Some(reason) if self.failing != failing => {
                log::warn!(agent_check:% = address, plugin = plugin, reason = reason.as_str(); "source gives no answer: the last one counts until it is stale");
            }
            None if self.failing.is_some() => {
                log::info!(agent_check:% = address, plugin = plugin; "source gives answers again");
            }
            _ => {}
        }
        self.failing = failing;
        self.cache.polled(answer.ok(), now);
    }
}

/// What this agent says of itself. A plugin that speaks of pausing speaks of its end, too: what an
/// agent check has set only an agent check undoes.
fn own_answer(
    rules: &Rules,
    paused: Option<&Answer>,
    errors: &mut ErrorRate,
    status: Option<&Status>,
    now: Instant,
) -> Result<Answer, String> {
    let status = status.ok_or("the agent's state is not at hand")?;
    let error_percent = errors.percent(Posts::of(status), now);
    let answer = rules.judge_value(&own::record(status, error_percent))?;
    Ok(match paused {
        Some(paused) if own::is_paused(status) => answer.and(paused.clone()),
        Some(paused) if paused.admin.is_some() => answer.and(Answer::of_admin(Admin::Ready)),
        _ => answer,
    })
}
