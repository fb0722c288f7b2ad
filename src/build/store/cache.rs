//! The cache folder: its layout, and when a recorded result may be used. Knows keys and digests;
//! does not know plans, stages' meanings or who builds.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::blobs::{BlobFault, Blobs};
use super::key_lock::KeyLock;
use super::memo::{FileStat, Memo};
use super::pieces::Pieces;
use super::records::{ActionResult, Records, ResultRow};
use super::scratch::Scratch;
use crate::build::digest::{Digest, Manifest};
use crate::build::executor::Failure;
use crate::build::failures::io_failure;
use crate::build::key::ActionKey;

/// The layout below; another number is another layout.
const VERSION: &str = "1";

/// The file that says what a store is being rebuilt from.
const REBUILDS: &str = "rebuilds";

const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This folder is a cache of llamake: it may be deleted at any moment, and need not be saved.\n";

/// The store of results.
///
/// ```text
/// cache/
///   VERSION            "1"; locked for a moment while a process opens the store
///   CACHEDIR.TAG       tells backup programs to pass by
///   .gitignore         keeps everything out of git
///   results.db         action results by key, key parts, runs, logs, metrics (SQLite, WAL)
///   memo.db            size, times, inode → digest of sources, blobs and outputs; disposable
///   blobs/ab/cdef…     file contents by blake3 digest, read-only
///   pieces/ab/cdef…    parts of results that others may share, by keys of their own; checksummed
///   attempts/KEY/      unfinished work under a key, until its result is published
///   locks/KEY          locked while a process builds that key; removed afterwards
///   rebuilds           the digest of a lockfile, until all of it is rebuilt here
///   tmp/PID-N/         a process's work in progress; PID-N.owner is locked while it lives
/// ```
///
/// A result is published in this order: files are made under `tmp/`, hashed, synced, renamed into
/// `blobs/`, the folders synced; the inputs are looked at again; then the row is inserted. So a
/// row never points at a blob that was not whole, and a kill at any moment loses only work in
/// progress. Everything can be deleted at any moment.
pub struct Store {
    root: PathBuf,
    blobs: Blobs,
    pub records: Records,
    memo: Memo,
    scratch: OnceCell<Scratch>,
}

/// What the store has under a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    Hit(ActionResult),
    /// A result was recorded, but can no longer be used: a sentence that says why.
    Damaged(String),
    Missing,
}

/// Something wrong in the store, and the results that suffer from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub what: String,
    /// The stages whose results hold the blob.
    pub stages: Vec<String>,
}

impl Store {
    /// Opens the store at `root`, making it if need be; never in a folder of something else.
    pub fn open(root: &Path) -> Result<Store, Failure> {
        let failed = |error| io_failure("open the cache", root, &error);
        let root = std::path::absolute(root).map_err(failed)?;
        if !may_hold_a_store(&root).map_err(failed)? {
            let what = format!("`{}` is not empty and no cache of llamake", root.display());
            return Err(Failure::new(what).remedy(
                "name another folder for the cache: `LLAMAKE_CACHE`, or `cache` in `llamake.toml`",
            ));
        }
        for folder in ["blobs", "locks", "tmp"] {
            let folder = root.join(folder);
            if !folder.is_dir() {
                fs::create_dir_all(folder).map_err(failed)?;
            }
        }
        let version = File::options()
            .create(true)
            .truncate(false)
            .append(true)
            .read(true)
            .open(root.join("VERSION"))
            .map_err(failed)?;
        version.lock().map_err(failed)?;
        mark(&root, &version)?;
        let records = Records::open(&root.join("results.db"))?;
        let memo = Memo::open(&root.join("memo.db"));
        let blobs = Blobs::new(root.join("blobs"));
        Ok(Store { root, blobs, records, memo, scratch: OnceCell::new() })
    }

    /// The blobs, for threads that take results in or lay inputs out.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// The digest of a file outside the store, read only if it changed since it was last read.
    pub fn file_digest(&self, path: &Path) -> Result<(Digest, FileStat), Failure> {
        self.memo.digest(path).map_err(|error| io_failure("read", path, &error))
    }

    /// The folder for unfinished work under a key; it may not exist yet.
    pub fn attempt(&self, key: ActionKey) -> PathBuf {
        self.root.join("attempts").join(key.to_string())
    }

