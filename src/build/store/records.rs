//! The database of results and runs (SQLite, WAL, synchronous=FULL). Knows rows; does not know
//! blobs on disk, nor when a result may be used.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::build::digest::{Digest, Manifest};
use crate::build::executor::Failure;
use crate::build::failures::database;
use crate::build::key::{ActionKey, Part};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS result (
        key BLOB PRIMARY KEY, stage TEXT, kind TEXT, ports TEXT, metrics TEXT, parts TEXT,
        seconds REAL, made_at INTEGER);
    CREATE TABLE IF NOT EXISTS latest (
        recipe TEXT, stage TEXT, key BLOB, PRIMARY KEY (recipe, stage)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS run (
        id INTEGER PRIMARY KEY, recipe TEXT, began_at INTEGER, seconds REAL,
        built INTEGER, fresh INTEGER, failed INTEGER);
    CREATE TABLE IF NOT EXISTS run_stage (
        run INTEGER, stage TEXT, state TEXT, reason TEXT, seconds REAL, bytes INTEGER,
        metrics TEXT, failure TEXT, PRIMARY KEY (run, stage)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS log (
        run INTEGER, stage TEXT, number INTEGER, line TEXT,
        PRIMARY KEY (run, stage, number)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS metric (
        run INTEGER, stage TEXT, name TEXT, done INTEGER, value REAL,
        PRIMARY KEY (run, stage, name, done)) WITHOUT ROWID;";

/// What an action made, by port.
pub type Ports = BTreeMap<String, Manifest>;

/// What an action made, by port, and what it said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionResult {
    pub ports: BTreeMap<String, Manifest>,
    pub metrics: Vec<(String, f64)>,
    /// How long the work took when it was done.
    pub seconds: f64,
}

impl ActionResult {
    /// The size of everything made.
    pub fn bytes(&self) -> u64 {
        self.ports.values().map(Manifest::bytes).sum()
    }
}

/// A result as `cache ls` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultRow {
    pub key: ActionKey,
    /// The stage that made it first; other stages may use it too.
    pub stage: String,
    pub kind: String,
    pub bytes: u64,
    /// Seconds since 1970.
    pub made_at: i64,
}

/// A past build in which something happened.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRow {
    pub id: i64,
    pub recipe: String,
    /// Seconds since 1970.
    pub began_at: i64,
    /// How long it took; `None` while it runs, or if it was killed.
    pub seconds: Option<f64>,
    pub built: u64,
    pub fresh: u64,
    pub failed: u64,
}

/// What became of a stage in a run that did not find it fresh.
#[derive(Clone, Debug, PartialEq)]
pub struct StageRow {
    pub run: i64,
    pub stage: String,
    /// `running`, `built`, `failed`, `skipped`.
    pub state: String,
    /// Why it had to run, or why it did not.
    pub reason: String,
    pub seconds: f64,
    pub bytes: u64,
    pub metrics: Vec<(String, f64)>,
    pub failure: Option<String>,
}

/// A line a stage logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub stage: String,
    pub line: String,
}

/// A figure at a moment of a stage's progress.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPoint {
    pub stage: String,
    pub name: String,
    pub done: u64,
    pub value: f64,
}

/// The open database.
pub struct Records {
    path: PathBuf,
    database: Connection,
    /// The number of the next log line of each run and stage, and lines and points not yet written.
    unwritten: RefCell<Unwritten>,
}

#[derive(Default)]
struct Unwritten {
    numbers: BTreeMap<(i64, String), i64>,
    stages: Vec<StageRow>,
    lines: Vec<(i64, LogLine)>,
    points: Vec<(i64, MetricPoint)>,
}

impl Records {
    /// Opens or makes the database at `path`.
    pub fn open(path: &Path) -> Result<Records, Failure> {
        let connect = || {
            let database = Connection::open(path)?;
            database.busy_timeout(Duration::from_secs(20))?;
            database.pragma_update(None, "journal_mode", "WAL")?;
            database.pragma_update(None, "synchronous", "FULL")?;
            database.execute_batch(SCHEMA)?;
            Ok(database)
        };
        let database = connect().map_err(|error| self::database(path, &error))?;
        Ok(Records { path: path.to_path_buf(), database, unwritten: RefCell::default() })
    }

