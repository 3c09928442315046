//! A wire between agent and broker that can be cut in one direction.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::keeper::lock;

/// Listens on a port of its own and carries bytes to another one.
pub struct Relay {
    port: u16,
    clients: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    /// Carries everything to `target` on this machine.
    pub fn to(target: u16) -> Relay {
        Relay::on(
            TcpListener::bind("127.0.0.1:0").expect("a free port"),
            target,
        )
    }

    /// The same from a socket of the caller's.
    pub fn on(listener: TcpListener, target: u16) -> Relay {
        let port = listener.local_addr().expect("an address").port();
        let clients = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&clients);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else {
                    continue;
                };
                lock(&kept).push(client.try_clone().expect("a descriptor"));
                carry(&client, &server);
                carry(&server, &client);
            }
        });
        Relay { port, clients }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        lock(&self.clients).len()
    }

    /// Says nothing more to any client, which may still speak.
    pub fn half_close(&self) {
        for client in lock(&self.clients).iter() {
            let _ = client.shutdown(Shutdown::Write);
        }
    }
}

fn carry(from: &TcpStream, to: &TcpStream) {
    let mut from = from.try_clone().expect("a descriptor");
    let mut to = to.try_clone().expect("a descriptor");
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}
