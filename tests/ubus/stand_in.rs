//! A stand-in for ubusd: as much of it as our side of the protocol can tell.
//!
//! It greets, keeps objects, passes calls and their answers on, knows subscriptions and events,
//! and tells what ubusd tells by itself. It can also forbid everything that an access list can.
//! Not in it: users and groups, monitors, queues that fill up.

use onebox_openwrt::ubus::message::{Fields, Message, attribute, kind};
use onebox_openwrt::ubus::{Connection, Status, blobmsg};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

/// ubusd's own object, which passes events on.
const EVENTS: u32 = 1;

/// A running stand-in; dropped, it hangs up on everybody.
pub struct StandIn {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    path: PathBuf,
}

impl StandIn {
    /// One that listens at `path`. `deny`: all that can be forbidden is.
    pub fn start(path: &Path, deny: bool) -> StandIn {
        let (stop, stopped) = oneshot::channel();
        let (ready, listens) = std::sync::mpsc::channel();
        let socket = path.to_owned();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("runtime").block_on(async {
                let listener = UnixListener::bind(&socket).expect("socket");
                ready.send(()).expect("a test");
                tokio::select! {
                    () = serve(listener, deny) => {}
                    _ = stopped => {}
                }
            });
        });
        listens.recv().expect("it listens");
        StandIn { stop: Some(stop), thread: Some(thread), path: path.to_owned() }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        let _ = std::fs::remove_file(&self.path);
        assert!(ended.is_none_or(|ended| ended.is_ok()), "the stand-in panicked");
    }
}

async fn serve(listener: UnixListener, deny: bool) {
    let (inbox_in, mut inbox) = mpsc::unbounded_channel();
    let mut world = World { deny, next: 0x1000, ..World::default() };
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("accept");
                let client = world.number();
                let (out, outbox) = mpsc::unbounded_channel();
                world.clients.insert(client, out);
                world.send(client, Message::new(kind::HELLO, 0, client));
                tokio::spawn(carry(Connection::over(stream), client, inbox_in.clone(), outbox));
            }
            Some((client, message)) = inbox.recv() => match message {
                Some(message) => world.handle(client, &message),
                None => world.leave(client),
            }
        }
    }
}

type Inbox = mpsc::UnboundedSender<(u32, Option<Message>)>;

/// Moves the messages of one client; `None` says that it has gone.
async fn carry(
    mut connection: Connection,
    client: u32,
    inbox: Inbox,
    mut outbox: mpsc::UnboundedReceiver<Message>,
) {
    loop {
        let result = tokio::select! {
            received = connection.receive() => received.map(|message| {
                let _ = inbox.send((client, Some(message)));
            }),
            Some(message) = outbox.recv() => connection.send(&message).map(drop),
        };
        if result.is_err() {
            let _ = inbox.send((client, None));
            return;
        }
    }
}

#[derive(Default)]
struct Object {
    owner: u32,
    path: Option<String>,
    signature: Vec<u8>,
    subscribers: BTreeSet<u32>,
}

#[derive(Default)]
struct World {
    deny: bool,
    next: u32,
    clients: BTreeMap<u32, mpsc::UnboundedSender<Message>>,
    objects: BTreeMap<u32, Object>,
    patterns: Vec<(u32, String)>,
}

impl World {
    fn number(&mut self) -> u32 {
        self.next += 0x0101_0101;
        self.next
    }

    fn send(&self, client: u32, message: Message) {
        if let Some(out) = self.clients.get(&client) {
            let _ = out.send(message);
        }
    }

    fn leave(&mut self, client: u32) {
        self.clients.remove(&client);
        let mine: Vec<u32> =
            self.objects.iter().filter(|(_, o)| o.owner == client).map(|(id, _)| *id).collect();
        mine.into_iter().for_each(|id| self.remove(id));
    }

    fn handle(&mut self, client: u32, message: &Message) {
        let Ok(fields) = message.fields() else { return };
        let outcome = match message.kind {
            kind::PING => {
                self.send(client, Message { kind: kind::DATA, ..message.clone() });
                Ok(())
            }
            kind::ADD_OBJECT => self.add(client, message, &fields),
            kind::REMOVE_OBJECT => match fields.object {
                Some(id) if self.owns(client, id) => {
                    self.remove(id);
                    Ok(())
                }
                _ => Err(Status::NOT_FOUND),
            },
            kind::LOOKUP => self.lookup(client, message, fields.path.unwrap_or_default()),
            kind::INVOKE => match self.invoke(client, message, &fields) {
                Ok(true) => return,
                Ok(false) => Ok(()),
                Err(status) => Err(status),
            },
            kind::DATA | kind::STATUS => return self.answer(client, message, &fields),
            kind::SUBSCRIBE => self.subscribe(client, &fields),
            kind::UNSUBSCRIBE => self.unsubscribe(&fields),
            kind::NOTIFY => return self.notify(client, message, &fields),
            _ => Err(Status(1)),
        };
        let status = outcome.err().unwrap_or_default();
        let end = Message::new(kind::STATUS, message.seq, message.peer);
        self.send(client, end.number(attribute::STATUS, status.0));
    }

