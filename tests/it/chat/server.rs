//! An endpoint on loopback that speaks OpenAI's chat completions and fails on demand.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::http;

/// What a script does with one try of a request.
pub(crate) enum Act {
    /// An answer with this text.
    Say(&'static str),
    /// The same, of a text that the script makes.
    Tell(String),
    /// A status, headers that end with a line break each, and a body.
    Status(&'static str, &'static str, String),
    /// The connection is closed without an answer.
    Drop,
    /// The connection is closed in the middle of the answer.
    Cut,
    /// An answer after this time.
    Slow(Duration),
}

/// Decides by what is asked and the number of its try, from 0.
type Script = dyn Fn(&str, usize) -> Act + Send + Sync;

#[derive(Default)]
struct Seen {
    tries: Mutex<BTreeMap<String, usize>>,
    keys: Mutex<Vec<String>>,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

/// The endpoint, until the test ends.
pub(crate) struct FakeChat {
    pub(crate) base: String,
    seen: Arc<Seen>,
}

impl FakeChat {
    /// The script is told the last message of a conversation.
    pub(crate) fn serve(script: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Self {
        Self::start(Arc::new(script), |texts| texts.last().cloned().unwrap_or_default())
    }

    /// The script is told all messages of a conversation, with a blank line between them.
    pub(crate) fn serve_whole(script: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Self {
        Self::start(Arc::new(script), |texts| texts.join("\n\n"))
    }

    fn start(script: Arc<Script>, told: fn(&[String]) -> String) -> Self {
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let port = http::serve(move |stream, _| answer(&stream, &shared, &*script, told));
        Self { base: format!("http://127.0.0.1:{port}/v1"), seen }
    }

    /// How often each text was asked.
    pub(crate) fn tries(&self) -> BTreeMap<String, usize> {
        self.seen.tries.lock().unwrap().clone()
    }

    /// The Authorization headers, each once.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.seen.keys.lock().unwrap().clone()
    }

    /// Most requests at one time.
    pub(crate) fn most_open(&self) -> usize {
        self.seen.most_open.load(Ordering::SeqCst)
    }
}

pub(crate) fn completion(text: &str) -> Value {
    json!({
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    })
}

fn answer(
    stream: &TcpStream,
    seen: &Seen,
    script: &Script,
    told: fn(&[String]) -> String,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = http::read(&mut reader)? {
        assert_eq!(request.target, "/v1/chat/completions");
        assert_eq!(request.method, "POST");
        let body: Value = serde_json::from_slice(&request.body)?;
        let messages = body["messages"].as_array().unwrap();
        let texts = messages.iter().map(|message| message["content"].as_str().unwrap().to_owned());
        let text = &*told(&texts.collect::<Vec<_>>());
        let key = request.headers.get("authorization").cloned().unwrap_or_default();
        let mut keys = seen.keys.lock().unwrap();
        if !keys.contains(&key) {
            keys.push(key);
        }
        drop(keys);
        let attempt = {
            let mut tries = seen.tries.lock().unwrap();
            let count = tries.entry(text.to_owned()).or_default();
            *count += 1;
            *count - 1
        };
        let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_open.fetch_max(open, Ordering::SeqCst);
        let act = script(text, attempt);
        if let Act::Slow(time) = act {
            std::thread::sleep(time);
        }
        seen.open.fetch_sub(1, Ordering::SeqCst);
        let (status, headers, body) = match act {
            Act::Say(said) => ("200 OK", "", completion(said).to_string()),
            Act::Tell(said) => ("200 OK", "", completion(&said).to_string()),
            Act::Slow(_) => ("200 OK", "", completion("slow").to_string()),
            Act::Status(status, headers, body) => (status, headers, body),
            Act::Drop => return Ok(()),
            Act::Cut => {
                let body = completion("cut").to_string();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                return (&mut &*stream).write_all(format!("{head}{}", &body[..40]).as_bytes());
            }
        };
        let length = body.len();
        let whole = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        (&mut &*stream).write_all(whole.as_bytes())?;
    }
    Ok(())
}
