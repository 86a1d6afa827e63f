//! A client of the bus: requests with their answers, objects, subscriptions, events.
//!
//! How: [`request`](Client::request) sends and waits for the answer, what else arrives meanwhile
//! is kept for [`next`](Client::next). [`start`](Client::start) sends and returns a [`Ticket`];
//! the answer comes out of `next` with it. Events and notifications for us are calls of one of our
//! objects, as ubusd sends them.
//!
//! Limits: an answer takes [`ANSWER_MAX`] and has [`REPLY_BYTES_MAX`]; [`TICKETS_MAX`] requests
//! may be open, then the oldest is forgotten; [`QUEUE_MAX`] messages are kept during a request.

use super::connection::Connection;
use super::message::{Message, Status, attribute, kind};
use super::object::Object;
use super::{Malformed, blobmsg};
use litemap::LiteMap;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// Longest time that an answer may take.
pub const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Longest answer in bytes, over all its parts.
pub const REPLY_BYTES_MAX: usize = 4 << 20;
/// Parts of an answer.
const REPLY_PARTS_MAX: usize = 1024;
/// Requests without answer.
pub const TICKETS_MAX: usize = 64;
/// Messages that wait while a request is answered.
pub const QUEUE_MAX: usize = 256;
/// The object by which ubusd passes events on.
const EVENTS: u32 = 1;

/// Why something did not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection has ended: open another.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// ubusd, or who was called, says no.
    #[error("{0}")]
    Refused(Status),
    /// The answer makes no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// There is no answer.
    #[error("no answer")]
    Late,
    /// What was to be sent is longer than the bus allows.
    #[error("too long for the bus")]
    TooLong,
}

/// Tells which request an answer belongs to. The object called is part of it, since any client
/// can send answers with any number, but only of its own objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    seq: u16,
    peer: u32,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// How it ended.
    pub status: Status,
    /// Its parts.
    pub parts: Vec<Message>,
}

impl Reply {
    /// The data of its first part, empty if there is none.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn table(&self) -> Result<Map<String, Value>, Malformed> {
        let data = self.parts.first().map(Message::fields).transpose()?.and_then(|f| f.data);
        data.map(blobmsg::table).transpose().map(Option::unwrap_or_default)
    }

    /// The object that its first part is about.
    fn object(&self) -> Result<Option<u32>, Malformed> {
        Ok(self.parts.first().map(Message::fields).transpose()?.and_then(|f| f.object))
    }
}

/// A call of one of our objects; an event and a notification are calls of the object that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Which of our objects.
    pub object: u32,
    /// The method, event or notification.
    pub method: String,
    /// The arguments, as they came.
    data: Vec<u8>,
    ticket: Ticket,
    /// Whether the caller waits for an answer.
    pub answer_wanted: bool,
}

impl Invocation {
    /// The arguments.
    ///
    /// # Errors
    /// They make no sense.
    pub fn table(&self) -> Result<Map<String, Value>, Malformed> {
        blobmsg::table(&self.data)
    }
}

/// Something that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// We are called.
    Call(Invocation),
    /// The answer to what was [started](Client::start).
    Reply(Ticket, Reply),
    /// An object that one of ours was subscribed to has gone.
    Gone {
        /// Its number.
        target: u32,
    },
    /// One of our objects has subscribers now, or none any more.
    Subscribers {
        /// Which object.
        object: u32,
        /// Whether there are some.
        any: bool,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    seq: u16,
    open: VecDeque<Ticket>,
    replies: LiteMap<Ticket, Reply>,
    queue: VecDeque<Incoming>,
}

impl Client {
    /// Connects to the bus at this path and waits for its greeting.
    ///
    /// # Errors
    /// Nobody is there, or it is no bus.
    pub async fn connect(path: &Path) -> Result<Client, Error> {
        let mut connection = Connection::open(path).await?;
        let hello = timeout(ANSWER_MAX, connection.receive()).await.map_err(|_| Error::Late)??;
        if hello.kind != kind::HELLO {
            return Err(Malformed.into());
        }
        Ok(Client {
            connection,
            seq: 0,
            open: VecDeque::new(),
            replies: LiteMap::new(),
            queue: VecDeque::new(),
        })
    }

    /// Offers an object; its number.
    ///
    /// # Errors
    /// The path is taken, or not allowed to us: both are [`Status::INVALID_ARGUMENT`].
    pub async fn add(&mut self, object: &Object) -> Result<u32, Error> {
        let message = Message::new(kind::ADD_OBJECT, 0, 0)
            .text(attribute::OBJECT_PATH, object.path)
            .bytes(attribute::SIGNATURE, &object.signature());
        self.request(message).await?.object()?.ok_or(Malformed.into())
    }