    fn owns(&self, client: u32, object: u32) -> bool {
        self.objects.get(&object).is_some_and(|object| object.owner == client)
    }

    fn find(&self, path: &str) -> Option<u32> {
        let found = self.objects.iter().find(|(_, object)| object.path.as_deref() == Some(path));
        found.map(|(id, _)| *id)
    }

    fn add(&mut self, client: u32, message: &Message, fields: &Fields<'_>) -> Result<(), Status> {
        if let Some(path) = fields.path
            && (self.deny || self.find(path).is_some())
        {
            return Err(Status::INVALID_ARGUMENT);
        }
        let id = self.number();
        let object = Object {
            owner: client,
            path: fields.path.map(str::to_owned),
            signature: fields.signature.unwrap_or_default().to_vec(),
            subscribers: BTreeSet::new(),
        };
        self.objects.insert(id, object);
        let answer = Message::new(kind::DATA, message.seq, message.peer);
        self.send(
            client,
            answer.number(attribute::OBJECT_ID, id).number(attribute::OBJECT_TYPE, 9),
        );
        self.object_event(fields.path, id, "ubus.object.add");
        Ok(())
    }

    fn remove(&mut self, id: u32) {
        let Some(object) = self.objects.remove(&id) else { return };
        self.patterns.retain(|(listener, _)| *listener != id);
        for subscriber in object.subscribers {
            if let Some(other) = self.objects.get(&subscriber) {
                let message = Message::new(kind::UNSUBSCRIBE, 1, 0)
                    .number(attribute::OBJECT_ID, subscriber)
                    .number(attribute::TARGET, id);
                self.send(other.owner, message);
            }
        }
        for target in self.objects.keys().copied().collect::<Vec<_>>() {
            self.drop_subscriber(target, id);
        }
        self.object_event(object.path.as_deref(), id, "ubus.object.remove");
    }

    fn object_event(&self, path: Option<&str>, id: u32, event: &str) {
        let Some(path) = path else { return };
        let mut data = Vec::new();
        blobmsg::put_u32(&mut data, "id", id);
        blobmsg::put_text(&mut data, "path", path);
        self.event(0, event, &data);
    }

    fn lookup(&self, client: u32, message: &Message, path: &str) -> Result<(), Status> {
        let fits = |own: &str| match path.strip_suffix('*') {
            Some(start) => own.starts_with(start),
            None => path.is_empty() || own == path,
        };
        let mut found = false;
        for (id, object) in &self.objects {
            let Some(own) = object.path.as_deref().filter(|own| fits(own)) else { continue };
            found = true;
            if self.deny {
                // Of what may not be used nothing is told, and yet all is well.
                continue;
            }
            let answer = Message::new(kind::DATA, message.seq, message.peer)
                .text(attribute::OBJECT_PATH, own)
                .number(attribute::OBJECT_ID, *id)
                .number(attribute::OBJECT_TYPE, 9)
                .bytes(attribute::SIGNATURE, &object.signature);
            self.send(client, answer);
        }
        if found { Ok(()) } else { Err(Status::NOT_FOUND) }
    }

    /// Whether the call was passed on.
    fn invoke(
        &mut self,
        client: u32,
        message: &Message,
        fields: &Fields<'_>,
    ) -> Result<bool, Status> {
        let id = fields.object.ok_or(Status::INVALID_ARGUMENT)?;
        let method = fields.method.ok_or(Status::INVALID_ARGUMENT)?;
        let data = fields.data.unwrap_or_default();
        if self.deny {
            return Err(Status::PERMISSION_DENIED);
        }
        if id == EVENTS {
            let table = blobmsg::table(data).map_err(|_| Status::INVALID_ARGUMENT)?;
            let text = |name: &str| table.get(name).and_then(Value::as_str);
            match method {
                "register" => {
                    let listener = table.get("object").and_then(Value::as_i64);
                    let listener = listener.ok_or(Status::INVALID_ARGUMENT)? as u32;
                    let pattern = text("pattern").ok_or(Status::INVALID_ARGUMENT)?;
                    if !self.owns(client, listener) {
                        return Err(Status::PERMISSION_DENIED);
                    }
                    self.patterns.push((listener, pattern.to_owned()));
                }
                "send" => {
                    let name = text("id").ok_or(Status::INVALID_ARGUMENT)?;
                    let data = table.get("data").and_then(Value::as_object);
                    let mut bytes = Vec::new();
                    blobmsg::put_table(&mut bytes, data.ok_or(Status::INVALID_ARGUMENT)?);
                    self.event(client, name, &bytes);
                }
                _ => return Err(Status(1)),
            }
            return Ok(false);
        }
        let object = self.objects.get(&id).ok_or(Status::NOT_FOUND)?;
        self.send(object.owner, forward(message.seq, client, id, method, data, false));
        Ok(true)
    }

