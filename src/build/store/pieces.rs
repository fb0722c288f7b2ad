//! Parts of results that other results may share, each under a key that its maker chose. Knows keys
//! and bytes; does not know what a piece is a part of.
//!
//! A piece is one file: a checksum of 32 bytes (blake3 with the key as key), then the bytes. It is
//! written elsewhere, synced and renamed, so that it is whole or not there; one that is damaged
//! later is not there either.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::build::digest::Digest;

const CHECKSUM: usize = 32;

/// The folder of pieces.
#[derive(Clone, Debug)]
pub struct Pieces {
    root: PathBuf,
    /// A folder on the same file system, where pieces begin.
    scratch: PathBuf,
}

impl Pieces {
    /// Pieces under a folder that may not exist yet.
    pub fn new(root: PathBuf, scratch: PathBuf) -> Pieces {
        Pieces { root, scratch }
    }

    /// Where a piece lies, or would.
    pub fn path(&self, key: Digest) -> PathBuf {
        let name = key.to_string();
        self.root.join(&name[..2]).join(&name[2..])
    }

    /// The bytes of a piece, if it is there and whole.
    pub fn get(&self, key: Digest) -> Option<Vec<u8>> {
        let mut bytes = fs::read(self.path(key)).ok()?;
        let (checksum, content) = bytes.split_at_checked(CHECKSUM)?;
        let whole = blake3::keyed_hash(key.as_bytes(), content) == *checksum;
        whole.then(|| bytes.split_off(CHECKSUM))
    }

    /// Keeps a piece; one that is there already is replaced.
    pub fn put(&self, key: Digest, bytes: &[u8]) -> io::Result<()> {
        let (place, fresh) = (self.path(key), self.scratch.join(key.to_string()));
        let folder = place.parent().expect("a piece lies in a folder");
        fs::create_dir_all(folder)?;
        let written = write(&fresh, blake3::keyed_hash(key.as_bytes(), bytes), bytes)
            .and_then(|()| fs::rename(&fresh, &place))
            .and_then(|()| File::open(folder)?.sync_all());
        written.inspect_err(|_| {
            // A part of a file is of no use to anybody.
            let _ = fs::remove_file(&fresh);
        })
    }

    /// Removes every piece that is not whole, and says which they were, sorted.
    pub fn discard_damaged(&self) -> io::Result<Vec<Digest>> {
        let mut damaged = Vec::new();
        for key in self.list()?.into_iter().filter(|key| self.get(*key).is_none()) {
            fs::remove_file(self.path(key))?;
            damaged.push(key);
        }
        Ok(damaged)
    }

    fn list(&self) -> io::Result<Vec<Digest>> {
        let mut found = Vec::new();
        for folder in entries(&self.root)?.into_iter().filter(|path| path.is_dir()) {
            for file in entries(&folder)? {
                let name = |path: &Path| path.file_name()?.to_str().map(str::to_string);
                let key = name(&folder).zip(name(&file)).map(|(start, rest)| start + &rest);
                found.extend(key.and_then(|key| Digest::parse(&key)));
            }
        }
        found.sort();
        Ok(found)
    }
}

/// What lies in a folder; nothing where there is none.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

fn write(path: &Path, checksum: blake3::Hash, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(checksum.as_bytes())?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let pieces = Pieces::new(folder.path().join("pieces"), folder.path().to_path_buf());
        let [one, two] = ["one", "two"].map(|key| Digest::of_bytes(key.as_bytes()));
        assert_eq!(pieces.get(one), None);
        assert!(pieces.discard_damaged().unwrap().is_empty());
        pieces.put(one, b"first").unwrap();
        pieces.put(one, b"bytes").unwrap();
        pieces.put(two, b"").unwrap();
        assert_eq!(pieces.get(one).as_deref(), Some(&b"bytes"[..]));
        assert_eq!(pieces.get(two).as_deref(), Some(&b""[..]));
        // What belongs to another key is damaged here.
        fs::copy(pieces.path(one), pieces.path(two)).unwrap();
        assert_eq!(pieces.get(two), None);
        let whole = fs::read(pieces.path(one)).unwrap();
        for cut in 0..whole.len() {
            fs::write(pieces.path(one), &whole[..cut]).unwrap();
            assert_eq!(pieces.get(one), None, "{cut}");
        }
        assert_eq!(pieces.discard_damaged().unwrap().len(), 2);
        assert!(pieces.discard_damaged().unwrap().is_empty());
        pieces.put(two, b"again").unwrap();
        assert_eq!(pieces.get(two).as_deref(), Some(&b"again"[..]));
    }
}