    /// The digest of the lockfile that a store is being rebuilt from, if that was not finished.
    pub fn rebuilds(root: &Path) -> Option<Digest> {
        Digest::parse(fs::read_to_string(root.join(REBUILDS)).ok()?.trim())
    }

    /// Says that the store is being rebuilt from a lockfile, so that one that is interrupted can
    /// be gone on with.
    pub fn begin_rebuilding(&self, lock: Digest) -> Result<(), Failure> {
        let path = self.root.join(REBUILDS);
        fs::write(&path, format!("{lock}\n")).map_err(|error| io_failure("write", &path, &error))
    }

    /// Says that nothing is left to rebuild.
    pub fn end_rebuilding(&self) -> Result<(), Failure> {
        let path = self.root.join(REBUILDS);
        fs::remove_file(&path).map_err(|error| io_failure("remove", &path, &error))
    }

    /// Removes what was kept of unfinished work, now that it is finished.
    pub fn end_attempt(&self, key: ActionKey) {
        // A result makes it useless: what stays costs only room.
        let _ = fs::remove_dir_all(self.attempt(key));
    }

    /// Parts of results; new ones are first written in `scratch`, a folder of this process's own.
    pub fn pieces(&self, scratch: &Path) -> Pieces {
        Pieces::new(self.root.join("pieces"), scratch.to_path_buf())
    }

    /// The memo, for those who remember what they wrote.
    pub fn memo(&self) -> &Memo {
        &self.memo
    }

    /// Does many look-ups on one snapshot of the records and the memo; `reads` must not write
    /// records.
    pub fn reading<T>(&self, reads: impl FnOnce() -> T) -> Result<T, Failure> {
        self.memo.begin_reading();
        self.records.begin_reading()?;
        let found = reads();
        self.records.end_reading()?;
        self.memo.flush();
        Ok(found)
    }

    /// What is known under a key. Blobs are looked at, and read if they changed: a result with a
    /// missing or corrupt blob is none, and the blob is discarded.
    pub fn lookup(&self, key: ActionKey, ports: &[String]) -> Result<Lookup, Failure> {
        let Some(result) = self.records.result(key)? else {
            return Ok(match self.records.parts(key)? {
                Some(_) => Lookup::Damaged("its result was removed from the cache".to_string()),
                None => Lookup::Missing,
            });
        };
        if !result.ports.keys().eq(ports) {
            return Ok(Lookup::Damaged("its recorded result has other parts".to_string()));
        }
        for entry in result.ports.values().flat_map(Manifest::entries) {
            if let Err(fault) = self.check_blob(entry.blob) {
                return Ok(Lookup::Damaged(blob_fault(entry.blob, fault)));
            }
        }
        Ok(Lookup::Hit(result))
    }

    fn check_blob(&self, blob: Digest) -> Result<(), BlobFault> {
        let stat = self.blobs.stat(blob).map_err(|_| BlobFault::Missing)?;
        let path = self.blobs.path(blob);
        if self.memo.recall(&path, stat) == Some(blob) {
            return Ok(());
        }
        let checked = self.blobs.check(blob);
        match checked {
            Ok(()) => self.memo.remember(&path, stat, blob),
            Err(_) => drop(self.blobs.discard(blob)),
        }
        checked
    }

    /// Remembers blobs just taken in, so that the next look-up need not read them.
    pub fn remember_blobs(&self, result: &ActionResult) {
        for entry in result.ports.values().flat_map(Manifest::entries) {
            if let Ok(stat) = self.blobs.stat(entry.blob) {
                self.memo.remember(&self.blobs.path(entry.blob), stat, entry.blob);
            }
        }
    }

    /// Takes the lock of a key; `None` while another build holds it.
    pub fn try_lock(&self, key: ActionKey) -> Result<Option<KeyLock>, Failure> {
        let path = self.root.join("locks").join(key.to_string());
        KeyLock::try_take(&path).map_err(|error| io_failure("lock", &path, &error))
    }

    /// A new empty folder for work in progress, on the same file system as the blobs.
    pub fn work_folder(&self) -> Result<PathBuf, Failure> {
        let parent = self.root.join("tmp");
        let failed = |error| io_failure("make a folder in", &parent, &error);
        if self.scratch.get().is_none() {
            let scratch = Scratch::open(&parent).map_err(failed)?;
            assert!(self.scratch.set(scratch).is_ok(), "the scratch folder is made once");
        }
        let scratch = self.scratch.get().expect("it was made above");
        scratch.folder().map_err(failed)
    }

