//! Asks the sources of agent checks, a thread for each: it blocks in ureq or in a file, judges what
//! came by the plugin's rules, and keeps nothing. A pattern over a long text takes its time, too, so
//! the event loop is handed the finished answer.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use ureq::Agent;
use ureq::http::header::AUTHORIZATION;
use ureq::http::{HeaderValue, Request};

use crate::agent_check::{Answer, Rules};
use crate::config::agent_check::{Http, Source};
use crate::outbound::{self, Place, Timeouts, failure};

/// What a source may say: status pages have some kilobytes, those of a broker with many queues more.
const SAID_MAX: u64 = 256 * 1024;

/// JSON that nests as deep as its check allows is read by recursion, and regular expressions need
/// some beside what a request takes. Only what is used counts.
const STACK_SIZE: usize = 2 * 1024 * 1024;

/// Until a connection stands: sources are on this machine or close by.
const CONNECT: Duration = Duration::from_secs(5);

/// As many as Herald's client would follow, and more than any status page needs.
const REDIRECTS_MAX: u32 = 5;

/// `open` returns at once, whatever it finds. The same number on all of our targets.
const O_NONBLOCK: i32 = 0o4000;

const PLACE: Place = Place {
    address: "url",
    tls: "ca_file",
    closed: "check that url is what it should be",
    proxy: None,
};

/// One source's thread. Dropped, it lets the thread end, and does not wait for it.
pub struct Poller {
    questions: Sender<()>,
}

impl Poller {
    /// Starts the thread; `notify` gets what each question comes to. `None` for a source that needs
    /// none.
    pub fn start(
        source: &Source,
        rules: &Arc<Rules>,
        notify: impl Fn(Result<Answer, String>) + Send + 'static,
    ) -> io::Result<Option<Self>> {
        let read: Box<dyn Fn() -> Result<Vec<u8>, String> + Send> = match source {
            Source::Own { .. } => return Ok(None),
            Source::File(path) => {
                let path = path.clone();
                Box::new(move || read_file(&path))
            }
            Source::Http(http) => {
                let page = WebPage::new(http)?;
                Box::new(move || page.read())
            }
        };
        let rules = Arc::clone(rules);
        let answer = move || outbound::guarded(|| rules.judge(&read()?)).unwrap_or_else(Err);
        let (questions, asked) = bounded(1);
        thread::Builder::new()
            .name("leek-poll".to_owned())
            .stack_size(STACK_SIZE)
            .spawn(move || asked.iter().for_each(|()| notify(answer())))?;
        Ok(Some(Poller { questions }))
    }

    /// Asks; never blocks. One question at a time: a further one is dropped.
    pub fn ask(&self) {
        let _ = self.questions.try_send(());
    }
}

/// A regular file's bytes. Anything else, such as a pipe that nobody writes to, is refused.
fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let read = || {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(O_NONBLOCK)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        read_bounded(file)
    };
    read().map_err(|error| format!("{}: {error}", path.display()))
}

fn read_bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(SAID_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > SAID_MAX {
        true => Err(io::Error::other(format!("more than {SAID_MAX} bytes"))),
        false => Ok(bytes),
    }
}

/// What an http source is asked by.
struct WebPage {
    agent: Agent,
    url: String,
    login: Option<HeaderValue>,
}

impl WebPage {
    fn new(http: &Http) -> io::Result<Self> {
        let timeouts = Timeouts {
            connect: http.timeout.min(CONNECT),
            request: http.timeout,
        };
        let config = outbound::config(1, timeouts).max_redirects(REDIRECTS_MAX);
        let login = http.login.as_ref();
        let login = login.map(|login| outbound::basic_header("authorization", login.expose()));
        Ok(WebPage {
            agent: outbound::agent(config.build(), 1, http.tls.as_ref()),
            url: http.url.clone(),
            login: login.transpose()?,
        })
    }

    fn read(&self) -> Result<Vec<u8>, String> {
        let failed = |error: &ureq::Error| failure::reason(error, &PLACE);
        let request = Request::get(&self.url).body(());
        let mut request = request.map_err(|error| failed(&error.into()))?;
        if let Some(login) = &self.login {
            request.headers_mut().insert(AUTHORIZATION, login.clone());
        }
        let response = self.agent.run(request).map_err(|error| failed(&error))?;
        let (head, mut body) = response.into_parts();
        if !head.status.is_success() {
            return Err(format!("the source answered {}", head.status.as_u16()));
        }
        read_bounded(body.as_reader()).map_err(|error| failed(&error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent_check::Expression;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;
    use std::sync::mpsc::channel;

    fn rules(is_json: bool, metric: &str) -> Arc<Rules> {
        Arc::new(Rules {
            is_json,
            patterns_metric: Expression::parse("r").unwrap(),
            patterns: Vec::new(),
            thresholds_metric: Expression::parse(metric).unwrap(),
            thresholds: vec![crate::agent_check::rules::Threshold::Percent {
                full: 10.0,
                least: 1,
            }],
            default: Answer::NOTHING,
        })
    }

    #[track_caller]
    fn check(path: &Path, rules: &Arc<Rules>, expect: Result<&str, &str>) {
        let (tell, told) = channel();
        let notify = move |answer| tell.send(answer).unwrap();
        let poller = Poller::start(&Source::File(path.into()), rules, notify).unwrap();
        poller.expect("a thread").ask();
        let answer = told.recv_timeout(Duration::from_secs(20)).expect("it ends");
        match (answer.map(|answer| answer.to_string()), expect) {
            (Ok(line), Ok(expected)) => assert_eq!(line, expected),
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_regular_files_are_read_and_none_without_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("load"), " 5\n").unwrap();
        symlink(path("load"), path("link")).unwrap();
        let made = Command::new("mkfifo").arg(path("fifo")).status().unwrap();
        assert!(made.success());
        fs::write(path("long"), vec![b'1'; SAID_MAX as usize + 1]).unwrap();
        let text = rules(false, "int(r)");
        check(&path("load"), &text, Ok("50%"));
        check(&path("link"), &text, Ok("50%"));
        check(&path("fifo"), &text, Err("fifo: not a regular file"));
        check(folder.path(), &text, Err("not a regular file"));
        check(Path::new("/dev/zero"), &text, Err("not a regular file"));
        check(&path("gone"), &text, Err("gone: No such file"));
        check(&path("long"), &text, Err("more than 262144 bytes"));
    }

    /// Deeper JSON is refused; this is read, shown and compared by recursion.
    #[test]
    fn the_deepest_json_fits_the_stack() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep");
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        fs::write(&path, nested(1_000)).unwrap();
        check(
            &path,
            &rules(true, "len(str(r)) if r == r else 0"),
            Ok("1%"),
        );
        fs::write(&path, nested(100_000)).unwrap();
        check(&path, &rules(true, "len(r)"), Err("not JSON"));
    }
}
