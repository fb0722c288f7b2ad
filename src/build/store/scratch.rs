//! Temporary folders that vanish with their process. Knows owners by the locks they hold; does not
//! know what is written inside.
//!
//! `ID.owner` is locked (flock) for as long as the process lives and `ID/` is its folder, so
//! whatever an unlocked owner left behind, a killed build's half-written files included, is swept.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A process's own temporary folder; it is removed when dropped.
pub struct Scratch {
    folder: PathBuf,
    owner: PathBuf,
    _lock: File,
    next: AtomicU64,
}

impl Scratch {
    /// Makes a folder under `parent`, after sweeping those whose processes are gone.
    pub fn open(parent: &Path) -> io::Result<Scratch> {
        fs::create_dir_all(parent)?;
        sweep(parent)?;
        let process = std::process::id();
        for attempt in 0.. {
            let name = format!("{process}-{attempt}");
            let owner = parent.join(format!("{name}.owner"));
            if let Some(lock) = claim(&owner)? {
                let folder = parent.join(name);
                fs::create_dir(&folder)?;
                return Ok(Scratch { folder, owner, _lock: lock, next: AtomicU64::new(0) });
            }
        }
        unreachable!("some number is free")
    }

    /// A new empty folder inside.
    pub fn folder(&self) -> io::Result<PathBuf> {
        let path = self.path();
        fs::create_dir(&path)?;
        Ok(path)
    }

    /// A new name inside, for a file or folder that does not exist yet.
    pub fn path(&self) -> PathBuf {
        self.folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is swept by a later build.
        let _ = fs::remove_dir_all(&self.folder);
        let _ = fs::remove_file(&self.owner);
    }
}

/// Creates and locks an owner file; `None` if the name is taken, or swept away meanwhile.
fn claim(path: &Path) -> io::Result<Option<File>> {
    let file = match File::create_new(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok((lock_now(&file)? && is_still(&file, path)).then_some(file))
}

fn sweep(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let owner = entry?.path();
        if owner.extension().is_none_or(|extension| extension != "owner") {
            continue;
        }
        let Ok(file) = File::open(&owner) else { continue };
        if lock_now(&file)? && is_still(&file, &owner) {
            let folder = owner.with_extension("");
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
            fs::remove_file(&owner)?;
        }
    }
    Ok(())
}

/// Takes the advisory lock of a file if nobody holds it.
pub fn lock_now(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether the path still names this very file, so that a lock on it means something.
pub fn is_still(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(named)) = (file.metadata(), fs::metadata(path)) else { return false };
    (held.dev(), held.ino()) == (named.dev(), named.ino())
}
