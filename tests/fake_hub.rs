//! A server on this machine that answers as a Hugging Face hub does, keeps a record of what it was
//! asked, and fails where it is told to. Large files lie on a second server, as on the real one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use llamake::train::data::http::digest::{Digest, Hasher};
use serde_json::{Value, json};

/// The token that opens what is closed.
pub const TOKEN: &str = "hf_open_sesame";
/// Files of a list that stand on one page.
const PAGE: usize = 2;

/// What goes wrong at a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, with these headers.
    Status(u16, &'static str),
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// Nothing comes after so many bytes of the body, for a while.
    Stall(usize),
    /// Other bytes, as many.
    Wrong,
    /// More bytes than were announced elsewhere, with no length.
    Endless,
    /// A byte now and then.
    Trickle,
    /// Leads elsewhere.
    Redirect(String),
    /// `Range` is not understood.
    NoRange,
    /// Says another length of the whole.
    OtherLength,
}

/// A repository at a place such as `datasets/some/text`.
#[derive(Clone, Default)]
pub struct Repo {
    pub commits: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    pub branches: BTreeMap<String, String>,
    pub private: bool,
    pub gated: bool,
    /// Whether files can be listed with their digests.
    pub unlisted: bool,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whether it came to the server of large files.
    pub aside: bool,
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    /// Bytes of the body that were sent.
    pub sent: usize,
}

#[derive(Default)]
struct State {
    repos: BTreeMap<String, Repo>,
    faults: Vec<(String, Fault)>,
    asked: Vec<Asked>,
}

/// The two servers. They stop answering when this is dropped.
pub struct FakeHub {
    pub endpoint: String,
    pub aside: String,
    state: Arc<Mutex<State>>,
    gone: Arc<Mutex<bool>>,
}

impl FakeHub {
    pub fn new() -> FakeHub {
        let (main, aside) = (listener(), listener());
        let url = |of: &TcpListener| format!("http://{}", of.local_addr().unwrap());
        let hub = FakeHub {
            endpoint: url(&main),
            aside: url(&aside),
            state: Arc::default(),
            gone: Arc::default(),
        };
        hub.serve(main, false);
        hub.serve(aside, true);
        hub
    }

    fn serve(&self, listener: TcpListener, is_aside: bool) {
        let (state, gone, aside) = (self.state.clone(), self.gone.clone(), self.aside.clone());
        let endpoint = self.endpoint.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if *gone.lock().unwrap() {
                    return;
                }
                let (state, aside) = (state.clone(), aside.clone());
                let endpoint = endpoint.clone();
                std::thread::spawn(move || {
                    let exchange = Exchange { state, aside, endpoint, is_aside };
                    // A client may go away at any time.
                    let _ = exchange.answer(stream.unwrap());
                });
            }
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A commit on a branch, of files by name; its digest is told.
    pub fn commit(&self, repo: &str, branch: &str, files: &[(&str, &[u8])]) -> String {
        let mut state = self.state();
        let repo = state.repos.entry(repo.into()).or_default();
        let files = files.iter().map(|(name, bytes)| (name.to_string(), bytes.to_vec()));
        let commit = format!("{:040x}", 0xabc0 + repo.commits.len());
        repo.commits.insert(commit.clone(), files.collect());
        repo.branches.insert(branch.into(), commit.clone());
        commit
    }

    pub fn change(&self, repo: &str, change: impl FnOnce(&mut Repo)) {
        change(self.state().repos.get_mut(repo).unwrap());
    }

    /// The next request whose path ends so meets this; several are met one after the other.
    pub fn fault(&self, end: &str, fault: Fault) {
        self.state().faults.push((end.into(), fault));
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().asked)
    }

    /// Nobody answers any more.
    pub fn leave(&self) {
        *self.gone.lock().unwrap() = true;
        for url in [&self.endpoint, &self.aside] {
            drop(TcpStream::connect(url.trim_start_matches("http://")));
        }
    }
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        self.leave();
    }
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// The digest that names a file among the blobs.
pub fn digest(name: &str, bytes: &[u8]) -> String {
    let kind = match is_large(name) {
        true => Digest::Sha256(String::new()),
        false => Digest::GitBlob(String::new()),
    };
    let mut hasher = Hasher::like(&kind, bytes.len() as u64);
    hasher.update(bytes);
    hasher.finish().hex().to_string()
}

fn is_large(name: &str) -> bool {
    name.contains("large") || name.ends_with(".safetensors")
}

/// One request and its answer.
struct Exchange {
    state: Arc<Mutex<State>>,
    aside: String,
    endpoint: String,
    is_aside: bool,
}

