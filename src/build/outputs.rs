//! Results made visible: copies under `build/RECIPE/STAGE`, written only when they differ. Knows
//! places and manifests; does not know how results came to be.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::digest::{Digest, Entry, Manifest};
use super::executor::Failure;
use super::failures::io_failure;
use super::plan::Plan;
use super::store::{ActionResult, FileStat, Scratch, Store, manifest_of};
use super::target::folders;
use crate::lang::value::SINGLE_PORT;

/// The folder of a recipe's outputs.
///
/// A stage whose one result is a folder lies at `STAGE/` itself; any other result at
/// `STAGE/PORT`. The memo remembers each file as it was written, so a file that nobody touched is
/// neither read nor written again; an edited or deleted one is put back.
pub struct Outputs<'a> {
    root: &'a Path,
    store: &'a Store,
    /// Stages that are folders of other stages: `round2` beside `round2/ppo`.
    parents: BTreeSet<String>,
    scratch: OnceCell<Scratch>,
}

impl<'a> Outputs<'a> {
    /// Outputs of a plan under `root`, which need not exist.
    pub fn new(root: &'a Path, store: &'a Store, plan: &Plan) -> Outputs<'a> {
        let mut parents = BTreeSet::new();
        for name in &plan.known_stages {
            let parts = folders(name);
            parents.extend((1..parts.len()).map(|count| parts[..count].join("/")));
        }
        Outputs { root, store, parents, scratch: OnceCell::new() }
    }

    /// Where a result lies, or will.
    pub fn path(&self, stage: &str, port: &str, manifest: &Manifest) -> PathBuf {
        let parts = folders(stage).into_iter();
        let folder = parts.fold(self.root.to_path_buf(), |at, part| at.join(safe(part)));
        let whole = matches!(manifest, Manifest::Folder(_))
            && port == SINGLE_PORT
            && !self.parents.contains(stage);
        if whole { folder } else { folder.join(safe(port)) }
    }

    /// Sees to it that a stage's result lies in its place: all ports, or one.
    pub fn place(
        &self,
        stage: &str,
        port: Option<&str>,
        result: &ActionResult,
    ) -> Result<(), Failure> {
        for (name, manifest) in &result.ports {
            if port.is_none_or(|port| port == name) {
                let path = self.path(stage, name, manifest);
                if !self.is_current(&path, manifest) {
                    let placed = self.replace(&path, manifest);
                    placed.map_err(|error| io_failure("write", &path, &error))?;
                    self.remember(&path, manifest);
                }
            }
        }
        Ok(())
    }

    fn is_current(&self, path: &Path, manifest: &Manifest) -> bool {
        let is_known = |entry: &Entry| {
            let file = file_of(path, manifest, entry);
            FileStat::of(&file)
                .is_ok_and(|stat| self.store.memo().recall(&file, stat) == Some(entry.blob))
        };
        if manifest.entries().iter().all(is_known) && path.exists() {
            return true;
        }
        let same = manifest_of(path).is_ok_and(|found| found == *manifest);
        if same {
            self.remember(path, manifest);
        }
        same
    }

    fn remember(&self, path: &Path, manifest: &Manifest) {
        for entry in manifest.entries() {
            let file = file_of(path, manifest, entry);
            if let Ok(stat) = FileStat::of(&file) {
                self.store.memo().remember(&file, stat, entry.blob);
            }
        }
    }

    fn replace(&self, path: &Path, manifest: &Manifest) -> io::Result<()> {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let scratch = self.scratch()?;
        let fresh = scratch.path();
        self.store.blobs().copy_out(manifest, &fresh)?;
        if fs::symlink_metadata(path).is_err() {
            return fs::rename(&fresh, path);
        }
        match renameat_with(CWD, &fresh, CWD, path, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(()),
            // Some file systems cannot exchange; then there is a moment without the output.
            Err(_) => {
                fs::rename(path, scratch.path())?;
                fs::rename(&fresh, path)
            }
        }
    }

    fn scratch(&self) -> io::Result<&Scratch> {
        if self.scratch.get().is_none() {
            let scratch = Scratch::open(&self.root.join(".incoming"))?;
            assert!(self.scratch.set(scratch).is_ok(), "the scratch folder is made once");
        }
        Ok(self.scratch.get().expect("it was made above"))
    }
}

fn file_of(path: &Path, manifest: &Manifest, entry: &Entry) -> PathBuf {
    match manifest {
        Manifest::File(_) => path.to_path_buf(),
        Manifest::Folder(_) => path.join(&entry.path),
    }
}

/// Characters of a folder's name; file systems take 255 bytes.
const LONGEST_NAME: usize = 60;

/// A name as one part of a path: what could lead elsewhere is written as `%XX`, so no two names
/// meet and none escapes.
fn safe(name: &str) -> String {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"_-[],:= ".contains(&byte) || byte > 127;
    let mut text = Vec::new();
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'.' if at > 0 => text.push(byte),
            byte if plain(byte) => text.push(byte),
            byte => text.extend(format!("%{byte:02X}").into_bytes()),
        }
    }
    if text.is_empty() {
        return "%".to_string();
    }
    let text = String::from_utf8(text).expect("whole characters were kept");
    match text.char_indices().nth(LONGEST_NAME) {
        None => text,
        Some((end, _)) => {
            let digest = Digest::of_bytes(name.as_bytes());
            format!("{}%{}", &text[..end], digest.short())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::safe;

    #[test]
    fn no_name_escapes() {
        assert_eq!(safe("chat"), "chat");
        assert_eq!(safe(".."), "%2E.");
        assert_eq!(safe("."), "%2E");
        assert_eq!(safe(""), "%");
        assert_eq!(safe("a\0b\\c"), "a%00b%5Cc");
        assert_eq!(safe("größe[rank: 8]"), "größe[rank: 8]");
    }
}
