//! One builder at a time for each action key, across processes. Knows advisory locks; does not
//! know what the holder does. The lock dies with its process, whatever file is left lying.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::scratch::{is_still, lock_now};

/// The right to build one key, until dropped.
pub struct KeyLock {
    path: PathBuf,
    _file: File,
}

impl KeyLock {
    /// Takes the lock at `path`; `None` while another holds it.
    pub fn try_take(path: &Path) -> io::Result<Option<KeyLock>> {
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(path)?;
            if !lock_now(&file)? {
                return Ok(None);
            }
            // Its last holder may have removed the file between our opening and our locking it.
            if is_still(&file, path) {
                return Ok(Some(KeyLock { path: path.to_path_buf(), _file: file }));
            }
        }
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // Removed while still held: whoever opened it meanwhile sees that it is gone.
        let _ = fs::remove_file(&self.path);
    }
}
