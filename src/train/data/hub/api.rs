//! What a hub answers: the commit behind a revision, the files of a commit, where a file is to be
//! had. Knows the hub's addresses and JSON; does not know the cache.

use std::collections::BTreeMap;

use serde_json::Value;

use super::settings::Hub;
use super::wanted::Wanted;
use crate::train::data::http::client::{Client, Unanswered};
use crate::train::data::http::digest::{Digest, is_hex};
use crate::train::data::http::url::{Url, encoded};
use crate::train::progress::{Failure, Progress};

/// The most pages of a list, of a thousand files each.
const MOST_PAGES: usize = 2000;

/// The files of a commit by name.
pub type Listing = BTreeMap<String, Entry>;

/// What is known of a file before it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub size: Option<u64>,
    /// The name that git has for the file, or for the pointer that stands for it there.
    pub blob_id: Option<String>,
    /// What a large file hashes to.
    pub lfs_sha256: Option<String>,
    pub xet_hash: Option<String>,
}

impl Entry {
    /// What the file hashes to; its name among the blobs.
    pub fn digest(&self) -> Option<Digest> {
        match (&self.lfs_sha256, &self.blob_id) {
            (Some(sha256), _) => digest_named(sha256),
            (None, Some(blob_id)) => digest_named(blob_id),
            (None, None) => None,
        }
    }
}

/// The digest that a blob is named by: of 64 digits for a large file, of 40 for others.
pub fn digest_named(name: &str) -> Option<Digest> {
    match name.len() {
        64 if is_hex(name, 64) => Some(Digest::Sha256(name.into())),
        40 if is_hex(name, 40) => Some(Digest::GitBlob(name.into())),
        _ => None,
    }
}

/// Whether a revision is a whole commit, which never moves.
pub fn is_commit(revision: &str) -> bool {
    is_hex(revision, 40)
}

/// A hub that can be asked.
pub struct Api<'a> {
    wanted: &'a Wanted<'a>,
    endpoint: String,
    pub client: Client,
}

impl<'a> Api<'a> {
    /// The hub with its token, which nobody else is shown.
    pub fn new(hub: &Hub, wanted: &'a Wanted<'a>) -> Result<Api<'a>, Failure> {
        let endpoint = hub.endpoint.trim_end_matches('/').to_string();
        let home = Url::parse(&endpoint)
            .map_err(|what| Failure::input(format!("the hub's address `{endpoint}`: {what}")))
            .map_err(|failure| failure.remedy("set `HF_ENDPOINT` to a URL, or unset it"))?;
        let mut client = Client::new(&hub.limits);
        if let Some(token) = &hub.token {
            if !token.reveal().bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Failure::input(format!("the token in {} is no token", token.from))
                    .remedy("it has to be one word, such as `hf_…`"));
            }
            client = client.with_token(home.origin(), token.reveal());
        }
        Ok(Api { wanted, endpoint, client })
    }

    fn url(&self, path: &str) -> Result<Url, Failure> {
        let text = format!("{}/{path}", self.endpoint);
        Url::parse(&text).map_err(|what| Failure::input(format!("`{text}` is no URL: {what}")))
    }

    /// The commit that the revision stands for today, and the names of its files.
    pub fn commit(
        &self,
        client: &Client,
        progress: &mut dyn Progress,
    ) -> Result<(String, Listing), Unanswered> {
        let Wanted { kind, repo, revision, .. } = self.wanted;
        let revision = encoded(revision, false);
        let url = self.url(&format!("api/{}s/{repo}/revision/{revision}", kind.word()))?;
        let (answer, _) = client.json(&url, progress)?;
        let Some(commit) = answer["sha"].as_str().filter(|sha| is_commit(sha)) else {
            return Err(not_a_hub(&url, "names no commit").into());
        };
        let names = answer["siblings"].as_array().into_iter().flatten();
        let names = names.filter_map(|file| Some(file["rfilename"].as_str()?.to_string()));
        let listing = names.map(|name| (name, Entry::default())).collect();
        Ok((commit.to_string(), listing))
    }

    /// The files of a commit, with what is known of them. `None` from a hub that keeps no list.
    pub fn listing(
        &self,
        commit: &str,
        progress: &mut dyn Progress,
    ) -> Result<Option<Listing>, Unanswered> {
        let Wanted { kind, repo, .. } = self.wanted;
        let tree = format!("api/{}s/{repo}/tree/{commit}?recursive=true&expand=false", kind.word());
        let mut next = Some(self.url(&tree)?);
        let mut listing = Listing::new();
        for _ in 0..MOST_PAGES {
            let Some(url) = next.take() else { return Ok(Some(listing)) };
            let (page, after) = match self.client.json(&url, progress) {
                Err(Unanswered::Refused(refusal))
                    if matches!(refusal.status, 404 | 405) && refusal.code.is_none() =>
                {
                    return Ok(None);
                }
                answered => answered?,
            };
            let Value::Array(files) = page else {
                return Err(not_a_hub(&url, "lists no files").into());
            };
            listing.extend(files.iter().filter_map(entry_of));
            next = after;
        }
        Err(Failure::input(format!("the list of files of `{repo}` has no end")).into())
    }

    /// Where a file is to be had.
    pub fn file(&self, commit: &str, name: &str) -> Result<Url, Failure> {
        let Wanted { kind, repo, .. } = self.wanted;
        let kind = if kind.word() == "model" { "" } else { "datasets/" };
        self.url(&format!("{kind}{repo}/resolve/{commit}/{}", encoded(name, true)))
    }

    /// What the hub says of a file that no list described.
    pub fn describe(
        &self,
        commit: &str,
        name: &str,
        progress: &mut dyn Progress,
    ) -> Result<Entry, Unanswered> {
        let url = self.file(commit, name)?;
        let head = self.client.head(&url, progress)?;
        if head.header("X-Repo-Commit").is_some_and(|told| told != commit) {
            return Err(not_a_hub(&url, "answers for another commit").into());
        }
        let etag = head.header("X-Linked-Etag").or(head.header("ETag")).unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        let length = || match head.status {
            200 => head.number("Content-Length"),
            _ => None,
        };
        let size = head.number("X-Linked-Size").or_else(length);
        match digest_named(etag) {
            Some(Digest::Sha256(hex)) => {
                Ok(Entry { size, lfs_sha256: Some(hex), ..Entry::default() })
            }
            Some(Digest::GitBlob(hex)) if size.is_some() => {
                Ok(Entry { size, blob_id: Some(hex), ..Entry::default() })
            }
            _ => Err(not_a_hub(&url, "does not say what the file hashes to").into()),
        }
    }
}

fn not_a_hub(url: &Url, what: &str) -> Failure {
    Failure::input(format!("`{}` {what}", url.shown()))
        .remedy("see that `HF_ENDPOINT` names a hub, and that no proxy answers for it")
}

/// A row of the hub's list; folders are none.
fn entry_of(row: &Value) -> Option<(String, Entry)> {
    if row["type"] != "file" {
        return None;
    }
    let text = |value: &Value| value.as_str().map(str::to_string);
    let entry = Entry {
        size: row["size"].as_u64(),
        blob_id: text(&row["oid"]),
        lfs_sha256: text(&row["lfs"]["oid"]),
        xet_hash: text(&row["xetHash"]).filter(|hash| is_hex(hash, 64)),
    };
    Some((text(&row["path"])?, entry))
}
