//! Which files of a repository are wanted, told by their names. Knows folders, globs, formats and
//! splits; does not know where files are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use glob::{MatchOptions, Pattern};

use crate::train::progress::Failure;

/// The two kinds of repositories that hold what a stage can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepoKind {
    Model,
    Dataset,
}

impl RepoKind {
    pub fn word(self) -> &'static str {
        match self {
            RepoKind::Model => "model",
            RepoKind::Dataset => "dataset",
        }
    }
}

/// What is asked of a hub.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    pub kind: RepoKind,
    /// `organisation/name`.
    pub repo: &'a str,
    /// A branch, a tag or a commit.
    pub revision: &'a str,
    /// Only what is in this folder; names and globs are relative to it.
    pub folder: Option<&'a str>,
    /// Names or globs; none stand for every file that can be read.
    pub files: &'a [String],
    /// Whether the stage can read a file of this name.
    pub readable: fn(&Path) -> bool,
}

/// Tables about data, beside the data.
const ABOUT_DATA: [&str; 5] =
    ["config.json", "dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json"];

/// The words that tell a split, as data sets on the hub use them.
const SPLITS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "val", "dev"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// Names that a message lists.
const LISTED: usize = 12;

impl Wanted<'_> {
    /// Refuses what could be no repository or revision, before it is made part of a path or URL.
    pub fn check(&self) -> Result<(), Failure> {
        let plain = |part: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && part.len() <= 96 && part.chars().all(known) && !part.contains("..")
        };
        let parts: Vec<&str> = self.repo.split('/').collect();
        if parts.len() > 2 || !parts.iter().all(|part| plain(part) && *part != ".") {
            return Err(Failure::input(format!("`{}` is no name of a repository", self.repo))
                .remedy("write it as the hub does: `repo: \"organisation/name\"`"));
        }
        if !is_inside(self.revision) {
            return Err(Failure::input(format!("`{}` is no revision", self.revision))
                .remedy("name a branch, a tag or a commit"));
        }
        Ok(())
    }

    /// The names that are wanted, sorted.
    pub fn choose<'n>(&self, names: &[&'n str]) -> Result<Vec<&'n str>, Failure> {
        let inside = self.inside(names)?;
        let mut chosen = BTreeSet::new();
        for glob in self.files {
            let pattern = Pattern::new(glob).map_err(|error| {
                Failure::input(format!("`{glob}` in `files` is no glob: {}", error.msg))
            })?;
            let before = chosen.len();
            let of_glob = inside.iter().filter(|(short, _)| matches(&pattern, short));
            let found: Vec<&str> = of_glob.map(|(_, name)| *name).collect();
            chosen.extend(&found);
            if found.is_empty() && chosen.len() == before {
                return Err(self.nothing_like(glob, inside.iter().map(|(short, _)| *short)));
            }
        }
        if self.files.is_empty() {
            chosen.extend(self.data(&inside)?);
        }
        Ok(chosen.into_iter().collect())
    }

    /// The names in the folder, without it and with it.
    fn inside<'n>(&self, names: &[&'n str]) -> Result<Vec<(&'n str, &'n str)>, Failure> {
        let Some(folder) = self.folder.map(|folder| folder.trim_matches('/')) else {
            return Ok(names.iter().map(|name| (*name, *name)).collect());
        };
        let within = |name: &&'n str| {
            let rest = name.strip_prefix(folder)?.strip_prefix('/')?;
            Some((rest, *name))
        };
        let inside: Vec<_> = names.iter().filter_map(within).collect();
        if inside.is_empty() {
            let folders: BTreeSet<&str> =
                names.iter().filter_map(|name| Some(name.rsplit_once('/')?.0)).collect();
            return Err(Failure::input(format!(
                "`{}` at `{}` has no folder `{folder}`",
                self.repo, self.revision
            ))
            .remedy(format!("its folders are {}", listed(ticked(nearest(folder, folders))))));
        }
        Ok(inside)
    }

    /// Every file that can be read; of data, if they are plainly one set.
    fn data<'n>(&self, inside: &[(&'n str, &'n str)]) -> Result<Vec<&'n str>, Failure> {
        let is_data = |(short, _): &&(&str, &str)| {
            let path = Path::new(short);
            let about = ABOUT_DATA.iter().any(|name| path.file_name() == Some(name.as_ref()));
            (self.readable)(path) && !(about && self.kind == RepoKind::Dataset)
        };
        let data: Vec<&(&str, &str)> = inside.iter().filter(is_data).collect();
        if data.is_empty() {
            let names = inside.iter().map(|(short, _)| *short);
            return Err(Failure::input(format!(
                "`{}` at `{}` has no files that this stage can read",
                self.repo, self.revision
            ))
            .remedy(format!("what it has is {}", listed(ticked(names)))));
        }
        let sets: BTreeSet<_> =
            data.iter().map(|(short, _)| (split_of(short), end_of(short))).collect();
        if sets.len() > 1 && self.kind == RepoKind::Dataset {
            return Err(self.many_sets(data.iter().map(|(short, _)| *short)));
        }
        Ok(data.into_iter().map(|(_, name)| *name).collect())
    }

    fn many_sets<'n>(&self, names: impl Iterator<Item = &'n str>) -> Failure {
        let mut patterns: BTreeMap<String, usize> = BTreeMap::new();
        for name in names {
            *patterns.entry(pattern_of(name)).or_default() += 1;
        }
        let told = patterns.iter().map(|(pattern, count)| match count {
            1 => format!("`{pattern}`"),
            count => format!("`{pattern}` ({count} files)"),
        });
        let told = listed(told.collect());
        let first = patterns.keys().next().map(String::as_str).unwrap_or_default();
        Failure::input(format!(
            "`{}` at `{}` holds more than one set of files: {told}",
            self.repo, self.revision
        ))
        .remedy(format!("name those you mean, for example `files: [{first:?}]`"))
    }

    fn nothing_like<'n>(&self, glob: &str, names: impl Iterator<Item = &'n str>) -> Failure {
        let place = match self.folder {
            Some(folder) => format!(" in `{folder}`"),
            None => String::new(),
        };
        Failure::input(format!(
            "`{}` at `{}` has no file `{glob}`{place}",
            self.repo, self.revision
        ))
        .remedy(format!("nearest to it are {}", listed(ticked(nearest(glob, names)))))
    }
}