    /// Writes what the memo gathered.
    pub fn flush_memo(&self) {
        self.memo.flush();
    }

    /// Every usable result, oldest first.
    pub fn list(&self) -> Result<Vec<ResultRow>, Failure> {
        Ok(self.records.results()?.into_iter().map(|(row, _)| row).collect())
    }

    /// Reads every blob and every piece again, and says what is wrong; what is corrupt is
    /// discarded, so that the next build makes it anew.
    pub fn verify(&self) -> Result<Vec<Fault>, Failure> {
        let mut faults = self.verify_blobs()?;
        let root = self.root.join("pieces");
        let damaged = Pieces::new(root.clone(), root.clone()).discard_damaged();
        let damaged = damaged.map_err(|error| io_failure("read", &root, &error))?;
        faults.extend(damaged.into_iter().map(|key| Fault {
            what: format!("piece {} is corrupt", key.short()),
            stages: Vec::new(),
        }));
        Ok(faults)
    }

    fn verify_blobs(&self) -> Result<Vec<Fault>, Failure> {
        let blobs_root = self.root.join("blobs");
        let present = self.blobs.list().map_err(|error| io_failure("read", &blobs_root, &error))?;
        let mut users: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
        for (row, ports) in self.records.results()? {
            for entry in ports.values().flat_map(Manifest::entries) {
                users.entry(entry.blob).or_default().insert(row.stage.clone());
            }
        }
        let all: BTreeSet<Digest> = present.into_iter().chain(users.keys().copied()).collect();
        let mut faults = Vec::new();
        for blob in all {
            if let Err(fault) = self.blobs.check(blob) {
                let discarded = self.blobs.discard(blob);
                discarded.map_err(|error| io_failure("remove", &self.blobs.path(blob), &error))?;
                let stages = users.remove(&blob).unwrap_or_default().into_iter().collect();
                faults.push(Fault { what: blob_fault(blob, fault), stages });
            }
        }
        Ok(faults)
    }
}

fn blob_fault(blob: Digest, fault: BlobFault) -> String {
    match fault {
        BlobFault::Missing => format!("blob {} is missing", blob.short()),
        BlobFault::Corrupt => format!("blob {} is corrupt", blob.short()),
    }
}

/// What lies in a store whose making was cut short, or in a folder that is kept for one.
const FIRST: [&str; 8] = [
    "VERSION",
    "CACHEDIR.TAG",
    ".gitignore",
    ".gitkeep",
    "blobs",
    "locks",
    "tmp",
    // The root of a disk of its own.
    "lost+found",
];

/// Whether a folder is a store, the beginning of one, or free to become one.
fn may_hold_a_store(root: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
    let version = read("VERSION");
    let is_marked = version.trim() == VERSION && root.join("results.db").is_file();
    if is_marked || read("CACHEDIR.TAG") == TAG {
        return Ok(true);
    }
    for entry in entries {
        let name = entry?.file_name();
        if FIRST.iter().all(|first| name != *first) {
            return Ok(false);
        }
    }
    Ok(matches!(version.trim(), "" | VERSION))
}

/// Writes the marks of a new store, or checks those of an old one. The caller holds the lock.
fn mark(root: &Path, version: &File) -> Result<(), Failure> {
    let failed = |error| io_failure("write", root, &error);
    let found = fs::read_to_string(root.join("VERSION")).map_err(failed)?;
    match found.trim() {
        VERSION => Ok(()),
        "" => {
            write_new(&root.join("CACHEDIR.TAG"), TAG).map_err(failed)?;
            write_new(&root.join(".gitignore"), "*\n").map_err(failed)?;
            let mut version = version;
            version.write_all(format!("{VERSION}\n").as_bytes()).map_err(failed)
        }
        other => {
            let shown = root.display();
            Err(Failure::new(format!("the cache `{shown}` has layout `{other}`, not {VERSION}"))
                .remedy("name another cache with `LLAMAKE_CACHE`, or delete this one"))
        }
    }
}

/// Writes a file unless there is one, which may be the user's own.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    match File::create_new(path) {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
