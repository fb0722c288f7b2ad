//! A body into a file: resumed where it was cut, never longer than was said, and checked against a
//! digest. Knows ranges and lengths; does not know who else may be at the file.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::client::{Client, Trouble, Unanswered};
use super::digest::{Digest, Hasher};
use super::limits::Limits;
use super::url::Url;
use super::wire::{Ask, Head};
use crate::train::progress::{Failure, Progress};

/// What is wanted.
pub struct Download<'a> {
    pub url: &'a Url,
    /// Where it is collected; what lies there from an earlier time is not asked for again.
    pub part: &'a Path,
    /// Its length, where that is known.
    pub size: Option<u64>,
    /// What it must hash to. Where only the kind of digest is known, its digits are empty.
    pub digest: &'a Digest,
}

/// Hears how many bytes of the file are there, and of how many, where that is known.
pub type Told<'a> = dyn FnMut(&mut dyn Progress, u64, Option<u64>) + 'a;

impl Client {
    /// Completes the part, and says what it hashes to. A part with a wrong digest is removed.
    pub fn download(
        &self,
        wanted: &Download<'_>,
        progress: &mut dyn Progress,
        told: &mut Told<'_>,
    ) -> Result<Digest, Unanswered> {
        let mut part = Part::open(wanted)?;
        self.patiently(progress, |progress| {
            let before = part.length;
            let done = self.fill(wanted, &mut part, progress, told);
            done.map_err(|trouble| match trouble {
                Trouble::Again { what, wait, .. } => {
                    let won = part.length.saturating_sub(before);
                    Trouble::Again { what, wait, won }
                }
                other => other,
            })
        })
    }

    /// One try to complete the part.
    fn fill(
        &self,
        wanted: &Download<'_>,
        part: &mut Part,
        progress: &mut dyn Progress,
        told: &mut Told<'_>,
    ) -> Result<Digest, Trouble> {
        if wanted.size.is_some_and(|size| part.length > size) {
            part.clear()?;
        }
        if part.length == 0 || wanted.size != Some(part.length) {
            self.receive(wanted, part, progress, told)?;
        }
        let found = part.digest(wanted.digest, progress)?;
        if found == *wanted.digest || wanted.digest.hex().is_empty() {
            return Ok(found);
        }
        // What lay there from before may have been spoilt; then it is asked for as a whole.
        let spoilt = part.resumed && !part.distrusted;
        part.clear()?;
        if spoilt {
            part.distrusted = true;
            return Err(Trouble::again("what was kept of an earlier try does not fit the rest"));
        }
        fs::remove_file(&part.path).map_err(Failure::io(&part.path))?;
        Err(wrong_digest(wanted.url, wanted.digest, &found).into())
    }

    fn receive(
        &self,
        wanted: &Download<'_>,
        part: &mut Part,
        progress: &mut dyn Progress,
        told: &mut Told<'_>,
    ) -> Result<(), Trouble> {
        let ask =
            Ask { method: "GET", url: wanted.url.clone(), headers: part.range(), secret: None };
        let talk = self.ask(ask, &[416], progress)?;
        let Answer::Bytes { of } = part.begin(&talk.head, wanted)? else { return Ok(()) };
        let total = of.or(wanted.size);
        let most = total.unwrap_or(self.limits.unstated_bytes);
        while let Some(piece) = talk.piece(progress)? {
            if part.length + piece.len() as u64 > most {
                return Err(too_long(wanted.url, most, total).into());
            }
            part.add(&piece)?;
            told(progress, part.length, total);
        }
        match total {
            Some(total) if part.length < total => Err(Trouble::again(format!(
                "`{}` ended after {} of {total} bytes",
                wanted.url.shown(),
                part.length
            ))),
            _ => Ok(()),
        }
    }
}

/// What an answer means for a part.
enum Answer {
    /// Bytes follow, of a file of this length if it is stated.
    Bytes {
        of: Option<u64>,
    },
    NothingMissing,
}

/// A file that grows.
struct Part {
    path: PathBuf,
    file: File,
    length: u64,
    /// What the bytes so far are hashed with, unless they came from an earlier time.
    hasher: Option<Hasher>,
    /// Whether some bytes are of an earlier time or exchange.
    resumed: bool,
    /// Whether such bytes were found spoilt once: it is not forgiven twice.
    distrusted: bool,
    /// What names the bytes at the server, if it is strong enough to go on by.
    etag: Option<String>,
}

impl Part {
    fn open(wanted: &Download<'_>) -> Result<Part, Failure> {
        let path = wanted.part.to_path_buf();
        let file = File::options().create(true).append(true).read(true).open(&path);
        let file = file.map_err(Failure::io(&path))?;
        let length = file.metadata().map_err(Failure::io(&path))?.len();
        let mut part = Part {
            path,
            file,
            length,
            hasher: None,
            resumed: length > 0,
            distrusted: false,
            etag: None,
        };
        // Bytes that nothing will be checked against must all be of one answer.
        if wanted.digest.hex().is_empty() {
            part.clear()?;
        }
        Ok(part)
    }

    fn clear(&mut self) -> Result<(), Failure> {
        self.file.set_len(0).map_err(Failure::io(&self.path))?;
        (self.length, self.resumed, self.hasher) = (0, false, None);
        self.etag = None;
        Ok(())
    }

    /// The headers that ask for the rest.
    fn range(&self) -> Vec<(&'static str, String)> {
        if self.length == 0 {
            return Vec::new();
        }
        let mut headers = vec![("Range", format!("bytes={}-", self.length))];
        headers.extend(self.etag.clone().map(|etag| ("If-Range", etag)));
        headers
    }

