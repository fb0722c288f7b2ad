//! The cache that programs share who use the hub:
//!
//! ```text
//! datasets--organisation--name/
//!   refs/main                        the commit that a revision stood for
//!   trees/<commit>.json              the files of a commit
//!   snapshots/<commit>/data/a.jsonl  → ../../../blobs/<digest>
//!   blobs/<digest>                   <digest>.incomplete while it is downloaded
//! .locks/datasets--organisation--name/<digest>.lock
//! ```
//!
//! Knows these places; does not know what hubs say.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::api::{Entry, Listing, digest_named, is_commit};
use super::wanted::Wanted;
use crate::train::data::http::digest::Digest;
use crate::train::progress::{Failure, Progress};

/// How often a lock that another program holds is tried.
const PATIENCE: Duration = Duration::from_millis(50);
/// The version of the lists of files that is understood.
const LISTING_VERSION: u64 = 1;
/// A list of files is small; more than this is none.
const LARGEST_LISTING_BYTES: u64 = 256 << 20;

/// The places of one repository.
pub struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    /// Makes no folder yet.
    pub fn new(cache: &Path, wanted: &Wanted<'_>) -> RepoCache {
        let name = format!("{}s--{}", wanted.kind.word(), wanted.repo.replace('/', "--"));
        RepoCache { folder: cache.join(&name), locks: cache.join(".locks").join(name) }
    }

    /// The commit that the revision stood for when it was last asked.
    pub fn commit_of(&self, revision: &str) -> Option<String> {
        let text = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(text.trim().to_string()).filter(|commit| is_commit(commit))
    }

    /// Remembers it; in a cache that may only be read that is let go.
    pub fn note_commit(&self, revision: &str, commit: &str) {
        if revision != commit && self.commit_of(revision).as_deref() != Some(commit) {
            drop(write_whole(&self.folder.join("refs").join(revision), commit.as_bytes()));
        }
    }

    /// The files of a commit, if they were listed before.
    pub fn listing(&self, commit: &str) -> Option<Listing> {
        let path = self.listing_path(commit);
        let known = fs::metadata(&path).is_ok_and(|file| file.len() <= LARGEST_LISTING_BYTES);
        let value: Value = serde_json::from_slice(&known.then(|| fs::read(&path).ok())??).ok()?;
        if value["format_version"] != LISTING_VERSION {
            return None;
        }
        let text = |value: &Value| value.as_str().map(str::to_string);
        let entry = |row: &Value| Entry {
            size: row["size"].as_u64(),
            blob_id: text(&row["blob_id"]),
            lfs_sha256: text(&row["lfs_sha256"]),
            xet_hash: text(&row["xet_hash"]),
        };
        let rows = value["files"].as_object()?;
        Some(rows.iter().map(|(name, row)| (name.clone(), entry(row))).collect())
    }

    /// Remembers it; in a cache that may only be read that is let go.
    pub fn note_listing(&self, commit: &str, listing: &Listing) {
        let row = |entry: &Entry| {
            let mut row = json!({ "size": entry.size, "blob_id": entry.blob_id });
            if let Some(sha256) = &entry.lfs_sha256 {
                row["lfs_sha256"] = json!(sha256);
                row["lfs_size"] = json!(entry.size);
            }
            if let Some(hash) = &entry.xet_hash {
                row["xet_hash"] = json!(hash);
            }
            row
        };
        let files: Map<String, Value> =
            listing.iter().map(|(name, entry)| (name.clone(), row(entry))).collect();
        let value = json!({ "format_version": LISTING_VERSION, "files": files });
        drop(write_whole(&self.listing_path(commit), value.to_string().as_bytes()));
    }

    fn listing_path(&self, commit: &str) -> PathBuf {
        self.folder.join("trees").join(format!("{commit}.json"))
    }

    /// The names of the files of a commit that are here.
    pub fn names(&self, commit: &str) -> Vec<String> {
        let root = self.folder.join("snapshots").join(commit);
        let mut open = vec![root.clone()];
        let mut names = Vec::new();
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                // Files may be links; folders are not.
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => open.push(entry.path()),
                    _ => {
                        let path = entry.path();
                        let name = path.strip_prefix(&root).ok().and_then(Path::to_str);
                        names.extend(name.map(str::to_string));
                    }
                }
            }
        }
        names.sort();
        names
    }

    /// Where a file of a commit is, or will be.
    pub fn pointer(&self, commit: &str, name: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit).join(name)
    }

    /// What a file of a commit hashes to, by the name of the blob it points to.
    pub fn digest_of_pointer(&self, pointer: &Path) -> Option<Digest> {
        let target = fs::read_link(pointer).ok()?;
        digest_named(target.file_name()?.to_str()?)
    }

    /// Where the bytes with this digest are, or will be.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs").join(digest.hex())
    }

    /// Where they are collected.
    pub fn part(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", digest.hex()))
    }

    /// The right to make a blob, until it is dropped; the same that other programs ask for.
    pub fn lock(&self, digest: &Digest, progress: &mut dyn Progress) -> Result<File, Failure> {
        let blobs = self.folder.join("blobs");
        for folder in [&self.locks, &blobs] {
            fs::create_dir_all(folder).map_err(Failure::io(folder))?;
        }
        let path = self.locks.join(format!("{}.lock", digest.hex()));
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(Failure::io(&path))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(fs::TryLockError::WouldBlock) => {}
                Err(fs::TryLockError::Error(error)) => return Err(Failure::io(&path)(error)),
            }
            if progress.cancelled() {
                return Err(Failure::Interrupted);
            }
            if !told {
                progress.log("waiting for another program that downloads the same file");
                told = true;
            }
            std::thread::sleep(PATIENCE);
        }
    }

    /// Makes a file of a commit point to its blob.
    pub fn point(&self, pointer: &Path, digest: &Digest, name: &str) -> Result<(), Failure> {
        let up = "../".repeat(name.split('/').count() + 1);
        let target = PathBuf::from(format!("{up}blobs/{}", digest.hex()));
        if fs::read_link(pointer).is_ok_and(|old| old == target) {
            return Ok(());
        }
        let folder = pointer.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(Failure::io(folder))?;
        let place = tempfile::tempdir_in(folder).map_err(Failure::io(folder))?;
        let link = place.path().join("link");
        symlink(&target, &link).map_err(Failure::io(pointer))?;
        fs::rename(&link, pointer).map_err(Failure::io(pointer))
    }
}

/// Writes a small file so that others see all of it or nothing.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().suffix(".tmp").tempfile_in(folder)?;
    io::Write::write_all(&mut file, bytes)?;
    file.persist(path)?;
    Ok(())
}
