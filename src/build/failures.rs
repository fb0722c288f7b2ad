//! The sentences of the engine about a world that went wrong, and their remedies. Knows errors of
//! the operating system; does not know who asked for the work that failed.

use std::io;
use std::path::Path;

use super::executor::Failure;

/// A file or folder could not be read, written or moved; `doing` is `read`, `write`, `rename`.
pub fn io_failure(doing: &str, path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    if disk_is_full(error) {
        return disk_full(&format!("cannot {doing} `{path}`"));
    }
    let failure = Failure::new(format!("cannot {doing} `{path}`: {}", reason(error)));
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            failure.remedy(format!("check who owns `{path}` and its permissions"))
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            failure.remedy("name a cache folder that can be written to, with `LLAMAKE_CACHE`")
        }
        _ => failure,
    }
}

/// The disk, a quota or a file size limit is used up.
pub fn disk_is_full(error: &io::Error) -> bool {
    let kinds =
        [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
    kinds.contains(&error.kind())
}

/// Nothing more fits on the disk; `what` says what could not be done.
pub fn disk_full(what: &str) -> Failure {
    Failure::new(format!("{what}: no space is left on the disk"))
        .remedy("free some space and build again; every finished stage is kept")
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_string(),
        io::ErrorKind::PermissionDenied => "permission denied".to_string(),
        _ => error.to_string().to_lowercase(),
    }
}

/// Something of the cache's own record cannot be used; deleting it costs only time.
pub fn database(path: &Path, error: &rusqlite::Error) -> Failure {
    use rusqlite::ErrorCode;
    let path = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => disk_full(&format!("cannot write `{path}`")),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Failure::new(format!("the record of results `{path}` is damaged"))
                .remedy(format!("delete `{path}` and build again; it will be made anew"))
        }
        Some(ErrorCode::DatabaseBusy) => {
            Failure::new(format!("another program keeps `{path}` locked"))
                .remedy("wait for it to finish, or end it, and build again")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
            Failure::new(format!("cannot write `{path}`: {}", error.to_string().to_lowercase()))
                .remedy("check its permissions, or name another cache with `LLAMAKE_CACHE`")
        }
        Some(ErrorCode::SystemIoFailure) => Failure::new(format!(
            "cannot read or write `{path}`: {}",
            error.to_string().to_lowercase()
        ))
        .remedy("see that the disk works and has space, and build again; what is finished is kept"),
        _ => Failure::new(format!("cannot use `{path}`: {}", error.to_string().to_lowercase())),
    }
}
