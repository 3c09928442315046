//! Where a running agent lets itself be asked: a unix socket, a TCP port, both or neither.

use std::convert::Infallible;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::{TcpListener, UnixListener};
use mio::{Registry, Token};

use crate::control::action::Action;
use crate::control::status::Status;
use crate::control::{self, Door, Guard, Places, Reply};
use crate::http::{Limits, Response};
use crate::server::{self, Listener, Server, Size};

/// Connections at once on each listener: a few people and a Prometheus. Slow clients on TCP cannot
/// take the socket's places.
const CONNECTIONS: usize = 8;

/// A request is a line and some headers, and perhaps a subscription; its answer some kilobytes.
const LIMITS: Limits = Limits {
    head: 8 * 1024,
    headers: 64,
    body: 64 * 1024,
    request: Duration::from_secs(10),
    idle: Duration::from_secs(60),
};

const SIZE: Size = Size {
    connections: CONNECTIONS,
    read: 8 * 1024,
    limits: LIMITS,
};

/// Below the tokens of all sources.
const SOCKET: Token = Token(1 << 20);
const TCP: Token = Token(SOCKET.0 + CONNECTIONS + 1);

/// What listens, before there is a loop. Dropping it removes the socket's file.
#[derive(Debug, Default)]
pub struct Listeners {
    socket: Option<(UnixListener, SocketFile)>,
    tcp: Option<TcpListener>,
    guard: Guard,
}

impl Listeners {
    /// Listens; the fault says for a human which place, what is wrong and what to do.
    pub fn open(places: &Places) -> Result<Self, String> {
        let socket = places.socket.as_deref().map(|path| {
            bind_socket(path)
                .map_err(|error| format!("--control-socket {}: {error}", path.display()))
        });
        let tcp = places.tcp.map(|address| {
            TcpListener::bind(address).map_err(|error| format!("--listen {address}: {error}"))
        });
        Ok(Listeners {
            socket: socket.transpose()?,
            tcp: tcp.transpose()?,
            guard: places.guard.clone(),
        })
    }
}

/// A request that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    door: Door,
    ticket: server::Ticket,
}

/// The listeners at work in a loop.
#[derive(Debug, Default)]
pub struct Servers {
    socket: Option<Server>,
    tcp: Option<Server>,
    guard: Guard,
    _file: Option<SocketFile>,
}

impl Servers {
    pub fn new(listeners: Listeners, registry: &Registry) -> io::Result<Self> {
        let (socket, file) = listeners.socket.unzip();
        let serve = |listener, token| Server::new(listener, SIZE, registry, token);
        let socket = socket.map(|listener| serve(Listener::Unix(listener), SOCKET));
        let tcp = listeners.tcp;
        let tcp = tcp.map(|listener| serve(Listener::Tcp(listener), TCP));
        Ok(Servers {
            socket: socket.transpose()?,
            tcp: tcp.transpose()?,
            guard: listeners.guard,
            _file: file,
        })
    }

    /// The poll saw something.
    pub fn wake(&mut self, event: &Event) {
        for server in [&mut self.socket, &mut self.tcp].into_iter().flatten() {
            server.wake(event.token());
        }
    }

    /// Answers what was asked; `status` is called for requests that need it. What is to be done first is
    /// handed back.
    pub fn turn(
        &mut self,
        registry: &Registry,
        status: impl Fn() -> Status,
        now: Instant,
    ) -> Vec<(Ticket, Action)> {
        let mut orders = Vec::new();
        let doors = [(&mut self.socket, Door::Socket), (&mut self.tcp, Door::Tcp)];
        for (server, door) in doors {
            let Some(server) = server else { continue };
            let Ok(()) = server.turn::<Infallible>(
                registry,
                |request, ticket| match control::answer(request, door, &self.guard, &status) {
                    Reply::Now(response) => Ok(Some(response)),
                    Reply::After(action) => {
                        orders.push((Ticket { door, ticket }, action));
                        Ok(None)
                    }
                },
                now,
            );
        }
        orders
    }

    /// Answers a request that waits.
    pub fn respond(&mut self, Ticket { door, ticket }: Ticket, response: &Response, now: Instant) {
        let server = match door {
            Door::Socket => &mut self.socket,
            Door::Tcp => &mut self.tcp,
        };
        if let Some(server) = server {
            server.respond(ticket, response, now);
        }
    }

    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let servers = [&self.socket, &self.tcp].into_iter().flatten();
        servers.filter_map(|server| server.deadline(now)).min()
    }
}

/// Removes the file at the end.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Binds in a folder that nobody else can enter and moves the socket to its place, so that it is at no
/// time open to others. One that a killed agent left behind is replaced; one that answers, or a file
/// that is none, is not.
fn bind_socket(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    if let Ok(found) = fs::symlink_metadata(path) {
        let in_the_way = |why| Err(io::Error::new(io::ErrorKind::AddrInUse, why));
        if !found.file_type().is_socket() {
            return in_the_way("another file is there: expected a place for a socket");
        }
        if UnixStream::connect(path).is_ok() {
            return in_the_way("another process answers there: one agent a socket");
        }
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let folder = parent
        .unwrap_or(Path::new("."))
        .join(format!(".leek-{}", std::process::id()));
    DirBuilder::new().mode(0o700).create(&folder)?;
    let bound = bind_in(&folder, path);
    fs::remove_dir_all(&folder)?;
    bound
}

fn bind_in(folder: &Path, path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let hidden = folder.join("s");
    let listener = UnixListener::bind(&hidden)?;
    fs::set_permissions(&hidden, Permissions::from_mode(0o600))?;
    fs::rename(&hidden, path)?;
    Ok((listener, SocketFile(path.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(socket: &Path) -> Places {
        Places {
            socket: Some(socket.to_owned()),
            ..Places::default()
        }
    }

    #[test]
    fn the_socket_is_its_owners_and_goes_with_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let listeners = Listeners::open(&places(&path)).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(UnixStream::connect(&path).is_ok());
        let busy = Listeners::open(&places(&path)).unwrap_err();
        assert!(busy.contains("another process answers there"), "{busy}");
        drop(listeners);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_agent_left_is_replaced_and_any_other_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(Listeners::open(&places(&path)).unwrap());
        fs::write(&path, "precious").unwrap();
        let refused = Listeners::open(&places(&path)).unwrap_err();
        assert!(refused.starts_with("--control-socket /"), "{refused}");
        assert!(refused.contains("another file is there"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