fn matches(pattern: &Pattern, name: &str) -> bool {
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
    pattern.as_str() == name || pattern.matches_with(name, options)
}

/// Whether a name is a path that stays inside the folder it is joined to.
pub fn is_inside(name: &str) -> bool {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    let tidy = |part: &str| !part.is_empty() && part != ".";
    !name.chars().any(char::is_control)
        && !name.contains('\\')
        && name.split('/').all(tidy)
        && Path::new(name).components().all(plain)
}

/// The split that a word in the name tells.
fn split_of(name: &str) -> &'static str {
    let name = name.to_lowercase();
    let mut words = name.split(|c: char| !c.is_alphanumeric());
    let told = words.find_map(|word| {
        SPLITS.iter().find(|(_, words)| words.contains(&word)).map(|(split, _)| *split)
    });
    told.unwrap_or_default()
}

/// What tells the format, compressed or not.
fn end_of(name: &str) -> &str {
    let plain = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(name);
    plain.rsplit('.').next().unwrap_or_default()
}

/// A glob for a file and the other parts of it: `train-*-of-*.parquet`.
fn pattern_of(name: &str) -> String {
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    let mut pattern = Pattern::escape(&name[..start]);
    let mut rest = &name[start..];
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let others =
            rest[digits..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - digits);
        match digits {
            5.. => pattern.push('*'),
            _ => pattern += &rest[..digits],
        }
        pattern += &Pattern::escape(&rest[digits..digits + others]);
        rest = &rest[digits + others..];
    }
    pattern
}

/// The first of them, and how many more there are.
fn listed(names: Vec<String>) -> String {
    match names.len() {
        0 => "none".into(),
        count if count > LISTED => {
            format!("{} and {} more", names[..LISTED].join(", "), count - LISTED)
        }
        _ => names.join(", "),
    }
}

fn ticked<'n>(names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    names.into_iter().map(|name| format!("`{name}`")).collect()
}

/// The names that need the fewest edits to become the word, nearest first.
fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let scored = names.into_iter().map(|name| (edits(word, name), name));
    let mut scored: Vec<(usize, &str)> = scored.collect();
    scored.sort();
    scored.into_iter().take(LISTED).map(|(_, name)| name).collect()
}

/// Insertions, deletions and changes that turn one text into the other.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.bytes().enumerate() {
            let change = corner + usize::from(a != b);
            corner = row[j + 1];
            row[j + 1] = change.min(corner + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::{edits, is_inside, pattern_of, split_of};

    #[test]
    fn names_tell_splits_and_patterns() {
        assert_eq!(split_of("data/train-00000-of-00002.parquet"), "train");
        assert_eq!(split_of("Dev/a.jsonl"), "validation");
        assert_eq!(split_of("constraints.jsonl"), "");
        assert_eq!(pattern_of("data/train-00000-of-00002.parquet"), "data/train-*-of-*.parquet");
        assert_eq!(pattern_of("20231101.en/v2[a].csv"), "20231101.en/v2[[]a[]].csv");
        assert_eq!((edits("kitten", "sitting"), edits("", "ab")), (3, 2));
    }

    #[test]
    fn names_stay_inside() {
        for name in ["a", "a/b.txt", "..a", "a b", "refs/pr/1"] {
            assert!(is_inside(name), "{name}");
        }
        for name in ["", ".", "..", "/a", "a/../b", "a//b", "a/", "./a", "a\0b", "a\nb", "a\\b"] {
            assert!(!is_inside(name), "{name:?}");
        }
    }
}
