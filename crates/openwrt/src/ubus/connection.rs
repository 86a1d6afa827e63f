//! The socket: messages in and out, in pieces as the kernel gives and takes them.
//!
//! Why no task of its own: everything happens while the owner waits in
//! [`receive`](Connection::receive), which may be cancelled at any time, so that one `select!`
//! can wait for the bus and for other things.
//!
//! Limits: [`OUTPUT_MAX`] bytes wait for a bus that does not read; more ends the connection.

use super::Malformed;
use super::message::Message;
use std::io;
use std::path::Path;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Bytes that may wait to be sent.
pub const OUTPUT_MAX: usize = 4 << 20;
/// Bytes that one system call reads.
const CHUNK: usize = 8 << 10;

/// Either end of a connection.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    /// A connection to the bus at this path.
    ///
    /// # Errors
    /// Nobody listens there, or not for us.
    pub async fn open(path: &Path) -> io::Result<Connection> {
        Ok(Connection::over(UnixStream::connect(path).await?))
    }

    /// A connection over this socket.
    pub fn over(stream: UnixStream) -> Connection {
        Connection { stream, input: Vec::new(), output: Vec::new() }
    }

    /// Sends a message, what the socket does not take now during the next
    /// [`receive`](Connection::receive). `false`: it is too long and not sent.
    ///
    /// # Errors
    /// The connection has ended, or the other end does not read.
    pub fn send(&mut self, message: &Message) -> io::Result<bool> {
        if !message.write(&mut self.output) {
            return Ok(false);
        }
        self.flush()?;
        if self.output.len() > OUTPUT_MAX {
            return Err(io::Error::new(io::ErrorKind::WriteZero, "the bus does not read"));
        }
        Ok(true)
    }

    /// Waits for a message. May be cancelled.
    ///
    /// # Errors
    /// The connection has ended, or what came is no message.
    pub async fn receive(&mut self) -> io::Result<Message> {
        loop {
            if let Some(message) = Message::read(&mut self.input).map_err(broken)? {
                return Ok(message);
            }
            let mut wanted = Interest::READABLE;
            if !self.output.is_empty() {
                wanted |= Interest::WRITABLE;
            }
            let ready = self.stream.ready(wanted).await?;
            if ready.is_writable() {
                self.flush()?;
            }
            if ready.is_readable() {
                self.fill()?;
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; CHUNK];
        match self.stream.try_read(&mut chunk) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the bus has hung up")),
            Ok(length) => {
                self.input.extend_from_slice(&chunk[..length]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.try_write(&self.output) {
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn broken(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::super::message::{MESSAGE_MAX, attribute, kind};
    use super::*;
    use tokio::io::AsyncWriteExt;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test);
    }

    #[test]
    fn long_messages_pass_in_both_directions_at_once() {
        run(async {
            let (a, b) = UnixStream::pair().unwrap();
            let (mut a, mut b) = (Connection::over(a), Connection::over(b));
            let long = Message::new(kind::DATA, 1, 2).bytes(attribute::DATA, &vec![7; 900_000]);
            for _ in 0..2 {
                assert!(a.send(&long).unwrap() && b.send(&long).unwrap());
            }
            for _ in 0..2 {
                let (from_b, from_a) = tokio::join!(a.receive(), b.receive());
                assert!(from_a.unwrap() == long && from_b.unwrap() == long);
            }
        });
    }

    #[test]
    fn who_does_not_read_is_left() {
        run(async {
            let (a, _b) = UnixStream::pair().unwrap();
            let mut a = Connection::over(a);
            let long = Message::new(kind::DATA, 1, 2).bytes(attribute::DATA, &vec![7; 1_000_000]);
            assert!((0..6).any(|_| a.send(&long).is_err()));
            let longer = Message::new(0, 0, 0).bytes(0, &vec![0; MESSAGE_MAX]);
            let (c, _d) = UnixStream::pair().unwrap();
            assert!(!Connection::over(c).send(&longer).unwrap());
        });
    }

    #[test]
    fn an_end_and_nonsense_are_errors() {
        run(async {
            let (a, mut b) = UnixStream::pair().unwrap();
            let mut a = Connection::over(a);
            b.write_all(&[0xff; 64]).await.unwrap();
            assert_eq!(a.receive().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
            let (a, b) = UnixStream::pair().unwrap();
            let mut a = Connection::over(a);
            drop(b);
            assert_eq!(a.receive().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        });
    }
}
