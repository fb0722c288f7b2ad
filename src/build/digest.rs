//! Digests of bytes, files and folders (blake3). Knows how content is hashed and how a folder
//! becomes a sorted manifest; does not know what any content means nor where a cache keeps it.

use std::fmt;
use std::io;
use std::path::Path;

/// The blake3 hash of some content: its identity everywhere in the engine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of bytes at hand.
    pub fn of_bytes(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of a file's content; large files are mapped and hashed on all threads.
    pub fn of_file(path: &Path) -> io::Result<Digest> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_mmap_rayon(path)?;
        Ok(Digest(*hasher.finalize().as_bytes()))
    }

    /// What a finished hasher says.
    pub fn of_hasher(hasher: &blake3::Hasher) -> Digest {
        Digest(*hasher.finalize().as_bytes())
    }

    /// Reads the 64 hexadecimal digits that `Display` writes.
    pub fn parse(text: &str) -> Option<Digest> {
        let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let hash = lower.then(|| blake3::Hash::from_hex(text).ok())??;
        Some(Digest(*hash.as_bytes()))
    }

    /// The digest held by 32 raw bytes, as a database keeps it.
    pub fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Digest({})", self.short())
    }
}

/// One file of an artifact: its name inside a folder (empty for an artifact that is one file).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Relative, with `/` between parts, none of them `.` or `..`.
    pub path: String,
    pub blob: Digest,
    pub bytes: u64,
    pub executable: bool,
}

/// What an artifact consists of: one file, or a folder of files sorted by path. A folder inside
/// that holds no file is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest {
    File(Entry),
    Folder(Vec<Entry>),
}

impl Manifest {
    /// The files, one or many.
    pub fn entries(&self) -> &[Entry] {
        match self {
            Manifest::File(entry) => std::slice::from_ref(entry),
            Manifest::Folder(entries) => entries,
        }
    }

    /// The size of all files together.
    pub fn bytes(&self) -> u64 {
        self.entries().iter().map(|entry| entry.bytes).sum()
    }

    /// The artifact's digest. A plain file's is that of its bytes, so that `b3sum` shows the same.
    pub fn digest(&self) -> Digest {
        match self {
            Manifest::File(entry) if !entry.executable => entry.blob,
            _ => Digest::of_bytes(self.encode().as_bytes()),
        }
    }

    /// The canonical text of the manifest: what is hashed, and what the store keeps.
    pub fn encode(&self) -> String {
        let shape = match self {
            Manifest::File(_) => "file",
            Manifest::Folder(_) => "folder",
        };
        let mut text = format!("{shape}\n");
        for Entry { path, blob, bytes, executable } in self.entries() {
            let mode = if *executable { 'x' } else { '-' };
            text.push_str(&format!("{blob} {mode} {bytes} {} {path}\n", path.len()));
        }
        text
    }

    /// Reads what `encode` wrote; `None` for anything else.
    pub fn decode(text: &str) -> Option<Manifest> {
        let (shape, mut rest) = text.split_once('\n')?;
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let (entry, after) = decode_entry(rest)?;
            entries.push(entry);
            rest = after;
        }
        match shape {
            "folder" => Some(Manifest::Folder(entries)),
            "file" if entries.len() == 1 => entries.pop().map(Manifest::File),
            _ => None,
        }
    }
}

fn decode_entry(text: &str) -> Option<(Entry, &str)> {
    let mut words = text.splitn(5, ' ');
    let blob = Digest::parse(words.next()?)?;
    let executable = match words.next()? {
        "x" => true,
        "-" => false,
        _ => return None,
    };
    let bytes = words.next()?.parse().ok()?;
    let length: usize = words.next()?.parse().ok()?;
    let tail = words.next()?;
    let path = tail.get(..length)?.to_string();
    let after = tail.get(length..)?.strip_prefix('\n')?;
    Some((Entry { path, blob, bytes, executable }, after))
}