    /// Makes ready for the body of an answer.
    fn begin(&mut self, head: &Head, wanted: &Download<'_>) -> Result<Answer, Trouble> {
        let total = match head.status {
            206 => self.rest_of(head, wanted)?,
            416 => {
                let total = head.header("Content-Range").and_then(|range| range_of(range).1);
                if self.length > 0 && total == Some(self.length) {
                    return Ok(Answer::NothingMissing);
                }
                self.clear()?;
                return Err(Trouble::again(format!("`{}` has no such rest", wanted.url.shown())));
            }
            _ => {
                self.clear()?;
                head.number("Content-Length")
            }
        };
        if let (Some(size), Some(total)) = (wanted.size, total)
            && size != total
        {
            self.clear()?;
            return Err(Failure::input(format!(
                "`{}` has {total} bytes where {size} were announced",
                wanted.url.shown()
            ))
            .into());
        }
        let strong = |etag: &&str| etag.starts_with('"');
        self.etag = head.header("ETag").filter(strong).map(str::to_string);
        if self.length == 0 {
            self.hasher = total.or(wanted.size).map(|size| Hasher::like(wanted.digest, size));
        }
        Ok(Answer::Bytes { of: total })
    }

    /// The length of the whole, where an answer gives the bytes that were asked for.
    fn rest_of(&mut self, head: &Head, wanted: &Download<'_>) -> Result<Option<u64>, Trouble> {
        let (start, total) = range_of(head.header("Content-Range").unwrap_or_default());
        if start != Some(self.length) || self.length == 0 {
            self.clear()?;
            let what = format!("`{}` gives other bytes than were asked for", wanted.url.shown());
            return Err(Trouble::again(what));
        }
        self.resumed = true;
        Ok(total)
    }

    fn add(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.file.write_all(piece).map_err(Failure::io(&self.path))?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(piece);
        }
        self.length += piece.len() as u64;
        Ok(())
    }

    /// What all bytes hash to; those of an earlier time are read again.
    fn digest(&mut self, kind: &Digest, progress: &dyn Progress) -> Result<Digest, Failure> {
        self.file.sync_all().map_err(Failure::io(&self.path))?;
        match self.hasher.take() {
            Some(hasher) => Ok(hasher.finish()),
            None => digest_of(&self.path, kind, progress),
        }
    }
}

/// The first byte and the whole length that `Content-Range` states: `bytes 5-9/10`, `bytes */10`.
fn range_of(text: &str) -> (Option<u64>, Option<u64>) {
    let range = text.strip_prefix("bytes").unwrap_or_default().trim();
    let (part, total) = range.split_once('/').unwrap_or_default();
    let start = part.split('-').next().unwrap_or_default();
    (start.parse().ok(), total.parse().ok())
}

/// The digest of a file, of the same kind as `like`.
pub fn digest_of(path: &Path, like: &Digest, progress: &dyn Progress) -> Result<Digest, Failure> {
    let mut file = File::open(path).map_err(Failure::io(path))?;
    let length = file.metadata().map_err(Failure::io(path))?.len();
    let mut hasher = Hasher::like(like, length);
    let mut buffer = vec![0; 1 << 20];
    loop {
        if progress.cancelled() {
            return Err(Failure::Interrupted);
        }
        match file.read(&mut buffer).map_err(Failure::io(path))? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn wrong_digest(url: &Url, wanted: &Digest, found: &Digest) -> Failure {
    Failure::input(format!(
        "`{}` holds other bytes: {} is wanted, {} is what came",
        url.shown(),
        wanted,
        found.hex()
    ))
}

fn too_long(url: &Url, most: u64, stated: Option<u64>) -> Failure {
    Failure::input(match stated {
        Some(_) => format!("`{}` sends more than the {most} bytes it has", url.shown()),
        None => format!("`{}` sends more than {most} bytes without saying how many", url.shown()),
    })
}

/// Downloads what a digest pins to `part`, and says how many bytes there are. Where no digest is
/// known, the failure tells the one to pin.
pub fn pinned(
    url: &str,
    digest: Option<&Digest>,
    part: &Path,
    limits: &Limits,
    progress: &mut dyn Progress,
) -> Result<u64, Failure> {
    let parsed = Url::parse(url)
        .map_err(|what| Failure::input(format!("`{url}` is no URL to fetch: {what}")))?;
    let unknown = Digest::Sha256(String::new());
    let wanted = Download { url: &parsed, part, size: None, digest: digest.unwrap_or(&unknown) };
    let mut told = |progress: &mut dyn Progress, bytes: u64, total: Option<u64>| {
        progress.at(bytes, total.unwrap_or(bytes), "bytes", &[]);
    };
    let found = match Client::new(limits).download(&wanted, progress, &mut told) {
        Ok(found) => found,
        Err(unanswered) => return Err(not_fetched(&parsed, unanswered)),
    };
    if digest.is_none() {
        fs::remove_file(part).map_err(Failure::io(part))?;
        return Err(Failure::input(format!("no digest pins `{}`", parsed.shown()))
            .remedy(format!("pin what it holds today: `{}: \"{}\"`", found.name(), found.hex())));
    }
    Ok(fs::metadata(part).map_err(Failure::io(part))?.len())
}

fn not_fetched(url: &Url, unanswered: Unanswered) -> Failure {
    match unanswered {
        Unanswered::Failed(failure) => failure,
        Unanswered::Unreachable(what) => {
            Failure::input(format!("`{}` cannot be fetched: {what}", url.shown()))
                .remedy("build again when it can be reached; what has arrived is kept")
        }
        Unanswered::Refused(refusal) => Failure::input(format!(
            "`{}` cannot be fetched: `{}` answers with status {}",
            url.shown(),
            refusal.url,
            refusal.status
        )),
    }
}
