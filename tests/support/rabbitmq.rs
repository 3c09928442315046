//! A private RabbitMQ node: its own ports, its own cookie, its own epmd, all in a temporary folder.
//!
//! Starting one takes about seven seconds, so a test binary shares [`shared`] and each test gets a
//! vhost of its own; only the tests that kill or stop their broker start one for themselves.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use tempfile::TempDir;

use super::agent::SOON;
use super::certs::{Authority, Pair};
use super::keeper::{Group, keep_folder, lock};
use super::wait::{poll, wait_until};

/// The script that knows how to keep a node to itself; the demo uses it, too.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/parts/rabbitmq");
/// Whom that script lets in.
pub const USER: &str = "leek";
pub const PASSWORD: &str = "carrot-and-barley";
/// A node starts in 7 s alone; other builders may use the same cores.
const START_LIMIT: Duration = Duration::from_secs(90);

/// A running node. Dropping it kills it and removes its folder.
pub struct Rabbit {
    folder: TempDir,
    amqp_port: u16,
    /// Nought without TLS.
    tls_port: u16,
    dist_port: u16,
    epmd_port: u16,
    _epmd: Group,
    node: Mutex<Option<Group>>,
}

/// A corner of a node for one test.
pub struct Vhost<'a> {
    rabbit: &'a Rabbit,
    pub name: String,
}

/// What a queue holds, as the broker counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    pub ready: u64,
    pub unacked: u64,
}

impl Depth {
    pub fn total(self) -> u64 {
        self.ready + self.unacked
    }
}

/// The node that all tests of a binary share; the keeper ends it with them.
pub fn shared() -> &'static Rabbit {
    static SHARED: OnceLock<Rabbit> = OnceLock::new();
    SHARED.get_or_init(Rabbit::start)
}

impl Rabbit {
    /// Starts a node and waits until it takes connections.
    pub fn start() -> Rabbit {
        Rabbit::start_with("", "[].")
    }

