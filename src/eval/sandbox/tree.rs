//! The files that a program sees: a new root in memory with the interpreter's folders bound into
//! it, read-only, and one empty folder of its own. Needs the rights to mount; does not know where
//! they come from.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::system;

/// The one folder that a program may write to; there it starts.
pub const WORK: &str = "/work";

/// Who a program is, inside; and outside where llamake is root.
pub const NOBODY: u32 = 65534;

/// Where the new root is made ready: a folder that every system has. What it holds stays reachable
/// below [`OLD`] until the old root goes.
const PLACE: &str = "/tmp";
/// The old root, seen from the new one.
const OLD: &str = "/old";

/// Replaces the root of this process's mount namespace.
pub fn build(readable: &[PathBuf], hidden: &[PathBuf], file_bytes: u64) -> Result<(), String> {
    let make = || {
        system::make_private()?;
        system::mount_memory(Path::new(PLACE), "mode=755,size=1m,nr_inodes=4096")?;
        make_folder(&Path::new(PLACE).join("old"))?;
        rustix::process::pivot_root(PLACE, "/tmp/old")?;
        rustix::process::chdir("/").map_err(std::io::Error::from)
    };
    make().map_err(|error: std::io::Error| format!("no new root of files: {error}"))?;
    for path in readable {
        show(path).map_err(|error| format!("`{}` cannot be shown: {error}", path.display()))?;
    }
    for path in hidden {
        hide(path).map_err(|error| format!("`{}` cannot be hidden: {error}", path.display()))?;
    }
    let close = || {
        let options =
            format!("mode=700,size={file_bytes},nr_inodes=1024,uid={NOBODY},gid={NOBODY}");
        make_folder(Path::new(WORK))?;
        system::mount_memory(Path::new(WORK), &options)?;
        system::unmount(Path::new(OLD))?;
        fs::remove_dir(OLD)?;
        system::make_readonly(Path::new("/"), false)?;
        rustix::process::chdir(WORK).map_err(std::io::Error::from)
    };
    close().map_err(|error: std::io::Error| format!("the old files cannot be left: {error}"))
}

/// Binds a file or a folder of the old root to the same path of the new one. Where the path leads
/// over links, what they lead to is bound at the path as it is written.
fn show(path: &Path) -> std::io::Result<()> {
    let inside = path.strip_prefix("/").map_err(std::io::Error::other)?;
    let from = Path::new(OLD).join(inside);
    if from.is_dir() {
        make_folder(path)?;
    } else {
        path.parent().map_or(Ok(()), make_folder)?;
        File::create(path)?;
    }
    system::bind(&from, path)?;
    system::make_readonly(path, true)
}

/// Puts an empty folder over one.
fn hide(path: &Path) -> std::io::Result<()> {
    system::mount_memory(path, "mode=755,size=4k")?;
    system::make_readonly(path, false)
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}