    fn event(&self, from: u32, name: &str, data: &[u8]) {
        for (listener, pattern) in &self.patterns {
            let fits = match pattern.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == pattern,
            };
            let owner = self.objects.get(listener).map(|object| object.owner);
            if let Some(owner) = owner.filter(|owner| fits && *owner != from) {
                self.send(owner, forward(7, 0, *listener, name, data, false));
            }
        }
    }

    fn answer(&self, client: u32, message: &Message, fields: &Fields<'_>) {
        if let Some(id) = fields.object.filter(|id| self.owns(client, *id)) {
            self.send(message.peer, Message { peer: id, ..message.clone() });
        }
    }

    fn subscribe(&mut self, client: u32, fields: &Fields<'_>) -> Result<(), Status> {
        let (Some(own), Some(target)) = (fields.object, fields.target) else {
            return Err(Status::INVALID_ARGUMENT);
        };
        if self.deny || !self.owns(client, own) || self.owns(client, target) {
            return Err(Status::NOT_FOUND);
        }
        let object = self.objects.get_mut(&target).ok_or(Status::NOT_FOUND)?;
        object.subscribers.insert(own);
        if object.subscribers.len() == 1 {
            self.tell_active(target, true);
        }
        Ok(())
    }

    fn unsubscribe(&mut self, fields: &Fields<'_>) -> Result<(), Status> {
        let (Some(own), Some(target)) = (fields.object, fields.target) else {
            return Err(Status::INVALID_ARGUMENT);
        };
        self.drop_subscriber(target, own);
        Ok(())
    }

    fn drop_subscriber(&mut self, target: u32, subscriber: u32) {
        let Some(object) = self.objects.get_mut(&target) else { return };
        if object.subscribers.remove(&subscriber) && object.subscribers.is_empty() {
            self.tell_active(target, false);
        }
    }

    fn tell_active(&self, target: u32, active: bool) {
        let Some(object) = self.objects.get(&target) else { return };
        let message = Message::new(kind::NOTIFY, 1, 0)
            .number(attribute::OBJECT_ID, target)
            .bytes(attribute::ACTIVE, &[u8::from(active)]);
        self.send(object.owner, message);
    }

    fn notify(&self, client: u32, message: &Message, fields: &Fields<'_>) {
        let (Some(id), Some(method)) = (fields.object, fields.method) else { return };
        let Some(object) = self.objects.get(&id).filter(|object| object.owner == client) else {
            return;
        };
        if !fields.no_reply {
            let answer = Message::new(kind::STATUS, message.seq, message.peer);
            let answer = answer.number(attribute::OBJECT_ID, id).number(attribute::STATUS, 0);
            self.send(client, answer);
        }
        let data = fields.data.unwrap_or_default();
        for subscriber in &object.subscribers {
            if let Some(other) = self.objects.get(subscriber) {
                let quiet = fields.no_reply;
                let call = forward(message.seq, client, *subscriber, method, data, quiet);
                self.send(other.owner, call);
            }
        }
    }
}

fn forward(seq: u16, from: u32, to: u32, method: &str, data: &[u8], quiet: bool) -> Message {
    let message = Message::new(kind::INVOKE, seq, from);
    let message = if quiet { message.bytes(attribute::NO_REPLY, &[1]) } else { message };
    message
        .number(attribute::OBJECT_ID, to)
        .text(attribute::METHOD, method)
        // Whose call it is; ours does not ask.
        .text(12, "root")
        .text(13, "root")
        .bytes(attribute::DATA, data)
}

/// A signature as `ubus -v list` shows it.
pub fn shown(signature: &[u8]) -> Value {
    let mut table = json!(blobmsg::table(signature).expect("a signature"));
    for method in table.as_object_mut().into_iter().flatten() {
        for argument in method.1.as_object_mut().into_iter().flatten() {
            let name = match argument.1.as_i64() {
                Some(1) => "Array",
                Some(2) => "Table",
                Some(3) => "String",
                Some(5) => "Integer",
                Some(7) => "Boolean",
                _ => "(unknown)",
            };
            *argument.1 = json!(name);
        }
    }
    table
}
