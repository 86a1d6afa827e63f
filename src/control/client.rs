//! The command line's side of the control socket, blocking.

use super::{ANSWER_MAX, ANSWER_S_MAX, Answer, READ_S_MAX, Request};
use crate::time::SEC;
use onebox_linux::clock;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("not running")]
    NotRunning,
    /// The program refused.
    #[error("{words}")]
    Refused {
        /// Why, in its words.
        words: String,
        /// The code of its [`RequestError`](super::RequestError); empty of an older program.
        code: String,
    },
    /// The program's answer makes no sense.
    #[error("the answer of the running program is not understood: {0}")]
    Answer(String),
    /// The program is still there although it was told to stop.
    #[error("still running after {0} s")]
    StillRunning(u64),
    /// The system refused.
    #[error("control socket: {0}")]
    Io(#[from] io::Error),
}

fn connect(path: &Path) -> Result<UnixStream, ClientError> {
    UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning,
        _ => ClientError::Io(error),
    })
}

/// Asks the program that listens at `path`; the answer's result as it came.
///
/// # Errors
///
/// Nobody listens, the program refuses or takes too long, or the system refuses.
pub fn request(path: &Path, request: &Request) -> Result<Value, ClientError> {
    let mut stream = connect(path)?;
    stream.set_write_timeout(Some(Duration::from_secs(READ_S_MAX)))?;
    stream.set_read_timeout(Some(Duration::from_secs(ANSWER_S_MAX + READ_S_MAX)))?;
    let mut line = serde_json::to_vec(request).map_err(|e| ClientError::Answer(e.to_string()))?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    let answer: Answer<Value> =
        serde_json::from_slice(&answer).map_err(|e| ClientError::Answer(e.to_string()))?;
    if answer.ok {
        Ok(answer.result.unwrap_or_default())
    } else {
        let (words, code) = (answer.error.unwrap_or_default(), answer.code.unwrap_or_default());
        Err(ClientError::Refused { words, code })
    }
}

/// Asks, and reads the result as what it should be.
///
/// # Errors
///
/// As [`request`], or the result is something else.
pub fn ask<T: DeserializeOwned>(path: &Path, asked: &Request) -> Result<T, ClientError> {
    let result = request(path, asked)?;
    serde_json::from_value(result).map_err(|e| ClientError::Answer(e.to_string()))
}

/// Tells the program to stop and waits until nobody listens any more, at most `seconds`. With
/// `restart`, what must not leave past the tunnel stays so until the next start.
///
/// # Errors
///
/// As [`request`], or it is still there after that time.
pub fn stop(path: &Path, seconds: u64, restart: bool) -> Result<(), ClientError> {
    request(path, &Request::Stop { restart })?;
    let deadline = clock::now() + seconds * SEC;
    loop {
        match connect(path) {
            Err(ClientError::NotRunning) => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) if clock::now() >= deadline => return Err(ClientError::StillRunning(seconds)),
            Ok(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
