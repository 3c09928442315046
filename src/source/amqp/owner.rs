//! The thread that owns one AMQP connection and makes every amiquip call: they block.
//!
//! It takes commands and sends events; it decides nothing. Any call may hang for as long as the
//! broker does: the loop's way out is to shut the socket down, of which it has a clone.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use amiquip::{
    Auth, Channel, Connection, ConnectionOptions, ConnectionTuning, ConsumerMessage,
    ConsumerOptions, Delivery, Error, ExchangeDeclareOptions, ExchangeType, FieldTable,
    QueueDeclareOptions,
};
use rustls::ClientConnection;

use super::failure::{handshake, reason, unreachable};
use super::frames::FRAME_MAX;
use super::socket::Socket;
use super::stream::{Credit, Stream};
use super::{CONNECT_TIMEOUT, Event, HEARTBEAT, Plan, Purpose};
use crate::config::{AmqpBroker, Login};
use crate::source::bell::Bell;

/// Addresses tried of a name that has many.
const MAX_ADDRESSES: usize = 4;

/// amiquip's queue from this thread to its own; acks pass through it, one a batch.
const MEM_CHANNEL_BOUND: usize = 1024;

/// The consumer's receiver, for as long as the connection lives.
type Kept = Option<crossbeam_channel::Receiver<ConsumerMessage>>;

/// What the loop asks of the owner thread.
pub enum Command {
    Consume,
    CountQueue,
    /// Acknowledge this delivery and all before it.
    Ack(Box<Delivery>),
    Close,
}

/// What is declared, in this order.
#[derive(Debug, Clone, Copy)]
enum Part {
    Exchange,
    Queue,
    Binding,
}

/// One connection's life, from the lookup of its name to its end.
pub struct Owner<N: Fn(Event)> {
    pub plan: Plan,
    pub broker: AmqpBroker,
    pub bell: Bell,
    pub credit: Arc<Credit>,
    pub commands: Receiver<Command>,
    pub notify: N,
}

impl<N: Fn(Event)> Owner<N> {
    /// Runs to the connection's end and says why it ended. `alive` tells the loop's side that this
    /// thread may still hang; what comes after the end cannot.
    pub fn run(self, alive: Arc<()>) {
        let result = catch_unwind(AssertUnwindSafe(|| self.live()));
        let reason = match result {
            Ok(Ok(())) => "closed as asked".to_owned(),
            Ok(Err(reason)) => reason,
            Err(_) => "the AMQP client failed on what the broker sent".to_owned(),
        };
        drop(alive);
        (self.notify)(Event::Down { reason });
    }

    fn live(&self) -> Result<(), String> {
        let socket = self.dial()?;
        let clone = socket.try_clone().map_err(|error| error.to_string())?;
        (self.notify)(Event::Connected(clone));
        let stream = Stream::new(
            self.encrypt(socket)?,
            Arc::clone(&self.credit),
            self.bell.clone(),
        );
        let reason = |error| reason(&error, self.broker.login);
        let mut connection =
            Connection::insecure_open_stream(stream, self.options(), tuning()).map_err(reason)?;
        // A receiver that goes before the connection can kill it in the middle of its close.
        let mut receiver = None;
        let served = self.serve(&mut connection, &mut receiver);
        // The connection knows best why it died; whoever it served only saw it go.
        match (served, connection.close()) {
            (Ok(()), Ok(())) => Ok(()),
            (Ok(()), Err(error)) => Err(reason(error)),
            (Err(error), Ok(()) | Err(Error::ClientClosedConnection)) => Err(reason(error)),
            (Err(error @ Error::ServerClosedChannel { .. }), Err(_)) => Err(reason(error)),
            (Err(_), Err(error)) => Err(reason(error)),
        }
    }

