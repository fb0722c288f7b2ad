//! `fetch`: a file from the web, pinned by its digest. Knows names and digests; does not know what
//! the file is.

use std::fs;
use std::path::{Path, PathBuf};

use crate::train::data::http::digest::{Digest, is_hex};
use crate::train::data::http::download::pinned;
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters, as `stdlib/data.recipe` states them.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetch {
    pub url: String,
    pub sha256: Option<String>,
    pub blake3: Option<String>,
    pub name: Option<String>,
}

/// What has arrived, until all of it has.
const PART: &str = "download.part";

/// Makes the folder `out` with the one file. What has arrived is kept with the unfinished work.
pub fn run(params: &Fetch, ctx: &mut Context<'_>) -> Result<Metrics, Failure> {
    let digest = digest_of(params)?;
    let name = name_of(params)?;
    let (folder, _kept) = part_folder(ctx)?;
    let part = folder.join(PART);
    let limits = ctx.hub.limits.clone();
    let bytes = pinned(&params.url, digest.as_ref(), &part, &limits, ctx.progress)?;
    let out = ctx.out.join("out");
    fs::create_dir(&out).map_err(Failure::io(&out))?;
    moved(&part, &out.join(name))?;
    Ok(vec![("bytes".into(), bytes as f64)])
}

/// The digest that is stated, if it is one.
fn digest_of(params: &Fetch) -> Result<Option<Digest>, Failure> {
    let sha256 = params.sha256.as_ref().map(|hex| Digest::Sha256(hex.to_lowercase()));
    let blake3 = params.blake3.as_ref().map(|hex| Digest::Blake3(hex.to_lowercase()));
    let digest = match (sha256, blake3) {
        (Some(_), Some(_)) => {
            return Err(Failure::input("both `sha256` and `blake3` are set")
                .remedy("one of them is enough: leave the other out"));
        }
        (sha256, blake3) => sha256.or(blake3),
    };
    match digest {
        Some(digest) if !is_hex(digest.hex(), 64) => Err(Failure::input(format!(
            "`{}` is no {} digest: it has 64 hexadecimal digits",
            digest.hex(),
            digest.name()
        ))),
        digest => Ok(digest),
    }
}

/// What the file is called: a name, never a path.
fn name_of(params: &Fetch) -> Result<String, Failure> {
    let path = params.url.split(['?', '#']).next().unwrap_or_default();
    let name = match &params.name {
        Some(name) => name.as_str(),
        None => {
            path.split("://").nth(1).and_then(|rest| Some(rest.rsplit_once('/')?.1)).unwrap_or("")
        }
    };
    let plain = !name.is_empty()
        && name != "."
        && name != ".."
        && !name.contains(['/', '\\'])
        && !name.chars().any(char::is_control);
    match (plain, &params.name) {
        (true, _) => Ok(name.into()),
        (false, Some(_)) => Err(Failure::input(format!("`name` is {name:?}, which names no file"))
            .remedy("give a name without a folder, such as `name: \"book.txt\"`")),
        (false, None) => Err(Failure::input(format!("`{}` ends in no name of a file", params.url))
            .remedy("give it one: `name: \"…\"`")),
    }
}

/// The folder in which the file is collected, and what removes it if it is a passing one.
fn part_folder(ctx: &Context<'_>) -> Result<(PathBuf, Option<tempfile::TempDir>), Failure> {
    match &ctx.attempt {
        Some(attempt) => {
            let folder = &attempt.folder;
            fs::create_dir_all(folder).map_err(Failure::io(folder))?;
            Ok((folder.clone(), None))
        }
        None => {
            let kept = tempfile::tempdir_in(&ctx.out).map_err(Failure::io(&ctx.out))?;
            Ok((kept.path().to_path_buf(), Some(kept)))
        }
    }
}

/// Moves a file, also to another disk.
fn moved(from: &Path, to: &Path) -> Result<(), Failure> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            fs::copy(from, to).map_err(Failure::io(to))?;
            fs::remove_file(from).map_err(Failure::io(from))
        }
        renamed => renamed.map_err(Failure::io(to)),
    }
}
