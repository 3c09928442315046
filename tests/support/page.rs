//! A page that agent checks ask: over HTTP/1.1, one request a connection, and as unwell as it is told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::keeper::lock;

/// What it answers.
#[derive(Debug, Clone)]
pub enum Says {
    /// 200 and that body.
    Well(String),
    /// That status line, such as `500 No`.
    Status(&'static str),
    /// A body without an end.
    Endless,
    /// Nothing; the connection stays open.
    Nothing,
}

/// A listening page. Dropped, it says nothing more.
pub struct Page {
    port: u16,
    says: Arc<Mutex<Says>>,
    asked: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Page {
    pub fn start(body: &str) -> Page {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let page = Page {
            port: listener.local_addr().expect("an address").port(),
            says: Arc::new(Mutex::new(Says::Well(body.into()))),
            asked: Arc::default(),
            heads: Arc::default(),
        };
        let (says, asked) = (Arc::clone(&page.says), Arc::clone(&page.asked));
        let heads = Arc::clone(&page.heads);
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                asked.fetch_add(1, Ordering::SeqCst);
                let says = lock(&says).clone();
                let (head, kept) = answer(stream, says);
                lock(&heads).push(head);
                open.extend(kept);
            }
        });
        page
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/load?deep=1", self.port)
    }

    /// With a user and a password in it.
    pub fn url_with_login(&self) -> String {
        format!("http://guest:sec%20ret@127.0.0.1:{}/load", self.port)
    }

    pub fn says(&self, says: Says) {
        *lock(&self.says) = says;
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The heads of its requests.
    pub fn heads(&self) -> Vec<String> {
        lock(&self.heads).clone()
    }
}

fn answer(mut stream: TcpStream, says: Says) -> (String, Option<TcpStream>) {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    // Whoever asked may be gone already.
    let _ = match says {
        Says::Well(body) => {
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
        }
        Says::Status(line) => {
            write!(
                stream,
                "HTTP/1.1 {line}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
            )
        }
        Says::Endless => endless(&mut stream),
        Says::Nothing => return (head, Some(stream)),
    };
    (head, None)
}

fn endless(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
    loop {
        stream.write_all(&[b'1'; 4096])?;
    }
}