    /// Tries the name's addresses in turn.
    fn dial(&self) -> Result<TcpStream, String> {
        let (host, port) = (self.broker.host.as_str(), self.broker.port);
        let addresses = (host, port).to_socket_addrs().map_err(|error| {
            format!("{host}: name not found: {error}: check the broker's host name and the DNS")
        })?;
        let mut failure = format!("{host}: the name has no address");
        for address in addresses.take(MAX_ADDRESSES) {
            // The only command before the connection stands is to close it; a loop that gave it
            // up sends none any more.
            if !matches!(self.commands.try_recv(), Err(TryRecvError::Empty)) {
                return Err("given up".to_owned());
            }
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(socket) => {
                    let _ = socket.set_nodelay(true);
                    return Ok(socket);
                }
                Err(error) => failure = unreachable(&address.to_string(), &error),
            }
        }
        Err(failure)
    }

    /// The TLS handshake, where the broker's URL asks for it. It blocks; the loop can cut it short.
    fn encrypt(&self, mut socket: TcpStream) -> Result<Socket, String> {
        let failed = |error: &io::Error| {
            let address = format!("{}:{}", self.broker.host, self.broker.port);
            handshake(&address, error)
        };
        let mut connection = None;
        if self.broker.tls {
            let tls = self.plan.tls.as_ref().ok_or("tls: not configured")?;
            let begun = tls.connect(&self.broker.host).map_err(io::Error::other);
            let begun = begun.and_then(|begun| shake_hands(begun, &mut socket));
            connection = Some(begun.map_err(|error| failed(&error))?);
        }
        Socket::new(socket, connection).map_err(|error| failed(&error))
    }

    fn options(&self) -> ConnectionOptions<Auth> {
        let auth = match self.broker.login {
            Login::Certificate => Auth::External,
            Login::Password | Login::Either => Auth::Plain {
                username: self.broker.user.clone(),
                password: self.broker.password.expose().to_owned(),
            },
        };
        ConnectionOptions::default()
            .auth(auth)
            .virtual_host(self.broker.vhost.as_str())
            .heartbeat(u16::try_from(HEARTBEAT.as_secs()).expect("seconds that fit AMQP's short"))
            .frame_max(FRAME_MAX)
            .connection_timeout(Some(CONNECT_TIMEOUT))
            .information(Some(format!("leek-agent:{}", self.plan.subscription)))
    }

    fn serve(&self, connection: &mut Connection, receiver: &mut Kept) -> Result<(), Error> {
        if self.plan.purpose == Purpose::Check {
            let channel = connection.open_channel(None)?;
            (self.notify)(Event::Ready { notes: Vec::new() });
            return channel.close();
        }
        let (channel, notes) = self.set_up(connection)?;
        (self.notify)(Event::Ready { notes });
        self.attend(&channel, receiver)
    }

    /// Declares, binds, and sets the prefetch; says where it had to take what exists.
    fn set_up(&self, connection: &mut Connection) -> Result<(Channel, Vec<String>), Error> {
        let mut notes = Vec::new();
        let mut channel = connection.open_channel(None)?;
        for part in [Part::Exchange, Part::Queue, Part::Binding] {
            match self.declare(&channel, part) {
                Ok(()) => {}
                // Declared otherwise by somebody else, or not ours to declare.
                Err(Error::ServerClosedChannel {
                    code: code @ (403 | 406),
                    message,
                    ..
                }) => {
                    notes.push(format!("{part:?}: {message} ({code}): using what exists"));
                    channel = connection.open_channel(None)?;
                }
                Err(error) => return Err(error),
            }
        }
        channel.qos(0, self.plan.prefetch, false)?;
        Ok((channel, notes))
    }

    fn declare(&self, channel: &Channel, part: Part) -> Result<(), Error> {
        let plan = &self.plan;
        match part {
            Part::Exchange => {
                let durable = ExchangeDeclareOptions {
                    durable: true,
                    ..Default::default()
                };
                channel
                    .exchange_declare(ExchangeType::Topic, plan.exchange.as_str(), durable)
                    .map(drop)
            }
            Part::Queue => {
                let durable = QueueDeclareOptions {
                    durable: true,
                    ..Default::default()
                };
                channel
                    .queue_declare(plan.queue.as_str(), durable)
                    .map(drop)
            }
            Part::Binding => channel.queue_bind(
                plan.queue.as_str(),
                plan.exchange.as_str(),
                plan.routing_key.as_str(),
                FieldTable::new(),
            ),
        }
    }

    /// Carries out commands until told to close, or until the loop is gone.
    fn attend(&self, channel: &Channel, receiver: &mut Kept) -> Result<(), Error> {
        loop {
            match self.commands.recv() {
                Ok(Command::Consume) => return self.consume(channel, receiver),
                Ok(Command::CountQueue) => self.count_queue(channel)?,
                Ok(Command::Ack(_)) => {}
                Ok(Command::Close) | Err(_) => return Ok(()),
            }
        }
    }

    fn consume(&self, channel: &Channel, receiver: &mut Kept) -> Result<(), Error> {
        let consumer =
            channel.basic_consume(self.plan.queue.as_str(), ConsumerOptions::default())?;
        *receiver = Some(consumer.receiver().clone());
        (self.notify)(Event::Consuming(consumer.receiver().clone()));
        loop {
            match self.commands.recv() {
                Ok(Command::Ack(delivery)) => consumer.ack_multiple(*delivery)?,
                Ok(Command::CountQueue) => self.count_queue(channel)?,
                Ok(Command::Consume) => {}
                Ok(Command::Close) | Err(_) => return consumer.cancel(),
            }
        }
    }

    fn count_queue(&self, channel: &Channel) -> Result<(), Error> {
        let queue = channel.queue_declare_passive(self.plan.queue.as_str())?;
        let messages = queue.declared_message_count().unwrap_or(0);
        (self.notify)(Event::QueueLength(u64::from(messages)));
        Ok(())
    }
}

fn shake_hands(
    mut connection: ClientConnection,
    socket: &mut TcpStream,
) -> io::Result<ClientConnection> {
    socket.set_read_timeout(Some(CONNECT_TIMEOUT))?;
    socket.set_write_timeout(Some(CONNECT_TIMEOUT))?;
    while connection.is_handshaking() {
        connection.complete_io(socket)?;
    }
    Ok(connection)
}

fn tuning() -> ConnectionTuning {
    ConnectionTuning::default().mem_channel_bound(MEM_CHANNEL_BOUND)
}