    /// Starts a node that takes TLS on a second port, shows `server`, and looks at certificates of
    /// `authority` where a client shows one: its common name is the user of an EXTERNAL login.
    pub fn start_tls(authority: &Authority, server: &Pair) -> Rabbit {
        let (port, ca) = (free_port(), authority.ca());
        let (ca, cert, key) = (ca.display(), server.cert.display(), server.key.display());
        let conf = format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\n\
             ssl_options.cacertfile = {ca}\n\
             ssl_options.certfile = {cert}\n\
             ssl_options.keyfile = {key}\n\
             ssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = false\n\
             ssl_cert_login_from = common_name\n\
             auth_mechanisms.1 = PLAIN\n\
             auth_mechanisms.2 = EXTERNAL\n"
        );
        let mut rabbit = Rabbit::start_with(&conf, "[rabbitmq_auth_mechanism_ssl].");
        wait_until(START_LIMIT, "the TLS port is open", || accepts(port));
        rabbit.tls_port = port;
        rabbit
    }

    fn start_with(conf: &str, plugins: &str) -> Rabbit {
        let folder = tempfile::tempdir().expect("a temporary folder");
        keep_folder(folder.path());
        let (amqp_port, dist_port, epmd_port) = (free_port(), free_port(), free_port());
        let epmd = Group::spawn(
            Command::new("epmd")
                .args(["-port", &epmd_port.to_string(), "-address", "127.0.0.1"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        wait_until(Duration::from_secs(10), "epmd listens", || {
            accepts(epmd_port)
        });
        fs::write(folder.path().join("extra.conf"), conf).expect("writable");
        fs::write(folder.path().join("enabled_plugins"), plugins).expect("writable");
        let rabbit = Rabbit {
            folder,
            amqp_port,
            tls_port: 0,
            dist_port,
            epmd_port,
            _epmd: epmd,
            node: Mutex::new(None),
        };
        rabbit.start_node();
        rabbit
    }

    /// Starts the node again on the same ports and data.
    pub fn start_node(&self) {
        let log = fs::File::create(self.folder.path().join("output")).expect("writable");
        let mut node = Group::spawn(
            self.command("rabbitmq-server")
                .stdout(log.try_clone().expect("a descriptor"))
                .stderr(log),
        );
        let up = poll(START_LIMIT, || {
            (node.try_wait().is_some() || accepts(self.amqp_port)).then_some(())
        });
        let running = up.is_some() && node.try_wait().is_none();
        assert!(running, "RabbitMQ did not start:\n{}", self.output());
        *lock(&self.node) = Some(node);
    }

    /// Kills the node as a power cut would.
    pub fn kill9(&self) {
        lock(&self.node).take().expect("the node runs").kill();
    }

    /// Brings a node that a failed test left stopped or dead back to life.
    pub fn heal(&self) {
        let runs = lock(&self.node).is_some();
        if runs {
            self.sigcont()
        } else {
            self.start_node()
        }
    }

    /// Kills the node and starts it again on the same data.
    pub fn restart(&self) {
        self.kill9();
        self.start_node();
    }

    /// Freezes the node: its sockets stay open and silent.
    pub fn sigstop(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Ends [`Rabbit::sigstop`].
    pub fn sigcont(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: libc::c_int) {
        lock(&self.node)
            .as_ref()
            .expect("the node runs")
            .signal_all(signal);
    }

    /// The broker URL of `vhost` with the given credentials.
    pub fn url_as(&self, user: &str, password: &str, vhost: &str) -> String {
        format!(
            "amqp://{user}:{password}@127.0.0.1:{}/{vhost}",
            self.amqp_port
        )
    }

    /// Where clients find it in plain AMQP.
    pub fn amqp_port(&self) -> u16 {
        self.amqp_port
    }

    /// Where clients find it in TLS.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// Adds a user who may use `vhost`; the names are written into an Erlang string.
    pub fn user(&self, name: &str, password: &str, vhost: &str) {
        self.eval(&format!(
            "ok = rabbit_auth_backend_internal:add_user(<<\"{name}\"/utf8>>, <<\"{password}\"/utf8>>, \
             <<\"test\">>), \
             ok = rabbit_auth_backend_internal:set_permissions(<<\"{name}\"/utf8>>, \
             <<\"{vhost}\"/utf8>>, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"test\">>)."
        ));
    }

    /// Makes a fresh vhost that [`USER`] may use.
    pub fn vhost(&self, name: &str) -> Vhost<'_> {
        self.vhosts(&[name.to_owned()]);
        self.existing(name)
    }

    /// One that was made already.
    pub fn existing(&self, name: &str) -> Vhost<'_> {
        Vhost {
            rabbit: self,
            name: name.to_owned(),
        }
    }

    /// Makes several at once, which takes no longer than one.
    pub fn vhosts(&self, names: &[String]) {
        let make = |name: &String| {
            format!(
                "ok = rabbit_vhost:add(<<\"{name}\"/utf8>>, <<\"test\">>), \
                 ok = rabbit_auth_backend_internal:set_permissions(<<\"{USER}\">>, \
                 <<\"{name}\"/utf8>>, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"test\">>)"
            )
        };
        let all: Vec<String> = names.iter().map(make).collect();
        self.eval(&format!("{}.", all.join(", ")));
    }

    /// Evaluates an Erlang expression in the node: one process for what would take several.
    pub fn eval(&self, expression: &str) -> String {
        self.ctl(&["eval", expression])
    }

    /// Runs this node's `rabbitmqctl` and gives its output.
    pub fn ctl(&self, args: &[&str]) -> String {
        let output = self
            .command("rabbitmqctl")
            .arg("-q")
            .args(args)
            .output()
            .expect("rabbitmqctl starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "rabbitmqctl {args:?}: {text}{errors}"
        );
        text
    }

    /// What the node printed, for a test that failed.
    pub fn output(&self) -> String {
        fs::read_to_string(self.folder.path().join("output")).unwrap_or_default()
    }

    fn command(&self, tool: &str) -> Command {
        let ports = [self.amqp_port, self.dist_port, self.epmd_port];
        let mut command = Command::new(SCRIPT);
        command
            .stdin(Stdio::null())
            .arg(self.folder.path())
            .args(ports.map(|port| port.to_string()))
            .arg(tool);
        command
    }
}

impl Vhost<'_> {
    /// Where a client finds this vhost.
    pub fn url(&self) -> String {
        self.rabbit.url_as(USER, PASSWORD, &self.name)
    }

    /// The same in TLS, by a name that certificates have.
    pub fn tls_url(&self) -> String {
        let (port, name) = (self.rabbit.tls_port, &self.name);
        format!("amqps://{USER}:{PASSWORD}@localhost:{port}/{name}")
    }

    /// What `queue` holds; nothing where it does not exist.
    pub fn depth(&self, queue: &str) -> Depth {
        let table = self.list(&[
            "list_queues",
            "name",
            "messages_ready",
            "messages_unacknowledged",
        ]);
        let row = table.into_iter().find(|row| row[0] == queue);
        row.map_or(Depth::default(), |row| Depth {
            ready: row[1].parse().expect("a count"),
            unacked: row[2].parse().expect("a count"),
        })
    }

    /// Waits until `queue` holds exactly that.
    #[track_caller]
    pub fn wait_depth(&self, queue: &str, ready: u64, unacked: u64) {
        let wanted = Depth { ready, unacked };
        let reached = poll(SOON, || (self.depth(queue) == wanted).then_some(()));
        assert!(reached.is_some(), "{:?}, not {wanted:?}", self.depth(queue));
    }

    /// How many consumers `queue` has.
    pub fn consumers(&self, queue: &str) -> usize {
        let table = self.list(&["list_consumers", "queue_name"]);
        table.iter().filter(|row| row[0] == queue).count()
    }

    /// Deletes `queue`, whoever consumes it.
    pub fn delete_queue(&self, queue: &str) {
        self.rabbit.ctl(&["delete_queue", "-p", &self.name, queue]);
    }

    /// Closes the connections of all agents by force.
    pub fn close_agents(&self) {
        self.rabbit.eval(&format!(
            "[rabbit_networking:close_connection(P, \"test\") || \
             [{{pid, P}}, {{vhost, <<\"{}\">>}}, {{client_properties, C}}] <- \
             rabbit_networking:connection_info_all([pid, vhost, client_properties]), \
             lists:any(fun({{_, _, V}}) -> is_binary(V) andalso \
             binary:match(V, <<\"leek-agent:\">>) =/= nomatch end, C)].",
            self.name
        ));
    }

    /// Empties `queue` of what no consumer holds.
    pub fn purge(&self, queue: &str) {
        self.rabbit.ctl(&["purge_queue", "-p", &self.name, queue]);
    }

    fn list(&self, args: &[&str]) -> Vec<Vec<String>> {
        let mut all = vec![args[0], "-p", &self.name, "--no-table-headers"];
        all.extend(&args[1..]);
        let row = |line: &str| line.split('\t').map(str::to_owned).collect();
        self.rabbit.ctl(&all).lines().map(row).collect()
    }
}

fn accepts(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// A port that nobody listens on, from below the range that the kernel gives to outgoing
/// connections: while a broker is down, a client that keeps trying an ephemeral port can end up
/// connected to itself.
pub fn free_port() -> u16 {
    std::iter::repeat_with(|| fastrand::u16(20_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("some port is free")
}
