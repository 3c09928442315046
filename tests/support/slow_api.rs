//! APIs that answer health checks and are worse than dead to whoever posts.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

/// What becomes of a POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slow {
    /// It is read, and never answered.
    Silent,
    /// It is not even read.
    Deaf,
    /// It is answered by a byte a second.
    Trickle,
    /// The answer's head comes, and then the end of the connection.
    Cut,
    /// The answer is ten gigabytes long.
    Endless,
}

pub struct SlowApi {
    port: u16,
    posts: Arc<AtomicUsize>,
}

impl SlowApi {
    /// Runs until the test binary ends.
    pub fn start(how: Slow) -> SlowApi {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let posts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&posts);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let posts = Arc::clone(&counted);
                // Every error is the agent's way out.
                std::thread::spawn(move || serve(client, how, &posts));
            }
        });
        SlowApi { port, posts }
    }

    /// What a subscription calls `api_url`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many posts came so far.
    pub fn posts(&self) -> usize {
        self.posts.load(Ordering::SeqCst)
    }
}

fn serve(client: TcpStream, how: Slow, posts: &AtomicUsize) -> io::Result<()> {
    let mut client = BufReader::new(client);
    loop {
        let (is_post, length) = read_head(&mut client)?;
        if !is_post {
            let answer =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
            client.get_mut().write_all(answer.as_bytes())?;
            continue;
        }
        posts.fetch_add(1, Ordering::SeqCst);
        if how != Slow::Deaf {
            io::copy(&mut client.by_ref().take(length), &mut io::sink())?;
        }
        return answer(client.get_mut(), how);
    }
}

/// Answers whether it is a POST, and how long its body is.
fn read_head(client: &mut impl BufRead) -> io::Result<(bool, u64)> {
    let (mut is_post, mut length) = (false, 0);
    loop {
        let mut line = String::new();
        if client.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        is_post |= line.starts_with("post ");
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line.is_empty() {
            return Ok((is_post, length));
        }
    }
}

fn answer(client: &mut TcpStream, how: Slow) -> io::Result<()> {
    // Nobody sends on this channel: each wait on it is a pause.
    let (_quiet, pause) = channel::<()>();
    match how {
        Slow::Silent | Slow::Deaf => {
            let _ = pause.recv_timeout(Duration::from_secs(3600));
            Ok(())
        }
        Slow::Trickle => {
            for byte in b"HTTP/1.1 201 Created\r\n".iter().chain(&[b'x'; 3600]) {
                client.write_all(&[*byte])?;
                let _ = pause.recv_timeout(Duration::from_secs(1));
            }
            Ok(())
        }
        Slow::Cut => client.write_all(b"HTTP/1.1 400 Bad\r\ncontent-length: 100\r\n\r\n{"),
        Slow::Endless => {
            client.write_all(b"HTTP/1.1 500 Oops\r\ncontent-length: 10000000000\r\n\r\n")?;
            loop {
                client.write_all(&[b'x'; 65_536])?;
            }
        }
    }
}
