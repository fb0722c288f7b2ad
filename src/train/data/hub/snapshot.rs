//! From the name of a repository to files on this disk: the revision becomes a commit, the commit a
//! list, and each wanted file is taken from the cache or downloaded into it. Every byte is checked
//! against its digest. Knows the order of these steps; does not know what the files hold.

use std::fs;
use std::path::PathBuf;

use super::api::{Api, Entry, Listing, is_commit};
use super::cache::RepoCache;
use super::refusal::explained;
use super::settings::Hub;
use super::wanted::{Wanted, is_inside};
use crate::train::data::http::client::Unanswered;
use crate::train::data::http::digest::Digest;
use crate::train::data::http::download::{Download, digest_of};
use crate::train::progress::{Context, Failure, Progress};

/// The files of a repository at a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub commit: String,
    pub files: Vec<PathBuf>,
}

/// Makes the wanted files lie in the cache.
pub fn snapshot(wanted: &Wanted<'_>, ctx: &mut Context<'_>) -> Result<Snapshot, Failure> {
    wanted.check()?;
    let hub = ctx.hub.clone();
    if hub.cache.as_os_str().is_empty() {
        return Err(Failure::input("no folder is known in which to keep files of the hub")
            .remedy("set `HF_HOME` or `HOME`"));
    }
    let cache = RepoCache::new(&hub.cache, wanted);
    let api = (!hub.offline).then(|| Api::new(&hub, wanted)).transpose()?;
    let mut visit = Visit { hub: &hub, wanted, cache, api, done: 0, total: 0 };
    let (commit, listing) = visit.find(ctx.progress)?;
    visit.tell(&commit, ctx.progress);
    let names: Vec<&str> = listing.keys().map(String::as_str).collect();
    let chosen = wanted.choose(&names)?;
    visit.total = chosen.iter().filter_map(|name| listing[*name].size).sum();
    let mut files = Vec::new();
    for name in chosen {
        files.push(visit.place(&commit, name, &listing[name], ctx.progress)?);
    }
    Ok(Snapshot { commit, files })
}

/// One visit to a repository.
struct Visit<'a> {
    hub: &'a Hub,
    wanted: &'a Wanted<'a>,
    cache: RepoCache,
    /// `None` where only the cache may be used.
    api: Option<Api<'a>>,
    /// Bytes of the wanted files that are there, and of all of them.
    done: u64,
    total: u64,
}

