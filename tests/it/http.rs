//! The HTTP of the servers on loopback.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Result};
use std::net::{TcpListener, TcpStream};

/// A request, as a server reads it.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// By lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// The next request of a connection; none once the client closed it.
pub(crate) fn read(reader: &mut BufReader<&TcpStream>) -> Result<Option<Request>> {
    let mut line = || -> Result<String> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    };
    let first = line()?;
    if first.is_empty() {
        return Ok(None);
    }
    let mut words = first.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    while let Some((name, value)) = line()?.split_once(": ") {
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { method, target, headers, body }))
}

/// Calls `answer` on each connection, in a thread of its own, until the test ends. Returns the port.
pub(crate) fn serve(answer: impl Fn(TcpStream, u16) -> Result<()> + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            // A client may close the connection early.
            std::thread::spawn(move || drop(answer(stream, port)));
        }
    });
    port
}
