//! One exchange with a server, carried on by a thread of its own, so that whoever waits for it can
//! stop at once. Knows the library that speaks HTTP; does not know what an answer means.

use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use ureq::http::{HeaderMap, HeaderValue, Request, Response};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::client::Trouble;
use super::limits::Limits;
use super::url::Url;
use crate::train::progress::{Failure, Progress};

/// The most bytes of a body in one piece.
const PIECE_BYTES: usize = 128 << 10;
/// Pieces that may wait to be taken.
const PIECES: usize = 8;
/// How often a silent server is looked at for an interruption.
const PATIENCE: Duration = Duration::from_millis(50);

/// A question to a server.
#[derive(Clone)]
pub struct Ask {
    pub method: &'static str,
    pub url: Url,
    pub headers: Vec<(&'static str, String)>,
    /// The value of `Authorization`.
    pub secret: Option<String>,
}

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    headers: HeaderMap,
}

impl Head {
    /// A header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A header that is a whole number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.trim().parse().ok()
    }
}

/// Connections to servers, kept open between questions.
#[derive(Clone)]
pub struct Wire {
    agent: Agent,
}

/// What the thread passes on; its end is the end of the body.
enum Heard {
    Head(Head),
    Piece(Vec<u8>),
    End,
    Broken(Trouble),
}

/// An answer whose body may still be arriving. Dropping it ends the exchange.
pub struct Talk {
    pub head: Head,
    heard: Receiver<Heard>,
}

impl Wire {
    /// Follows no redirect, takes any status for an answer, and goes through a proxy where
    /// `HTTPS_PROXY` and its like name one.
    pub fn new(limits: &Limits) -> Wire {
        let roots = RootCerts::PlatformVerifier;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("llamake/", env!("CARGO_PKG_VERSION")))
            // The bytes as they are: lengths and digests are of those.
            .accept_encoding("identity")
            .timeout_connect(Some(limits.silence))
            .timeout_recv_response(Some(limits.silence))
            .timeout_per_read(Some(limits.silence))
            .timeout_per_write(Some(limits.silence))
            .tls_config(TlsConfig::builder().root_certs(roots).build());
        Wire { agent: Agent::new_with_config(config.build()) }
    }

    /// Asks, and waits for the head of the answer.
    pub fn ask(&self, ask: Ask, progress: &dyn Progress) -> Result<Talk, Trouble> {
        let (sender, heard) = sync_channel(PIECES);
        let agent = self.agent.clone();
        // Not joined: it ends by itself when nobody listens any more.
        std::thread::spawn(move || carry_on(&agent, &ask, &sender));
        match next(&heard, progress)? {
            Heard::Head(head) => Ok(Talk { head, heard }),
            Heard::Broken(trouble) => Err(trouble),
            Heard::Piece(_) | Heard::End => Err(Trouble::again("the answer has no head")),
        }
    }
}

impl Talk {
    /// The next bytes of the body; `None` at its end.
    pub fn piece(&self, progress: &dyn Progress) -> Result<Option<Vec<u8>>, Trouble> {
        match next(&self.heard, progress)? {
            Heard::Piece(bytes) => Ok(Some(bytes)),
            Heard::End => Ok(None),
            Heard::Broken(trouble) => Err(trouble),
            Heard::Head(_) => Err(Trouble::again("the answer has two heads")),
        }
    }
}

fn next(heard: &Receiver<Heard>, progress: &dyn Progress) -> Result<Heard, Trouble> {
    loop {
        if progress.cancelled() {
            return Err(Failure::Interrupted.into());
        }
        match heard.recv_timeout(PATIENCE) {
            Ok(heard) => return Ok(heard),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Trouble::again("the connection ended without a word"));
            }
        }
    }
}

/// Nobody may listen any more, which ends it: a failure to send is no news.
fn carry_on(agent: &Agent, ask: &Ask, sender: &SyncSender<Heard>) {
    let answered = request(ask).and_then(|request| agent.run(request));
    let response = match answered {
        Ok(response) => response,
        Err(error) => return drop(sender.send(Heard::Broken(trouble(&error)))),
    };
    let (parts, body) = Response::into_parts(response);
    let head = Head { status: parts.status.as_u16(), headers: parts.headers };
    if sender.send(Heard::Head(head)).is_ok() {
        pass_on(body, sender);
    }
}

fn request(ask: &Ask) -> Result<Request<()>, ureq::Error> {
    let mut request = Request::builder().method(ask.method).uri(ask.url.as_str());
    for (name, value) in &ask.headers {
        request = request.header(*name, value);
    }
    if let Some(secret) = &ask.secret {
        let mut value = HeaderValue::from_str(secret).map_err(ureq::http::Error::from)?;
        value.set_sensitive(true);
        request = request.header("Authorization", value);
    }
    Ok(request.body(())?)
}

fn pass_on(body: Body, sender: &SyncSender<Heard>) {
    let mut reader = body.into_reader();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let heard = match reader.read(&mut buffer) {
            Ok(0) => Heard::End,
            Ok(read) => Heard::Piece(buffer[..read].to_vec()),
            Err(error) => Heard::Broken(Trouble::again(format!("the connection broke: {error}"))),
        };
        let last = !matches!(heard, Heard::Piece(_));
        if sender.send(heard).is_err() || last {
            return;
        }
    }
}

/// Why there was no answer at all.
fn trouble(error: &ureq::Error) -> Trouble {
    match error {
        ureq::Error::Tls(_)
        | ureq::Error::Rustls(_)
        | ureq::Error::Pem(_)
        | ureq::Error::BadUri(_)
        | ureq::Error::InvalidProxyUrl
        | ureq::Error::Http(_) => Trouble::Silent(error.to_string()),
        error => Trouble::again(error.to_string()),
    }
}
