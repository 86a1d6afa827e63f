//! The program's side of the control socket.

use super::{
    ANSWER_S_MAX, Answer, CONNECTIONS_MAX, READ_S_MAX, REQUEST_MAX, Request, RequestError, Response,
};
use crate::status::{Problem, Problems};
use onebox_linux::clock;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long the end may wait for answers on their way.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A request, and where its answer goes: the result, or why not.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Takes the answer. Dropped without one, the asker is told that the program is ending.
    pub reply: oneshot::Sender<Result<Response, RequestError>>,
}

/// Why the control socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A program answers on it.
    #[error("already running: a program answers on {}", .0.display())]
    AlreadyRunning(PathBuf),
    /// The system refused.
    #[error("control socket {}: {error}", path.display())]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// The open control socket. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct ControlServer {
    listener: UnixListener,
    file: SocketFile,
}

/// The file of the socket, told from a later one at the same path.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == (self.device, self.inode));
        if ours {
            // Nothing is to be done about a failure, and the next start copes with the file.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl ControlServer {
    /// Opens the socket, in place of a file that a crash has left. Two programs that do this at
    /// the same moment may both succeed; the second one's socket then is the one that is reached.
    ///
    /// # Errors
    ///
    /// Another program answers there, or the system refuses.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as everything of tokio's that does IO.
    pub fn bind(path: &Path) -> Result<ControlServer, BindError> {
        let path = &super::real_path(path);
        let failed = |error| BindError::Io { path: path.to_owned(), error };
        let listener = match listen(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if !is_stale(path).map_err(failed)? {
                    return Err(BindError::AlreadyRunning(path.to_owned()));
                }
                std::fs::remove_file(path).map_err(failed)?;
                listen(path).map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        let file = std::fs::symlink_metadata(path).map_err(failed)?;
        let file = SocketFile { path: path.to_owned(), device: file.dev(), inode: file.ino() };
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        Ok(ControlServer { listener, file })
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Serves until it is dropped, or nobody takes calls any more; what is answered already is
    /// still sent then. That nobody can connect is a problem.
    pub async fn run(&self, handler: mpsc::Sender<Call>, problems: Problems) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = handler.closed() => break,
            };
            let path = self.path().display().to_string();
            problems.note(clock::now(), Problem::ControlSocket, &path, &accepted);
            match accepted {
                Ok((stream, _)) => {
                    let handler = handler.clone();
                    connections.spawn(async move {
                        if let Err(error) = serve(stream, &handler).await {
                            log::debug!("control connection: {error}");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: accepting at once fails again.
                    log::warn!("control socket: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
        let sent = async { while connections.join_next().await.is_some() {} };
        // Who has not asked by now need not be waited for.
        let _ = timeout(LAST_WORDS, sent).await;
    }
}

/// A listening socket that nobody else may connect to, from its first moment on.
fn listen(path: &Path) -> io::Result<StdListener> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    // On Linux the file gets the mode of the socket.
    nix::sys::stat::fchmod(&socket, nix::sys::stat::Mode::from_bits_truncate(0o600))?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    socket.listen(CONNECTIONS_MAX as i32)?;
    socket.set_nonblocking(true)?;
    Ok(StdListener::from(std::os::fd::OwnedFd::from(socket)))
}

/// Whether nobody listens on this socket.
fn is_stale(path: &Path) -> io::Result<bool> {
    match StdStream::connect(path) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            use std::os::unix::fs::FileTypeExt;
            // A file that is no socket is somebody's: it is not ours to remove.
            if std::fs::symlink_metadata(path)?.file_type().is_socket() {
                Ok(true)
            } else {
                Err(io::Error::new(io::ErrorKind::AlreadyExists, "is there and is no socket"))
            }
        }
        Err(error) => Err(error),
    }
}

async fn serve(mut stream: UnixStream, handler: &mpsc::Sender<Call>) -> io::Result<()> {
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    let limit = Duration::from_secs(READ_S_MAX);
    let (read, mut write) = stream.split();
    let mut line = Vec::new();
    let mut read = BufReader::new(read.take(REQUEST_MAX as u64));
    timeout(limit, read.read_until(b'\n', &mut line)).await.map_err(|_| late())??;
    if line.is_empty() {
        // Somebody looked whether we are there.
        return Ok(());
    }
    let outcome = if line.ends_with(b"\n") {
        // By way of a value: the code for it is there anyway.
        match serde_json::from_slice(&line).and_then(serde_json::from_value) {
            Ok(request) => ask(request, handler).await,
            Err(error) => Err(RequestError::NotARequest(error)),
        }
    } else {
        Err(RequestError::NoLine)
    };
    let mut answer = serde_json::to_vec(&Answer::new(outcome)).map_err(io::Error::other)?;
    answer.push(b'\n');
    timeout(limit, write.write_all(&answer)).await.map_err(|_| late())??;
    timeout(limit, write.shutdown()).await.map_err(|_| late())?
}

/// Has a request answered by the program, within [`ANSWER_S_MAX`].
///
/// # Errors
///
/// It is refused, takes too long, or the program is ending.
pub async fn ask(request: Request, handler: &mpsc::Sender<Call>) -> Result<Response, RequestError> {
    let (reply, answer) = oneshot::channel();
    let exchange = async {
        handler.send(Call { request, reply }).await.map_err(|_| RequestError::Ending)?;
        answer.await.map_err(|_| RequestError::Ending)?
    };
    timeout(Duration::from_secs(ANSWER_S_MAX), exchange).await.unwrap_or(Err(RequestError::Late))
}
