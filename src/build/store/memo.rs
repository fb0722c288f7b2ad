//! The file-stat memo: size, times and inode of a file → its digest, so that what did not change
//! is not read again. Disposable: a lost or broken memo costs only time. Does not know whether a
//! file is a source or a blob.

use std::cell::RefCell;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension, params};

use crate::build::digest::Digest;

/// A file touched less than this before it was read could change again without its times moving,
/// since file systems round them (FAT: to two seconds).
const ROUNDING: Duration = Duration::from_secs(2);

/// What tells, without reading it, that a file is another than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    pub size: u64,
    pub modified_ns: i64,
    pub changed_ns: i64,
    pub inode: u64,
}

impl FileStat {
    /// The stat of a file, following links.
    pub fn of(path: &Path) -> io::Result<FileStat> {
        Ok(FileStat::new(&fs::metadata(path)?))
    }

    fn new(meta: &Metadata) -> FileStat {
        let nanoseconds = |seconds: i64, part: i64| seconds.saturating_mul(1_000_000_000) + part;
        FileStat {
            size: meta.size(),
            modified_ns: nanoseconds(meta.mtime(), meta.mtime_nsec()),
            changed_ns: nanoseconds(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
        }
    }

    /// Whether an edit from now on is sure to show in the times.
    fn is_settled(&self) -> bool {
        let touched = self.modified_ns.max(self.changed_ns).max(0);
        let touched = SystemTime::UNIX_EPOCH + Duration::from_nanos(touched as u64);
        SystemTime::now().duration_since(touched).is_ok_and(|age| age > ROUNDING)
    }
}

/// The memo's database. Writes are gathered and made by [`Memo::flush`].
pub struct Memo {
    database: Option<Connection>,
    pending: RefCell<Vec<(PathBuf, FileStat, Digest)>>,
}

impl Memo {
    /// Opens the memo; one that cannot be read is made anew, and if that fails there is none.
    pub fn open(path: &Path) -> Memo {
        let database = connect(path).or_else(|_| {
            fs::remove_file(path).ok();
            connect(path)
        });
        Memo { database: database.ok(), pending: RefCell::default() }
    }

    /// Reads from one snapshot until the next flush: many look-ups cost one lock of the file.
    pub fn begin_reading(&self) {
        if let Some(database) = self.database.as_ref().filter(|database| database.is_autocommit()) {
            // Without a snapshot look-ups are slower, and no less right.
            let _ = database.execute_batch("BEGIN");
        }
    }

    fn end_reading(&self) {
        if let Some(database) = self.database.as_ref().filter(|database| !database.is_autocommit())
        {
            let _ = database.execute_batch("COMMIT");
        }
    }

    /// The digest of a file, read only if the memo does not have it.
    pub fn digest(&self, path: &Path) -> io::Result<(Digest, FileStat)> {
        let stat = FileStat::of(path)?;
        if let Some(digest) = self.recall(path, stat) {
            return Ok((digest, stat));
        }
        let settled = stat.is_settled();
        let digest = Digest::of_file(path)?;
        if FileStat::of(path)? != stat {
            return Err(io::Error::other("the file changed while it was read"));
        }
        if settled {
            self.remember(path, stat, digest);
        }
        Ok((digest, stat))
    }

    /// What is known of a file whose stat is still the same.
    pub fn recall(&self, path: &Path, stat: FileStat) -> Option<Digest> {
        let query = "SELECT digest, size, modified, changed, inode FROM file WHERE path = ?";
        let mut statement = self.database.as_ref()?.prepare_cached(query).ok()?;
        let row = statement.query_row([path.to_str()?], |row| {
            let stat = FileStat {
                size: row.get::<_, i64>(1)? as u64,
                modified_ns: row.get(2)?,
                changed_ns: row.get(3)?,
                inode: row.get::<_, i64>(4)? as u64,
            };
            Ok((row.get::<_, [u8; 32]>(0)?, stat))
        });
        let (digest, known) = row.optional().ok()??;
        (known == stat).then(|| Digest::from_bytes(digest))
    }

    /// Remembers a digest under a stat that nobody will make untrue by a later edit.
    pub fn remember(&self, path: &Path, stat: FileStat, digest: Digest) {
        self.pending.borrow_mut().push((path.to_path_buf(), stat, digest));
    }

    /// Writes what was gathered, if anything, in one transaction without waiting for the disk.
    pub fn flush(&self) {
        self.end_reading();
        let pending = self.pending.take();
        if let Some(database) = self.database.as_ref().filter(|_| !pending.is_empty()) {
            // A memo that cannot be written is as good as none.
            let _ = write(database, &pending);
        }
    }
}

impl Drop for Memo {
    fn drop(&mut self) {
        self.flush();
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    database.busy_timeout(Duration::from_secs(5))?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "OFF")?;
    database.execute_batch(
        "CREATE TABLE IF NOT EXISTS file (
             path TEXT PRIMARY KEY, size INTEGER, modified INTEGER, changed INTEGER,
             inode INTEGER, digest BLOB
         ) WITHOUT ROWID",
    )?;
    Ok(database)
}

fn write(database: &Connection, rows: &[(PathBuf, FileStat, Digest)]) -> rusqlite::Result<()> {
    let transaction = database.unchecked_transaction()?;
    let insert = "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?)";
    let mut statement = transaction.prepare_cached(insert)?;
    for (path, stat, digest) in rows {
        let size = stat.size as i64;
        let inode = stat.inode as i64;
        let times = (stat.modified_ns, stat.changed_ns);
        statement.execute(params![
            path.to_str(),
            size,
            times.0,
            times.1,
            inode,
            digest.as_bytes()
        ])?;
    }
    drop(statement);
    transaction.commit()
}
