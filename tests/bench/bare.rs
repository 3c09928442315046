//! The least that a consumer must do: take each message off the wire, and acknowledge it where that is
//! the custom. Each loop is a process of its own, so that what it costs can be told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitCode, Stdio};

use amiquip::{Connection, ConsumerMessage, ConsumerOptions, QueueDeclareOptions};

use crate::cost::{Cost, Pace};

/// A bare loop that runs.
pub struct Bare {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Bare {
    /// Drains `messages` from `queue`, with an ack for each `batch` of them.
    pub fn amqp(url: &str, queue: &str, messages: usize, prefetch: u16, batch: usize) -> Bare {
        let numbers = [
            messages.to_string(),
            prefetch.to_string(),
            batch.to_string(),
        ];
        let [messages, prefetch, batch] = numbers.each_ref().map(String::as_str);
        Bare::start(&["amqp", url, queue, messages, prefetch, batch])
    }

    /// Hears `messages` on all channels of that pattern; it has subscribed when this returns.
    pub fn redis(port: u16, pattern: &str, messages: usize) -> Bare {
        let (port, messages) = (port.to_string(), messages.to_string());
        let mut bare = Bare::start(&["redis", &port, pattern, &messages]);
        bare.line();
        bare
    }

    fn start(args: &[&str]) -> Bare {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .arg("bare")
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        Bare { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("it speaks");
        line
    }

    /// What it took, once it is through, for the `events` that were in its messages.
    pub fn cost(mut self, events: usize) -> Cost {
        let line = self.line();
        assert!(self.child.wait().expect("it ends").success(), "{line}");
        let value = serde_json::from_str(&line).expect("JSON");
        let cost = Cost::from_json(&value).expect("its cost");
        let in_each = events as f64 / cost.events as f64;
        Cost {
            events,
            events_per_second: cost.events_per_second * in_each,
            ..cost
        }
    }
}

/// The process itself.
pub fn main(args: &[&str]) -> ExitCode {
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let cost = match *args {
        ["amqp", url, queue, messages, prefetch, batch] => {
            let prefetch = prefetch.parse().expect("a number");
            amqp(url, queue, number(messages), prefetch, number(batch))
        }
        ["redis", port, pattern, messages] => redis(port, pattern, number(messages)),
        _ => panic!("unknown loop: {args:?}"),
    };
    println!("{}", cost.to_json());
    ExitCode::SUCCESS
}

fn amqp(url: &str, queue: &str, messages: usize, prefetch: u16, batch: usize) -> Cost {
    let mut pace = Pace::of(messages);
    let mut connection = Connection::insecure_open(url).expect("the broker takes connections");
    let channel = connection.open_channel(None).expect("a channel");
    channel.qos(0, prefetch, false).expect("a prefetch");
    let durable = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let queue = channel.queue_declare(queue, durable).expect("the queue");
    let consumer = queue
        .consume(ConsumerOptions::default())
        .expect("a consumer");
    for (number, message) in consumer.receiver().iter().enumerate() {
        let ConsumerMessage::Delivery(delivery) = message else {
            panic!("the broker ended it: {message:?}");
        };
        let count = number + 1;
        if count % batch == 0 || count == messages {
            delivery.ack_multiple(&channel).expect("an ack");
            pace.note(count);
        }
        if count == messages {
            break;
        }
    }
    let cost = Cost::own(messages, pace.per_second());
    connection.close().expect("closed");
    cost
}

fn redis(port: &str, pattern: &str, messages: usize) -> Cost {
    let mut socket =
        TcpStream::connect(("127.0.0.1", port.parse().expect("a port"))).expect("a server");
    let subscribe = format!(
        "*2\r\n$10\r\nPSUBSCRIBE\r\n${}\r\n{pattern}\r\n",
        pattern.len()
    );
    socket.write_all(subscribe.as_bytes()).expect("sent");
    let mut reader = BufReader::with_capacity(64 * 1024, socket);
    let mut line = Vec::new();
    // psubscribe, the pattern, and how many there are now.
    skip_item(&mut reader, &mut line);
    println!("subscribed");
    let mut pace = Pace::of(messages);
    for count in 1..=messages {
        skip_item(&mut reader, &mut line);
        if count % 1000 == 0 {
            pace.note(count);
        }
    }
    Cost::own(messages, pace.per_second())
}

/// Reads past one item of RESP 2; `line` is room that every item uses.
fn skip_item(reader: &mut impl BufRead, line: &mut Vec<u8>) {
    line.clear();
    reader.read_until(b'\n', line).expect("an item");
    let text = std::str::from_utf8(&line[1..]).expect("ASCII");
    let number = text.trim_end().parse::<u64>().expect("a number");
    match line[0] {
        b'*' => (0..number).for_each(|_| skip_item(reader, line)),
        b'$' => {
            let left = number + 2;
            let skipped = std::io::copy(&mut reader.by_ref().take(left), &mut std::io::sink());
            assert_eq!(skipped.expect("a string"), left);
        }
        _ => {}
    }
}