    fn failed(&self, error: rusqlite::Error) -> Failure {
        database(&self.path, &error)
    }

    /// Reads from one snapshot until `end_reading`: many look-ups cost one lock of the file.
    pub fn begin_reading(&self) -> Result<(), Failure> {
        self.database.execute_batch("BEGIN").map_err(|error| self.failed(error))
    }

    /// Ends what `begin_reading` began; nothing may be written in between.
    pub fn end_reading(&self) -> Result<(), Failure> {
        self.database.execute_batch("COMMIT").map_err(|error| self.failed(error))
    }

    /// The result of a key; a row that cannot be understood is as good as none.
    pub fn result(&self, key: ActionKey) -> Result<Option<ActionResult>, Failure> {
        let find = || {
            let query = "SELECT ports, metrics, seconds FROM result WHERE key = ?";
            let mut statement = self.database.prepare_cached(query)?;
            let read = |row: &Row| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            statement.query_row([key.0.as_bytes()], read).optional()
        };
        let row: Option<(String, String, f64)> = find().map_err(|error| self.failed(error))?;
        Ok(row.and_then(|(ports, metrics, seconds)| {
            let (ports, metrics) = (decode_ports(&ports)?, decode_metrics(&metrics)?);
            Some(ActionResult { ports, metrics, seconds })
        }))
    }

