//! Requests to the kernel, and its answers.
//!
//! How: [`Handle`] sends one request and waits for all of its answer; the connection that carries
//! it is a future of its own, to be spawned beside it. What a request means is said by the
//! [`Object`] in it.
//!
//! Limits: nothing here waits with a limit; the callers do where an answer could be lost.

use std::io;

use futures_util::{Stream, StreamExt};
use nix::errno::Errno;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::proto::{Connection, ConnectionHandle, new_connection};
use rtnetlink::sys::{AsyncSocket, SocketAddr, protocols::NETLINK_ROUTE};

use super::message::{Message, Object, Verb};

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The kernel refuses it.
    #[error("{0}")]
    Refused(Errno),
    /// The connection has ended.
    #[error("the netlink connection has ended")]
    Ended,
}

impl Error {
    /// The kernel's error number, if it is one.
    pub(crate) fn errno(self) -> Option<Errno> {
        match self {
            Error::Refused(errno) => Some(errno),
            Error::Ended => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        match error {
            Error::Refused(errno) => errno.into(),
            Error::Ended => io::Error::new(io::ErrorKind::BrokenPipe, error),
        }
    }
}

/// Sends requests.
#[derive(Clone, Debug)]
pub(crate) struct Handle(ConnectionHandle<Message>);

impl Handle {
    /// Opens a socket that listens to `groups`; what the kernel says about them comes out of the
    /// last part.
    #[allow(clippy::type_complexity, reason = "three parts, each taken at once")]
    pub(crate) fn open(
        groups: &[MulticastGroup],
    ) -> io::Result<(
        Connection<Message>,
        Handle,
        impl Stream<Item = NetlinkPayload<Message>> + Unpin + Send + use<>,
    )> {
        let (mut connection, handle, messages) = new_connection(NETLINK_ROUTE)?;
        let socket = connection.socket_mut().socket_mut();
        // Strict checks make the kernel filter what it shows; kernels before 4.20 do not know
        // them and show everything, which is filtered by the callers as well.
        let _ = socket.set_netlink_get_strict_chk(true);
        // The first request would do it, and not everybody who listens asks.
        socket.bind_auto()?;
        for group in groups {
            socket.add_membership(*group as u32)?;
        }
        Ok((connection, Handle(handle), messages.map(|(message, _)| message.payload)))
    }

    /// Makes the object; it must not be there yet.
    pub(crate) async fn add(&self, object: Object) -> Result<(), Error> {
        self.ask(Verb::New, object, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &mut |_| {}).await
    }

    /// Removes the object.
    pub(crate) async fn remove(&self, object: Object) -> Result<(), Error> {
        self.ask(Verb::Del, object, NLM_F_ACK, &mut |_| {}).await
    }

    /// Changes the object.
    pub(crate) async fn change(&self, object: Object) -> Result<(), Error> {
        self.ask(Verb::Set, object, NLM_F_ACK, &mut |_| {}).await
    }

    /// Hands over every object of the kind of `like`, and of what else the kernel can filter by.
    pub(crate) async fn each(
        &self,
        like: Object,
        mut take: impl FnMut(Object) + Send,
    ) -> Result<(), Error> {
        self.ask(Verb::Get, like, NLM_F_DUMP, &mut take).await
    }

    /// Not one for each kind of `take`: it is large.
    async fn ask(
        &self,
        verb: Verb,
        object: Object,
        flags: u16,
        take: &mut (dyn FnMut(Object) + Send),
    ) -> Result<(), Error> {
        let mut request = NetlinkMessage::from(Message { verb, object });
        request.header.flags = NLM_F_REQUEST | flags;
        let kernel = SocketAddr::new(0, 0);
        let mut answers = self.0.request(request, kernel).map_err(|_| Error::Ended)?;
        while let Some(answer) = answers.next().await {
            match answer.payload {
                NetlinkPayload::InnerMessage(Message { object, .. }) => take(object),
                NetlinkPayload::Error(error) => {
                    let code = error.code.map_or(0, |code| code.get());
                    return Err(Error::Refused(Errno::from_raw(-code)));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