    /// Makes an object without path, which can subscribe and listen; its number.
    ///
    /// # Errors
    /// The connection has ended, or ubusd refuses.
    pub async fn add_listener(&mut self) -> Result<u32, Error> {
        let message = Message::new(kind::ADD_OBJECT, 0, 0);
        self.request(message).await?.object()?.ok_or(Malformed.into())
    }

    /// The number of the object with this path, if there is one that we may use.
    ///
    /// # Errors
    /// The connection has ended, or ubusd refuses.
    pub async fn lookup(&mut self, path: &str) -> Result<Option<u32>, Error> {
        let message = Message::new(kind::LOOKUP, 0, 0).text(attribute::OBJECT_PATH, path);
        match self.request(message).await {
            Ok(reply) => Ok(reply.object()?),
            Err(Error::Refused(Status::NOT_FOUND)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// From now on our object hears the notifications of another.
    ///
    /// # Errors
    /// There is no such object, or it is not allowed to us: both are [`Status::NOT_FOUND`].
    pub async fn subscribe(&mut self, listener: u32, target: u32) -> Result<(), Error> {
        let message = Message::new(kind::SUBSCRIBE, 0, 0)
            .number(attribute::OBJECT_ID, listener)
            .number(attribute::TARGET, target);
        self.request(message).await.map(drop)
    }

    /// From now on our object hears the events with this name, or which begin so if it ends with
    /// a star. Our own are not heard.
    ///
    /// # Errors
    /// It is not allowed to us.
    pub async fn listen(&mut self, listener: u32, pattern: &str) -> Result<(), Error> {
        let mut data = Vec::new();
        blobmsg::put_u32(&mut data, "object", listener);
        blobmsg::put_text(&mut data, "pattern", pattern);
        self.request(invoke(EVENTS, "register", &data)).await.map(drop)
    }

    /// Calls a method of an object; the answer comes out of [`next`](Client::next).
    ///
    /// # Errors
    /// The connection has ended, or the arguments are too long.
    pub fn call(
        &mut self,
        object: u32,
        method: &str,
        arguments: &Map<String, Value>,
    ) -> Result<Ticket, Error> {
        self.call_encoded(object, method, &encoded(arguments))
    }

    /// The same with arguments that are written already.
    ///
    /// # Errors
    /// The connection has ended, or the arguments are too long.
    pub fn call_encoded(
        &mut self,
        object: u32,
        method: &str,
        arguments: &[u8],
    ) -> Result<Ticket, Error> {
        self.start(invoke(object, method, arguments))
    }

    /// Sends an event to whoever listens. ubusd's answer comes out of [`next`](Client::next).
    ///
    /// # Errors
    /// The connection has ended, or it is too long.
    pub fn send_event(&mut self, name: &str, table: &Map<String, Value>) -> Result<Ticket, Error> {
        let mut data = Vec::new();
        blobmsg::put_text(&mut data, "id", name);
        blobmsg::put(&mut data, "data", blobmsg::Type::Table, |out| blobmsg::put_table(out, table));
        self.start(invoke(EVENTS, "send", &data))
    }

    /// Tells the subscribers of our object, without waiting for them.
    ///
    /// # Errors
    /// The connection has ended, or it is too long.
    pub fn notify(
        &mut self,
        object: u32,
        name: &str,
        table: &Map<String, Value>,
    ) -> Result<(), Error> {
        let message = Message::new(kind::NOTIFY, self.next_seq(), 0)
            .number(attribute::OBJECT_ID, object)
            .text(attribute::METHOD, name)
            .bytes(attribute::DATA, &encoded(table))
            .bytes(attribute::NO_REPLY, &[1]);
        self.send(&message)
    }

    /// Answers a call, if an answer is wanted. What is too long for the bus becomes
    /// [`Status::NO_MEMORY`].
    ///
    /// # Errors
    /// The connection has ended.
    pub fn answer(
        &mut self,
        call: &Invocation,
        result: Option<&Map<String, Value>>,
        mut status: Status,
    ) -> Result<(), Error> {
        if !call.answer_wanted {
            return Ok(());
        }
        let Ticket { seq, peer } = call.ticket;
        if let Some(result) = result {
            let message = Message::new(kind::DATA, seq, peer)
                .number(attribute::OBJECT_ID, call.object)
                .bytes(attribute::DATA, &encoded(result));
            match self.send(&message) {
                Err(Error::TooLong) => {
                    log::warn!("the answer to '{}' is too long for the bus", call.method);
                    status = Status::NO_MEMORY;
                }
                other => other?,
            }
        }
        let end = Message::new(kind::STATUS, seq, peer)
            .number(attribute::STATUS, status.0)
            .number(attribute::OBJECT_ID, call.object);
        self.send(&end)
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// It takes too long, or ends otherwise than well.
    pub async fn request(&mut self, message: Message) -> Result<Reply, Error> {
        let ticket = self.start(message)?;
        let reply = timeout(ANSWER_MAX, self.reply(ticket)).await.map_err(|_| Error::Late)??;
        if reply.status == Status::OK { Ok(reply) } else { Err(Error::Refused(reply.status)) }
    }

    async fn reply(&mut self, ticket: Ticket) -> Result<Reply, Error> {
        loop {
            match self.receive().await? {
                Some(Incoming::Reply(of, reply)) if of == ticket => return Ok(reply),
                Some(other) if self.queue.len() < QUEUE_MAX => self.queue.push_back(other),
                Some(other) => log::debug!("too much at once, not heard: {other:?}"),
                None => {}
            }
        }
    }

    /// Sends a request under a number of its own; the answer comes out of [`next`](Client::next).
    ///
    /// # Errors
    /// The connection has ended, or the request is too long.
    pub fn start(&mut self, mut message: Message) -> Result<Ticket, Error> {
        message.seq = self.next_seq();
        self.send(&message)?;
        let ticket = Ticket { seq: message.seq, peer: message.peer };
        if self.open.len() >= TICKETS_MAX
            && let Some(oldest) = self.open.pop_front()
        {
            self.replies.remove(&oldest);
        }
        self.open.push_back(ticket);
        self.replies.insert(ticket, Reply::default());
        Ok(ticket)
    }

    /// Waits for what concerns us. May be cancelled.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn next(&mut self) -> Result<Incoming, Error> {
        if let Some(kept) = self.queue.pop_front() {
            return Ok(kept);
        }
        loop {
            if let Some(found) = self.receive().await? {
                return Ok(found);
            }
        }
    }

    fn next_seq(&mut self) -> u16 {
        self.seq = self.seq.wrapping_add(1);
        self.seq
    }

    fn send(&mut self, message: &Message) -> Result<(), Error> {
        if self.connection.send(message)? { Ok(()) } else { Err(Error::TooLong) }
    }

    /// One message; nothing if it is of no concern or makes no sense.
    async fn receive(&mut self) -> Result<Option<Incoming>, Error> {
        let message = self.connection.receive().await?;
        let kind = message.kind;
        let found = self.understand(message);
        Ok(found.unwrap_or_else(|error| {
            log::debug!("{error} of kind {kind}");
            None
        }))
    }

    fn understand(&mut self, message: Message) -> Result<Option<Incoming>, Malformed> {
        let ticket = Ticket { seq: message.seq, peer: message.peer };
        let fields = message.fields()?;
        Ok(match message.kind {
            kind::DATA => {
                if let Some(reply) = self.replies.get_mut(&ticket) {
                    let bytes: usize = reply.parts.iter().map(|part| part.body.len()).sum();
                    if bytes + message.body.len() > REPLY_BYTES_MAX
                        || reply.parts.len() >= REPLY_PARTS_MAX
                    {
                        return Err(Malformed);
                    }
                    reply.parts.push(message);
                }
                None
            }
            kind::STATUS => {
                let status = fields.status.ok_or(Malformed)?;
                self.open.retain(|other| *other != ticket);
                let reply = self.replies.remove(&ticket);
                reply.map(|reply| Incoming::Reply(ticket, Reply { status, ..reply }))
            }
            kind::INVOKE => Some(Incoming::Call(Invocation {
                object: fields.object.ok_or(Malformed)?,
                method: fields.method.ok_or(Malformed)?.to_owned(),
                data: fields.data.unwrap_or_default().to_vec(),
                ticket,
                // An event comes from nobody.
                answer_wanted: !fields.no_reply && message.peer != 0,
            })),
            kind::UNSUBSCRIBE => Some(Incoming::Gone { target: fields.target.ok_or(Malformed)? }),
            kind::NOTIFY => Some(Incoming::Subscribers {
                object: fields.object.ok_or(Malformed)?,
                any: fields.active.ok_or(Malformed)?,
            }),
            _ => None,
        })
    }
}

fn invoke(object: u32, method: &str, data: &[u8]) -> Message {
    Message::new(kind::INVOKE, 0, object)
        .number(attribute::OBJECT_ID, object)
        .text(attribute::METHOD, method)
        .bytes(attribute::DATA, data)
}

fn encoded(table: &Map<String, Value>) -> Vec<u8> {
    let mut out = Vec::new();
    blobmsg::put_table(&mut out, table);
    out
}