    /// The explanation of a key, if its result was ever recorded.
    pub fn parts(&self, key: ActionKey) -> Result<Option<Vec<Part>>, Failure> {
        let query = "SELECT parts FROM result WHERE key = ?";
        let row: Option<String> = self
            .database
            .query_row(query, [key.0.as_bytes()], |row| row.get(0))
            .optional()
            .map_err(|error| self.failed(error))?;
        Ok(row.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Records a result, and that it is the stage's latest: from here on it is found.
    pub fn insert(
        &self,
        recipe: &str,
        stage: &str,
        kind: &str,
        key: ActionKey,
        result: &ActionResult,
        parts: &[Part],
    ) -> Result<(), Failure> {
        let (ports, metrics) = (encode_ports(&result.ports), encode_metrics(&result.metrics));
        let parts = json(&parts);
        let insert = || {
            let transaction = self.database.unchecked_transaction()?;
            let (key, seconds) = (key.0.as_bytes(), result.seconds);
            transaction.execute(
                "INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                params![key, stage, kind, ports, metrics, parts, seconds, now()],
            )?;
            let latest = "INSERT OR REPLACE INTO latest VALUES (?, ?, ?)";
            transaction.execute(latest, params![recipe, stage, key])?;
            transaction.commit()
        };
        insert().map_err(|error| self.failed(error))
    }

    /// The keys that the stages of a recipe had when they were last built or found fresh.
    pub fn latest(&self, recipe: &str) -> Result<BTreeMap<String, ActionKey>, Failure> {
        let find = || {
            let query = "SELECT stage, key FROM latest WHERE recipe = ?";
            let mut statement = self.database.prepare_cached(query)?;
            let read = |row: &Row| Ok((row.get(0)?, key_of(row.get(1)?)));
            statement.query_map([recipe], read)?.collect::<rusqlite::Result<_>>()
        };
        find().map_err(|error| self.failed(error))
    }

    /// Notes the keys that stages have now.
    pub fn note_latest(&self, recipe: &str, keys: &[(&str, ActionKey)]) -> Result<(), Failure> {
        let note = || {
            let transaction = self.database.unchecked_transaction()?;
            for (stage, key) in keys {
                let row = params![recipe, stage, key.0.as_bytes()];
                transaction.execute("INSERT OR REPLACE INTO latest VALUES (?, ?, ?)", row)?;
            }
            transaction.commit()
        };
        note().map_err(|error| self.failed(error))
    }

    /// Begins a run and says its number.
    pub fn begin_run(&self, recipe: &str) -> Result<i64, Failure> {
        let insert = "INSERT INTO run (recipe, began_at, built, fresh, failed)
                      VALUES (?, ?, 0, 0, 0)";
        let done = self.database.execute(insert, params![recipe, now()]);
        done.map_err(|error| self.failed(error))?;
        Ok(self.database.last_insert_rowid())
    }

    /// Ends a run with its counts.
    pub fn end_run(
        &self,
        run: i64,
        seconds: f64,
        (built, fresh, failed): (usize, usize, usize),
    ) -> Result<(), Failure> {
        self.flush()?;
        let update = "UPDATE run SET seconds = ?, built = ?, fresh = ?, failed = ? WHERE id = ?";
        let counts = [built, fresh, failed].map(|count| count as i64);
        let row = params![seconds, counts[0], counts[1], counts[2], run];
        self.database.execute(update, row).map(drop).map_err(|error| self.failed(error))
    }

    /// Keeps what became of a stage until the next flush; a later row replaces an earlier.
    pub fn note_stage(&self, row: StageRow) {
        self.unwritten.borrow_mut().stages.push(row);
    }

    /// Keeps a log line until the next flush.
    pub fn log(&self, run: i64, line: LogLine) {
        self.unwritten.borrow_mut().lines.push((run, line));
    }

    /// Keeps a figure until the next flush.
    pub fn point(&self, run: i64, point: MetricPoint) {
        self.unwritten.borrow_mut().points.push((run, point));
    }

    /// Writes what was kept in one transaction; nothing is written if there is nothing.
    pub fn flush(&self) -> Result<(), Failure> {
        let mut unwritten = self.unwritten.borrow_mut();
        let Unwritten { numbers, stages, lines, points } = &mut *unwritten;
        if stages.is_empty() && lines.is_empty() && points.is_empty() {
            return Ok(());
        }
        let mut write = || {
            let transaction = self.database.unchecked_transaction()?;
            for row in stages.drain(..) {
                write_stage(&transaction, &row)?;
            }
            for (run, LogLine { stage, line }) in lines.drain(..) {
                let number = numbers.entry((run, stage.clone())).or_default();
                *number += 1;
                let insert = "INSERT OR REPLACE INTO log VALUES (?, ?, ?, ?)";
                let row = params![run, stage, *number, line];
                transaction.prepare_cached(insert)?.execute(row)?;
            }
            for (run, MetricPoint { stage, name, done, value }) in points.drain(..) {
                let insert = "INSERT OR REPLACE INTO metric VALUES (?, ?, ?, ?, ?)";
                let row = params![run, stage, name, done as i64, value];
                transaction.prepare_cached(insert)?.execute(row)?;
            }
            transaction.commit()
        };
        write().map_err(|error| self.failed(error))
    }

    /// Past runs of a recipe, newest first.
    pub fn runs(&self, recipe: &str) -> Result<Vec<RunRow>, Failure> {
        let query = "SELECT id, recipe, began_at, seconds, built, fresh, failed FROM run
                     WHERE recipe = ? ORDER BY id DESC";
        self.rows(query, &[&recipe], |row| {
            Ok(RunRow {
                id: row.get(0)?,
                recipe: row.get(1)?,
                began_at: row.get(2)?,
                seconds: row.get(3)?,
                built: row.get::<_, i64>(4)? as u64,
                fresh: row.get::<_, i64>(5)? as u64,
                failed: row.get::<_, i64>(6)? as u64,
            })
        })
    }

    /// What became of a stage in each run that touched it, newest first.
    pub fn stage_runs(&self, recipe: &str, stage: &str) -> Result<Vec<StageRow>, Failure> {
        let query = "SELECT run, stage, state, reason, run_stage.seconds, bytes, metrics, failure
                     FROM run_stage JOIN run ON run.id = run WHERE recipe = ? AND stage = ?
                     ORDER BY run DESC";
        self.rows(query, &[&recipe, &stage], |row| {
            let metrics: String = row.get(6)?;
            Ok(StageRow {
                run: row.get(0)?,
                stage: row.get(1)?,
                state: row.get(2)?,
                reason: row.get(3)?,
                seconds: row.get(4)?,
                bytes: row.get::<_, i64>(5)? as u64,
                metrics: decode_metrics(&metrics).unwrap_or_default(),
                failure: row.get(7)?,
            })
        })
    }

    /// The log of a stage in a run.
    pub fn log_of(&self, run: i64, stage: &str) -> Result<Vec<String>, Failure> {
        let query = "SELECT line FROM log WHERE run = ? AND stage = ? ORDER BY number";
        self.rows(query, &[&run, &stage], |row| row.get(0))
    }

    /// The figures of a stage in a run, by name and then by progress.
    pub fn metrics_of(&self, run: i64, stage: &str) -> Result<Vec<MetricPoint>, Failure> {
        let query = "SELECT stage, name, done, value FROM metric WHERE run = ? AND stage = ?
                     ORDER BY name, done";
        self.rows(query, &[&run, &stage], |row| {
            let done = row.get::<_, i64>(2)? as u64;
            // SQLite keeps a NaN as NULL.
            let value = row.get::<_, Option<f64>>(3)?.unwrap_or(f64::NAN);
            Ok(MetricPoint { stage: row.get(0)?, name: row.get(1)?, done, value })
        })
    }

    /// Every result with its ports, oldest first.
    pub fn results(&self) -> Result<Vec<(ResultRow, Ports)>, Failure> {
        let query = "SELECT key, stage, kind, made_at, ports FROM result ORDER BY made_at, key";
        let rows = self.rows(query, &[], |row| {
            let (ports, key): (String, [u8; 32]) = (row.get(4)?, row.get(0)?);
            let (stage, kind, made_at) = (row.get(1)?, row.get(2)?, row.get(3)?);
            Ok((ResultRow { key: key_of(key), stage, kind, bytes: 0, made_at }, ports))
        })?;
        let read = |(row, ports): (ResultRow, String)| {
            let ports = decode_ports(&ports)?;
            let bytes = ports.values().map(Manifest::bytes).sum();
            Some((ResultRow { bytes, ..row }, ports))
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    fn rows<T>(
        &self,
        query: &str,
        values: &[&dyn rusqlite::ToSql],
        read: impl FnMut(&Row) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Failure> {
        let find = || -> rusqlite::Result<Vec<T>> {
            self.database.prepare(query)?.query_map(values, read)?.collect()
        };
        find().map_err(|error| self.failed(error))
    }
}

fn write_stage(database: &Connection, row: &StageRow) -> rusqlite::Result<()> {
    let insert = "INSERT OR REPLACE INTO run_stage VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    let StageRow { run, stage, state, reason, seconds, bytes, metrics, failure } = row;
    let (bytes, metrics) = (*bytes as i64, encode_metrics(metrics));
    let row = params![run, stage, state, reason, seconds, bytes, metrics, failure];
    database.prepare_cached(insert)?.execute(row).map(drop)
}

fn key_of(bytes: [u8; 32]) -> ActionKey {
    ActionKey(Digest::from_bytes(bytes))
}

/// Seconds since 1970, for histories only.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain data can be written as JSON")
}

fn encode_ports(ports: &BTreeMap<String, Manifest>) -> String {
    let texts: BTreeMap<&String, String> =
        ports.iter().map(|(port, manifest)| (port, manifest.encode())).collect();
    json(&texts)
}

/// Values are texts: JSON has no word for a perplexity that is infinite.
fn encode_metrics(metrics: &[(String, f64)]) -> String {
    json(&metrics.iter().map(|(name, value)| (name, value.to_string())).collect::<Vec<_>>())
}

fn decode_metrics(text: &str) -> Option<Vec<(String, f64)>> {
    let texts: Vec<(String, String)> = serde_json::from_str(text).ok()?;
    texts.into_iter().map(|(name, value)| Some((name, value.parse().ok()?))).collect()
}

fn decode_ports(text: &str) -> Option<BTreeMap<String, Manifest>> {
    let texts: BTreeMap<String, String> = serde_json::from_str(text).ok()?;
    texts.into_iter().map(|(port, text)| Some((port, Manifest::decode(&text)?))).collect()
}
