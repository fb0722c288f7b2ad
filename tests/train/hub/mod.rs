//! Data sets of a hub: how they come into the cache, and what is said where they do not.

mod cached;
mod refused;
mod transfer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use llamake::train::data::http::limits::Limits;
use llamake::train::data::hub::{Hub, Token};
use llamake::train::data::rows::{Text, read_rows};
use llamake::train::progress::{Context, Failure};
use llamake::train::stage::hub::{self, FromHub, Rows};
use llamake::train::stage::read_text::{Documents, ReadText};

use super::{Silent, told};
use crate::fake_hub::{FakeHub, TOKEN};

/// A stage that reads text of a data set.
type Wiki = Rows<ReadText>;

/// The data set of these tests.
const DATA: &str = "datasets/some/text";
const ROWS: &[u8] = b"{\"text\": \"one\"}\n{\"text\": \"two\"}\n";

/// Bounds that a test does not have to wait for.
pub fn limits() -> Limits {
    Limits {
        tries: 3,
        pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(20),
        silence: Duration::from_secs(5),
        unstated_bytes: 1 << 20,
    }
}

/// A hub, and a cache that is empty at first.
struct Place {
    server: FakeHub,
    cache: tempfile::TempDir,
    hub: Hub,
}

/// What a stage did.
struct Done {
    texts: Result<Vec<String>, Failure>,
    log: Vec<String>,
}

impl Done {
    fn texts(self) -> Vec<String> {
        self.texts.unwrap_or_else(|failure| panic!("{failure:?}\n{}", self.log.join("\n")))
    }
}

impl Place {
    /// One whose hub has these files at `main` of the data set.
    fn with(files: &[(&str, &[u8])]) -> Place {
        let (server, cache) = (FakeHub::new(), tempfile::tempdir().unwrap());
        server.commit(DATA, "main", files);
        let hub = Hub {
            endpoint: server.endpoint.clone(),
            cache: cache.path().into(),
            token: None,
            offline: false,
            limits: limits(),
        };
        Place { server, cache, hub }
    }

    fn with_token(mut self, secret: &str) -> Place {
        self.hub.token = Some(Token::new(secret, "`HF_TOKEN`"));
        self
    }

    fn read(&self, params: &Wiki) -> Done {
        self.read_with(params, Silent::default())
    }

    fn read_with(&self, params: &Wiki, mut progress: Silent) -> Done {
        let out = tempfile::tempdir().unwrap();
        let hub = self.hub.clone();
        let mut ctx = Context { hub, ..Context::new(1, out.path().into(), &mut progress) };
        let texts = hub::text(params, &mut ctx).map(|_| {
            let rows: Vec<Text> = read_rows(&out.path().join("out")).unwrap();
            rows.into_iter().map(|row| row.text).collect()
        });
        let told = format!("{texts:?}{:?}{hub:?}", progress.log, hub = self.hub);
        for secret in ["hf_wrong", "hf_invalid", "hf_two", TOKEN, "s3cret"] {
            assert!(!told.contains(secret), "a secret is told: {told}");
        }
        Done { texts, log: progress.log }
    }

    /// What is said where the stage fails, the places of this run left out.
    fn refused(&self, params: &Wiki) -> String {
        let told = told(self.read(params).texts.unwrap_err(), self.cache.path());
        told.replace(&self.server.endpoint, "HUB").replace(&self.server.aside, "ASIDE")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.cache.path().join("datasets--some--text").join(name)
    }

    /// Methods and paths since the last time, queries left out.
    fn asked(&self) -> Vec<String> {
        let line = |asked: crate::fake_hub::Asked| {
            format!("{} {}", asked.method, asked.path.split('?').next().unwrap())
        };
        self.server.asked().into_iter().map(line).collect()
    }
}

/// All files at `main`, as tables.
fn all() -> Wiki {
    Rows {
        from: FromHub {
            repo: "some/text".into(),
            revision: "main".into(),
            folder: None,
            files: vec![],
        },
        read: ReadText {
            files: vec![],
            documents: Documents::File,
            separator: None,
            column: Some("text".into()),
            ignore: vec![],
        },
    }
}

/// Those of these names or globs.
fn files(names: &[&str]) -> Wiki {
    let names = names.iter().map(|name| name.to_string()).collect();
    Rows { from: FromHub { files: names, ..all().from }, ..all() }
}

fn at(revision: &str, params: Wiki) -> Wiki {
    Rows { from: FromHub { revision: revision.into(), ..params.from }, ..params }
}

/// Everything below a folder but locks, links with what they point to.
fn tree(folder: &Path) -> Vec<String> {
    let mut open = vec![folder.to_path_buf()];
    let mut found = Vec::new();
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            if let Ok(target) = std::fs::read_link(&path) {
                found.push(format!("{name} -> {}", target.display()));
            } else if path.is_dir() {
                open.push(path);
            } else if !name.starts_with(".locks") {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}
