//! Small transfers over TCP, each over a connection of its own: whether packets of full size pass,
//! which a ping does not show.
//!
//! How: the client sends a block, the server reads all of it and sends as much back. A transfer that
//! does not end in time is given up.
//!
//! Limits: IPv4; what is fetched is forgotten.

use super::clock;
use super::netns::Netns;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes each way.
const BLOCK: usize = 32 * 1024;
/// How long the server waits for a client before it looks whether it has to end.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long the server bears with a connection that stands still.
const STALL: Duration = Duration::from_secs(5);

/// The server, and where it listens.
pub struct Fetches {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fetches {
    /// Serves at an address that the namespace owns.
    pub fn serve(server: &Netns, address: &str, port: u16) -> Fetches {
        let address = SocketAddr::new(address.parse::<IpAddr>().expect("an address"), port);
        let listener = server.run(|| TcpListener::bind(address).expect("listener"));
        listener.set_nonblocking(true).expect("not blocking");
        let stop = Arc::<AtomicBool>::default();
        let ours = stop.clone();
        let thread = Some(std::thread::spawn(move || {
            while !ours.load(Ordering::Relaxed) {
                match listener.accept() {
                    // A client that gave up leaves its connection to its own thread.
                    Ok((stream, _)) => drop(std::thread::spawn(move || answer(stream))),
                    Err(_) => clock::pass(PATIENCE),
                }
            }
        }));
        Fetches { address, stop, thread }
    }

    /// One transfer; how long it took, or why it did not succeed within `limit`.
    pub fn fetch(&self, client: &Netns, limit: Duration) -> std::io::Result<Duration> {
        let start = clock::now();
        let left = || limit.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
        client.run(|| {
            let mut stream = TcpStream::connect_timeout(&self.address, left())?;
            stream.set_write_timeout(Some(left()))?;
            stream.write_all(&[0x5a; BLOCK])?;
            let (mut buffer, mut got) = ([0; 4096], 0);
            while got < BLOCK {
                stream.set_read_timeout(Some(left()))?;
                match stream.read(&mut buffer)? {
                    0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                    length => got += length,
                }
                if start.elapsed() >= limit {
                    return Err(std::io::ErrorKind::TimedOut.into());
                }
            }
            Ok(start.elapsed())
        })
    }
}

/// Takes a block and gives one; a client that has gone is no matter.
fn answer(mut stream: TcpStream) {
    let settings = [
        stream.set_nonblocking(false),
        stream.set_read_timeout(Some(STALL)),
        stream.set_write_timeout(Some(STALL)),
    ];
    let mut block = [0; BLOCK];
    if settings.iter().all(Result::is_ok) && stream.read_exact(&mut block).is_ok() {
        let _ = stream.write_all(&block);
    }
}

impl Drop for Fetches {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}