/// An answer before it is sent.
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, headers: Vec::new(), body: body.into() }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn refusal(status: u16, code: &str) -> Reply {
        Reply::new(status, "no").with("X-Error-Code", code)
    }
}

impl Exchange {
    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().unwrap_or(Ok(String::new()))?;
        let mut words = first.split(' ').map(str::to_string);
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
        let mut headers = BTreeMap::new();
        for line in lines {
            match line?.split_once(": ") {
                Some((name, value)) => headers.insert(name.to_lowercase(), value.to_string()),
                None => break,
            };
        }
        let asked = Asked { aside: self.is_aside, method, path, headers, sent: 0 };
        let (at, fault) = {
            let mut state = self.state.lock().unwrap();
            state.asked.push(asked.clone());
            let meets = |(end, _): &(String, Fault)| asked.path.ends_with(end.as_str());
            let fault = state.faults.iter().position(meets).map(|at| state.faults.remove(at).1);
            (state.asked.len() - 1, fault)
        };
        let reply = match &fault {
            Some(Fault::Status(status, header)) => {
                let (name, value) = header.split_once(": ").unwrap_or(("X-Nothing", ""));
                Reply::new(*status, "not now").with(name, value)
            }
            Some(Fault::Redirect(to)) => Reply::new(302, "").with("Location", to.clone()),
            _ => self.reply(&asked, matches!(fault, Some(Fault::NoRange))),
        };
        let sent = send(stream, &asked, reply, fault.as_ref());
        if let Some(asked) = self.state.lock().unwrap().asked.get_mut(at) {
            asked.sent = sent;
        }
        Ok(())
    }

    fn reply(&self, asked: &Asked, no_range: bool) -> Reply {
        let path = asked.path.split('?').next().unwrap().trim_start_matches('/').to_string();
        let whole = if self.is_aside { self.large(&path) } else { self.of_hub(asked, &path) };
        let range = asked.headers.get("range").filter(|_| whole.status == 200 && !no_range);
        let etag = whole.headers.iter().find(|(name, _)| name == "ETag").map(|(_, etag)| etag);
        let same = asked.headers.get("if-range").is_none_or(|wanted| Some(wanted) == etag);
        match range.filter(|_| same) {
            None => whole,
            Some(range) => part_of(whole, range),
        }
    }

    /// The server of large files.
    fn large(&self, path: &str) -> Reply {
        let state = self.state.lock().unwrap();
        let files = state.repos.values().flat_map(|repo| repo.commits.values()).flatten();
        for (name, bytes) in files {
            if digest(name, bytes) == path {
                return Reply::new(200, bytes.clone()).with("ETag", format!("\"{}\"", &path[..9]));
            }
        }
        Reply::new(404, "")
    }

    fn of_hub(&self, asked: &Asked, path: &str) -> Reply {
        let api = path.strip_prefix("api/");
        let parts: Vec<String> = api.unwrap_or(path).split('/').map(decoded).collect();
        let mut parts = parts.iter().map(String::as_str).collect::<Vec<_>>();
        if api.is_none() && parts[0] != "datasets" {
            parts.insert(0, "models");
        }
        let [kind, organisation, name, verb, revision, rest @ ..] = parts.as_slice() else {
            return Reply::new(404, "no such page");
        };
        let place = format!("{kind}/{organisation}/{name}");
        let state = self.state.lock().unwrap();
        let secret = asked.headers.get("authorization").map(String::as_str);
        let open = secret == Some(&format!("Bearer {TOKEN}"));
        if secret.is_some_and(|secret| secret.contains("invalid")) {
            let why = "Invalid credentials in Authorization header";
            return Reply::new(401, "no").with("X-Error-Message", why);
        }
        let Some(repo) = state.repos.get(&place).filter(|repo| open || !repo.private) else {
            let status = if secret.is_some() { 404 } else { 401 };
            return Reply::refusal(status, "RepoNotFound");
        };
        if repo.gated && !open {
            let status = if secret.is_some() { 403 } else { 401 };
            return Reply::refusal(status, "GatedRepo");
        }
        let commit = repo.branches.get(*revision).map_or(*revision, String::as_str);
        let Some(files) = repo.commits.get(commit) else {
            return Reply::refusal(404, "RevisionNotFound");
        };
        match *verb {
            "revision" => revision_of(commit, files),
            "tree" if !repo.unlisted => self.tree_of(&asked.path, files),
            "resolve" => self.resolved(commit, files, &rest.join("/")),
            _ => Reply::new(404, "no such page"),
        }
    }

    fn tree_of(&self, path: &str, files: &BTreeMap<String, Vec<u8>>) -> Reply {
        let from = path.split("cursor=").nth(1).map_or(0, |from| from.parse().unwrap());
        let rows = files.iter().skip(from).take(PAGE).map(|(name, bytes)| row_of(name, bytes));
        let rows: Vec<Value> =
            rows.chain([json!({ "type": "directory", "oid": "", "path": "x" })]).collect();
        let reply = Reply::new(200, Value::from(rows).to_string());
        match from + PAGE < files.len() {
            false => reply,
            true => {
                let path = path.split("&cursor").next().unwrap();
                let next = format!("{}{path}&cursor={}", self.endpoint, from + PAGE);
                reply.with("Link", format!("<{next}>; rel=\"next\""))
            }
        }
    }

    fn resolved(&self, commit: &str, files: &BTreeMap<String, Vec<u8>>, name: &str) -> Reply {
        let Some(bytes) = files.get(name) else {
            return Reply::refusal(404, "EntryNotFound").with("X-Repo-Commit", commit);
        };
        let digest = digest(name, bytes);
        let reply = match is_large(name) {
            true => Reply::new(302, "")
                .with("Location", format!("{}/{digest}?X-Amz-Signature=s3cret", self.aside))
                .with("X-Linked-Etag", format!("\"{digest}\""))
                .with("X-Linked-Size", bytes.len().to_string()),
            false => Reply::new(200, bytes.clone()).with("ETag", format!("\"{digest}\"")),
        };
        reply.with("X-Repo-Commit", commit)
    }
}

