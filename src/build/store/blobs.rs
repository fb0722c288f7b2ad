//! Files by digest: taking results in, and laying them out for those who read them. Knows the
//! folder of blobs; does not know actions, keys or databases.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::memo::FileStat;
use crate::build::digest::{Digest, Entry, Manifest};
use crate::build::executor::Failure;
use crate::build::failures::io_failure;

/// Folders nested deeper than this inside a result are refused.
const DEPTH: usize = 64;

/// Why a blob cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobFault {
    Missing,
    Corrupt,
}

/// The folder of blobs; cheap to clone and hand to threads.
#[derive(Clone, Debug)]
pub struct Blobs {
    root: PathBuf,
}

impl Blobs {
    /// Blobs under a folder that exists.
    pub fn new(root: PathBuf) -> Blobs {
        Blobs { root }
    }

    /// Where a blob lies, or would.
    pub fn path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join(&name[..2]).join(&name[2..])
    }

    /// Reads a blob whole and says what is wrong with it, if anything.
    pub fn check(&self, digest: Digest) -> Result<(), BlobFault> {
        match Digest::of_file(&self.path(digest)) {
            Ok(found) if found == digest => Ok(()),
            Ok(_) => Err(BlobFault::Corrupt),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BlobFault::Missing),
            Err(_) => Err(BlobFault::Corrupt),
        }
    }

    /// Takes in the file or folder at `path`: hashed, synced and renamed into the store.
    pub fn adopt(&self, path: &Path) -> Result<Manifest, Failure> {
        let meta = fs::symlink_metadata(path).map_err(|error| io_failure("read", path, &error))?;
        let manifest = if meta.is_dir() {
            let files = files_under(path)?;
            let entries: Result<Vec<Entry>, Failure> =
                files.into_iter().map(|(name, file)| self.adopt_file(name, &file)).collect();
            Manifest::Folder(entries?)
        } else {
            Manifest::File(self.adopt_file(String::new(), path)?)
        };
        self.sync_folders(&manifest)?;
        Ok(manifest)
    }

    fn adopt_file(&self, name: String, path: &Path) -> Result<Entry, Failure> {
        let failed = |error| io_failure("store", path, &error);
        let meta = fs::symlink_metadata(path).map_err(failed)?;
        if !meta.is_file() {
            let shown = path.display();
            return Err(Failure::new(format!("a result holds `{shown}`, which is no plain file"))
                .remedy("let the stage write files instead of links, pipes or sockets"));
        }
        let blob = Digest::of_file(path).map_err(failed)?;
        let executable = meta.permissions().mode() & 0o100 != 0;
        let entry = Entry { path: name, blob, bytes: meta.len(), executable };
        if self.check(blob).is_err() {
            self.take(path, blob, executable).map_err(failed)?;
        }
        Ok(entry)
    }

    fn take(&self, path: &Path, blob: Digest, executable: bool) -> io::Result<()> {
        let mode = if executable { 0o555 } else { 0o444 };
        File::open(path)?.sync_all()?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        let place = self.path(blob);
        if let Some(folder) = place.parent().filter(|folder| !folder.exists()) {
            fs::create_dir_all(folder)?;
            File::open(&self.root)?.sync_all()?;
        }
        fs::rename(path, &place)
    }

    fn sync_folders(&self, manifest: &Manifest) -> Result<(), Failure> {
        let mut folders: Vec<PathBuf> = (manifest.entries().iter())
            .filter_map(|entry| self.path(entry.blob).parent().map(Path::to_path_buf))
            .collect();
        folders.sort();
        folders.dedup();
        for folder in folders {
            let synced = File::open(&folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| io_failure("store", &folder, &error))?;
        }
        Ok(())
    }

    /// Where an artifact can be read: a lone file is its blob, a folder is laid out at `place` as
    /// links to blobs.
    pub fn lay_out(&self, manifest: &Manifest, place: &Path) -> io::Result<PathBuf> {
        let entries = match manifest {
            Manifest::File(entry) => return Ok(self.path(entry.blob)),
            Manifest::Folder(entries) => entries,
        };
        fs::create_dir_all(place)?;
        for entry in entries {
            let link = place.join(&entry.path);
            link.parent().map_or(Ok(()), fs::create_dir_all)?;
            symlink(self.path(entry.blob), link)?;
        }
        Ok(place.to_path_buf())
    }

    /// Writes an artifact at `place`, which must not exist, as files of its own.
    pub fn copy_out(&self, manifest: &Manifest, place: &Path) -> io::Result<()> {
        if let Manifest::Folder(_) = manifest {
            fs::create_dir_all(place)?;
        }
        for entry in manifest.entries() {
            let target = match manifest {
                Manifest::File(_) => place.to_path_buf(),
                Manifest::Folder(_) => place.join(&entry.path),
            };
            target.parent().map_or(Ok(()), fs::create_dir_all)?;
            reflink_copy::reflink_or_copy(self.path(entry.blob), &target)?;
            let mode = if entry.executable { 0o755 } else { 0o644 };
            fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    /// Every blob there is, sorted; files with other names are passed over.
    pub fn list(&self) -> io::Result<Vec<Digest>> {
        let mut found = Vec::new();
        for folder in fs::read_dir(&self.root)? {
            let folder = folder?;
            if !folder.file_type()?.is_dir() {
                continue;
            }
            let start = folder.file_name().to_string_lossy().into_owned();
            for file in fs::read_dir(folder.path())? {
                let rest = file?.file_name().to_string_lossy().into_owned();
                found.extend(Digest::parse(&format!("{start}{rest}")));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Removes a blob that is not what its name says.
    pub fn discard(&self, digest: Digest) -> io::Result<()> {
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The stat of a blob.
    pub fn stat(&self, digest: Digest) -> io::Result<FileStat> {
        FileStat::of(&self.path(digest))
    }
}

/// The manifest a file or folder would have, without taking it in.
pub fn manifest_of(path: &Path) -> Result<Manifest, Failure> {
    let failed = |error| io_failure("read", path, &error);
    let entry = |(name, file): (String, PathBuf)| {
        let meta = fs::metadata(&file).map_err(failed)?;
        let blob = Digest::of_file(&file).map_err(failed)?;
        let executable = meta.permissions().mode() & 0o100 != 0;
        Ok(Entry { path: name, blob, bytes: meta.len(), executable })
    };
    if fs::symlink_metadata(path).map_err(failed)?.is_dir() {
        let entries: Result<Vec<Entry>, Failure> =
            files_under(path)?.into_iter().map(entry).collect();
        return Ok(Manifest::Folder(entries?));
    }
    Ok(Manifest::File(entry((String::new(), path.to_path_buf()))?))
}

/// The files of a folder with their names inside it, sorted; links are not followed.
fn files_under(root: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let mut files = Vec::new();
    let mut open = vec![(root.to_path_buf(), 0)];
    while let Some((folder, depth)) = open.pop() {
        let failed = |error| io_failure("read", &folder, &error);
        if depth > DEPTH {
            let shown = folder.display();
            return Err(Failure::new(format!("`{shown}` is nested more than {DEPTH} deep")));
        }
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            if entry.file_type().map_err(failed)?.is_dir() {
                open.push((path, depth + 1));
                continue;
            }
            let name = path.strip_prefix(root).ok().and_then(Path::to_str).ok_or_else(|| {
                Failure::new(format!("the name of `{}` is not UTF-8", path.display()))
                    .remedy("let the stage choose another name")
            })?;
            files.push((name.to_string(), path));
        }
    }
    files.sort();
    Ok(files)
}