impl Visit<'_> {
    /// The commit, and its files. A hub that cannot be reached is done without if the cache knows
    /// both.
    fn find(&mut self, progress: &mut dyn Progress) -> Result<(String, Listing), Failure> {
        let revision = self.wanted.revision;
        let known = match is_commit(revision) {
            true => Some(revision.to_string()),
            false => self.cache.commit_of(revision),
        };
        let Some(api) = &self.api else {
            return self.listed_in_cache(known, "`HF_HUB_OFFLINE` is set", progress);
        };
        let asked = self.ask(api, known.as_deref(), progress);
        match (asked, known) {
            (Ok(found), _) => Ok(found),
            (Err(Unanswered::Unreachable(what)), Some(known)) if self.is_cached(&known) => {
                self.api = None;
                let why = format!("the hub at `{}` cannot be reached ({what})", self.hub.endpoint);
                self.listed_in_cache(Some(known), &why, progress)
            }
            (Err(unanswered), _) => Err(explained(unanswered, self.hub, self.wanted)),
        }
    }

    fn is_cached(&self, commit: &str) -> bool {
        !self.cache.names(commit).is_empty()
    }

    /// Asks the hub for what is not known for good.
    fn ask(
        &self,
        api: &Api<'_>,
        known: Option<&str>,
        progress: &mut dyn Progress,
    ) -> Result<(String, Listing), Unanswered> {
        let revision = self.wanted.revision;
        let cached = known.is_some_and(|commit| self.is_cached(commit));
        if let (true, Some(found)) = (is_commit(revision), self.without_asking(revision)) {
            return Ok((revision.to_string(), found));
        }
        let hasty = api.client.hasty();
        let client = if cached { &hasty } else { &api.client };
        let (commit, names) = api.commit(client, progress)?;
        if is_commit(revision) && commit != revision {
            let what = format!("asked for commit {revision}, the hub answers for {commit}");
            return Err(Failure::input(what).into());
        }
        self.cache.note_commit(revision, &commit);
        if let Some(listing) = self.cache.listing(&commit) {
            return Ok((commit, listing));
        }
        let listing = match api.listing(&commit, progress)? {
            Some(listing) => {
                self.cache.note_listing(&commit, &listing);
                listing
            }
            None => names,
        };
        Ok((commit, listing))
    }

    /// The files of a commit where the cache can answer for all that is wanted: it has the list, or
    /// has every file that is named outright.
    fn without_asking(&self, commit: &str) -> Option<Listing> {
        if let Some(listing) = self.cache.listing(commit) {
            return Some(listing);
        }
        let here = self.cache.names(commit);
        let folder = self.wanted.folder.map(|folder| folder.trim_matches('/'));
        let full = |name: &String| match folder {
            Some(folder) => format!("{folder}/{name}"),
            None => name.clone(),
        };
        let named = !self.wanted.files.is_empty()
            && self.wanted.files.iter().all(|name| here.contains(&full(name)));
        named.then(|| here.into_iter().map(|name| (name, Entry::default())).collect())
    }

    /// What the cache knows, and that nobody was asked.
    fn listed_in_cache(
        &self,
        commit: Option<String>,
        why: &str,
        progress: &mut dyn Progress,
    ) -> Result<(String, Listing), Failure> {
        let Wanted { kind, repo, revision, .. } = self.wanted;
        let Some(commit) = commit.filter(|commit| self.is_cached(commit)) else {
            return Err(Failure::input(format!(
                "the {} `{repo}` at `{revision}` is not in the cache, and {why}",
                kind.word()
            ))
            .remedy("build once where the hub can be asked"));
        };
        progress.notice(&format!("`{repo}` is read from the cache: {why}"));
        if let Some(listing) = self.without_asking(&commit) {
            return Ok((commit, listing));
        }
        let here = self.cache.names(&commit);
        progress.notice(&format!(
            "which files `{repo}` has was never listed here; {} are in the cache",
            here.len()
        ));
        Ok((commit, here.into_iter().map(|name| (name, Entry::default())).collect()))
    }

    /// Says which commit is read, and how to stay with it.
    fn tell(&self, commit: &str, progress: &mut dyn Progress) {
        let Wanted { repo, revision, .. } = self.wanted;
        if is_commit(revision) {
            return progress.log(&format!("`{repo}` at commit {commit}"));
        }
        progress.notice(&format!(
            "`{repo}` at `{revision}` is commit {commit}; to stay with it: \
             `revision: \"{commit}\"`"
        ));
    }

    /// A file with the right bytes.
    fn place(
        &mut self,
        commit: &str,
        name: &str,
        entry: &Entry,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, Failure> {
        if !is_inside(name) {
            return Err(Failure::input(format!(
                "the hub lists a file {name:?} in `{}`, which is no path inside it",
                self.wanted.repo
            )));
        }
        let pointer = self.cache.pointer(commit, name);
        let known = entry.digest().or_else(|| self.cache.digest_of_pointer(&pointer));
        if pointer.is_file() && self.is_whole(&pointer, known.as_ref(), progress)? {
            self.count(entry, progress);
            return Ok(pointer);
        }
        let Some(api) = &self.api else { return Err(self.missing(name, pointer.is_file())) };
        let described = match known {
            Some(_) => entry.clone(),
            None => api
                .describe(commit, name, progress)
                .map_err(|unanswered| explained(unanswered, self.hub, self.wanted))?,
        };
        let Some(digest) = known.or_else(|| described.digest()) else {
            return Err(Failure::input(format!("the hub does not say what `{name}` hashes to")));
        };
        let lock = self.cache.lock(&digest, progress)?;
        let blob = self.cache.blob(&digest);
        if !(blob.is_file() && self.is_whole(&blob, Some(&digest), progress)?) {
            self.download(commit, name, described.size, &digest, progress)?;
        }
        self.cache.point(&pointer, &digest, name)?;
        drop(lock);
        self.count(&described, progress);
        Ok(pointer)
    }

    /// Whether a file of the cache is what it should be; where nobody knows, it is believed.
    fn is_whole(
        &self,
        path: &std::path::Path,
        digest: Option<&Digest>,
        progress: &mut dyn Progress,
    ) -> Result<bool, Failure> {
        let Some(digest) = digest else { return Ok(true) };
        let whole = digest_of(path, digest, progress)? == *digest;
        if !whole {
            progress.notice(&format!("`{}` is damaged", path.display()));
        }
        Ok(whole)
    }

    fn count(&mut self, entry: &Entry, progress: &mut dyn Progress) {
        self.done += entry.size.unwrap_or(0);
        progress.at(self.done, self.total.max(self.done), "bytes", &[]);
    }

    fn missing(&self, name: &str, damaged: bool) -> Failure {
        let how = if damaged { "is damaged in the cache" } else { "is not in the cache" };
        Failure::input(format!(
            "`{name}` of `{}` {how}, and the hub is not asked",
            self.wanted.repo
        ))
        .remedy("build once where the hub can be asked")
    }

    fn download(
        &self,
        commit: &str,
        name: &str,
        size: Option<u64>,
        digest: &Digest,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        let api = self.api.as_ref().expect("a visit without a hub downloads nothing");
        let (url, part) = (api.file(commit, name)?, self.cache.part(digest));
        let wanted = Download { url: &url, part: &part, size, digest };
        let (done, total) = (self.done, self.total);
        let mut step = Steps::of(total);
        let mut told = |progress: &mut dyn Progress, bytes: u64, _: Option<u64>| {
            if step.is_due(bytes) {
                progress.at(done + bytes, total.max(done + bytes), "bytes", &[]);
            }
        };
        progress.log(&format!("downloading `{name}`"));
        api.client
            .download(&wanted, progress, &mut told)
            .map_err(|unanswered| explained(unanswered, self.hub, self.wanted))?;
        let blob = self.cache.blob(digest);
        fs::rename(&part, &blob).map_err(Failure::io(&blob))
    }
}

/// When to speak again: not at every piece.
struct Steps {
    every: u64,
    next: u64,
}

impl Steps {
    fn of(total: u64) -> Steps {
        Steps { every: (total / 200).max(1 << 18), next: 0 }
    }

    fn is_due(&mut self, bytes: u64) -> bool {
        if bytes < self.next {
            return false;
        }
        self.next = bytes + self.every;
        true
    }
}