fn revision_of(commit: &str, files: &BTreeMap<String, Vec<u8>>) -> Reply {
    let files: Vec<Value> = files.keys().map(|name| json!({ "rfilename": name })).collect();
    let answer = json!({ "id": "x/y", "sha": commit, "siblings": files, "private": false });
    Reply::new(200, answer.to_string()).with("Content-Type", "application/json")
}

fn row_of(name: &str, bytes: &[u8]) -> Value {
    let digest = digest(name, bytes);
    let mut row = json!({ "type": "file", "path": name, "size": bytes.len(), "oid": digest });
    if is_large(name) {
        row["oid"] = json!("0".repeat(40));
        row["lfs"] = json!({ "oid": digest, "size": bytes.len(), "pointerSize": 134 });
    }
    row
}

fn part_of(whole: Reply, range: &str) -> Reply {
    let from: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
    let all = whole.body.len();
    if from >= all {
        return Reply::new(416, "").with("Content-Range", format!("bytes */{all}"));
    }
    let mut reply = Reply { status: 206, body: whole.body[from..].to_vec(), ..whole };
    reply.headers.push(("Content-Range".into(), format!("bytes {from}-{}/{all}", all - 1)));
    reply
}

/// How many bytes of the body went out.
fn send(mut to: TcpStream, asked: &Asked, mut reply: Reply, fault: Option<&Fault>) -> usize {
    if let (Some(Fault::Wrong), true) = (fault, reply.status < 300) {
        reply.body.iter_mut().for_each(|byte| *byte ^= 1);
    }
    let endless = matches!(fault, Some(Fault::Endless)) && reply.status < 300;
    let mut head = format!("HTTP/1.1 {} Said\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !endless {
        let other = usize::from(matches!(fault, Some(Fault::OtherLength)));
        head += &format!("Content-Length: {}\r\n", reply.body.len() + other);
    }
    if to.write_all(format!("{head}\r\n").as_bytes()).is_err() || asked.method == "HEAD" {
        return 0;
    }
    let body = &reply.body;
    match fault {
        Some(Fault::Cut(after) | Fault::Stall(after)) if reply.status < 300 => {
            let after = (*after).min(body.len());
            drop(to.write_all(&body[..after]));
            if let Some(Fault::Stall(_)) = fault {
                std::thread::sleep(Duration::from_secs(3));
            }
            after
        }
        Some(Fault::Endless) if endless => {
            while to.write_all(&[b'x'; 1 << 16]).is_ok() {}
            0
        }
        Some(Fault::Trickle) => {
            for byte in body {
                std::thread::sleep(Duration::from_millis(100));
                if to.write_all(&[*byte]).is_err() {
                    break;
                }
            }
            body.len()
        }
        _ => {
            drop(to.write_all(body));
            body.len()
        }
    }
}

/// A part of a path without its percent signs.
fn decoded(part: &str) -> String {
    let mut pieces = part.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        bytes.extend(&piece.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}
