//! The variables that name a hub, its cache and a token, read as `huggingface_hub` reads them. Does
//! not know what is downloaded.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::machine::variable;
use crate::train::data::http::limits::Limits;
use crate::train::data::hub::settings::PUBLIC_HUB;
use crate::train::data::hub::{Hub, Token};

/// The hub that the environment describes.
pub fn hub() -> Result<Hub> {
    hub_of(&|name| variable(name), std::env::home_dir())
}

/// A variable by its name, unless it is empty.
type Variable<'a> = dyn Fn(&str) -> Result<Option<String>> + 'a;

fn hub_of(variable: &Variable<'_>, user: Option<PathBuf>) -> Result<Hub> {
    let path =
        |name: &str| Ok::<_, anyhow::Error>(variable(name)?.map(|text| expanded(&text, &user)));
    let home = match (path("HF_HOME")?, path("XDG_CACHE_HOME")?) {
        (Some(home), _) => Some(home),
        (None, Some(caches)) => Some(caches.join("huggingface")),
        (None, None) => user.as_ref().map(|user| user.join(".cache/huggingface")),
    };
    let cache = match path("HF_HUB_CACHE")?.or(path("HUGGINGFACE_HUB_CACHE")?) {
        Some(cache) => cache,
        None => home.as_ref().map(|home| home.join("hub")).unwrap_or_default(),
    };
    let file = path("HF_TOKEN_PATH")?.or(home.map(|home| home.join("token")));
    let endpoint = variable("HF_ENDPOINT")?.unwrap_or_else(|| PUBLIC_HUB.into());
    let offline =
        is_true(variable("HF_HUB_OFFLINE")?) || is_true(variable("TRANSFORMERS_OFFLINE")?);
    Ok(Hub {
        endpoint: endpoint.trim_end_matches('/').into(),
        cache,
        token: token(variable, file.as_deref())?,
        offline,
        limits: Limits::USUAL,
    })
}

/// `HF_TOKEN`, else what `hf auth login` left in a file.
fn token(variable: &Variable<'_>, file: Option<&Path>) -> Result<Option<Token>> {
    if let Some(secret) = variable("HF_TOKEN")?.map(|text| text.trim().to_string()) {
        return Ok(Some(Token::new(secret, "`HF_TOKEN`")));
    }
    if is_true(variable("HF_HUB_DISABLE_IMPLICIT_TOKEN")?) {
        return Ok(None);
    }
    let Some(file) = file else { return Ok(None) };
    match std::fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(Token::new(text.trim(), format!("`{}`", file.display())))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("`{}`", file.display())),
    }
}

/// A path with `~` filled in.
fn expanded(text: &str, user: &Option<PathBuf>) -> PathBuf {
    match (text.strip_prefix('~'), user) {
        (Some(rest), Some(user)) if rest.is_empty() || rest.starts_with('/') => {
            user.join(rest.trim_start_matches('/'))
        }
        _ => text.into(),
    }
}

fn is_true(text: Option<String>) -> bool {
    let text = text.unwrap_or_default().to_uppercase();
    ["1", "ON", "YES", "TRUE"].contains(&text.as_str())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Hub, hub_of};

    fn told(variables: &[(&str, &str)]) -> Hub {
        let find = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            Ok(found.map(|(_, text)| text.to_string()))
        };
        hub_of(&find, Some(PathBuf::from("/home/me"))).unwrap()
    }

    #[test]
    fn the_cache_lies_where_the_variables_say() {
        let cache = |variables: &[(&str, &str)]| told(variables).cache;
        let (hub, home, xdg) =
            (("HF_HUB_CACHE", "/a"), ("HF_HOME", "~/b"), ("XDG_CACHE_HOME", "/c"));
        assert_eq!(cache(&[hub, home, xdg]), Path::new("/a"));
        assert_eq!(cache(&[home, xdg]), Path::new("/home/me/b/hub"));
        assert_eq!(cache(&[xdg]), Path::new("/c/huggingface/hub"));
        assert_eq!(cache(&[]), Path::new("/home/me/.cache/huggingface/hub"));
    }

    #[test]
    fn tokens_come_from_a_variable_or_a_file_and_are_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "hf_of_the_file\n").unwrap();
        let home = ("HF_HOME", folder.path().to_str().unwrap());
        let file = told(&[home]);
        assert_eq!(file.token.as_ref().unwrap().reveal(), "hf_of_the_file");
        let variable = told(&[home, ("HF_TOKEN", " hf_of_the_variable ")]);
        assert_eq!(variable.token.as_ref().unwrap().reveal(), "hf_of_the_variable");
        assert!(!format!("{file:?}{variable:?}").contains("hf_of"));
        assert!(told(&[home, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).token.is_none());
        assert!(told(&[("HF_HUB_OFFLINE", "yes")]).offline && !file.offline);
        let mirror = told(&[("HF_ENDPOINT", "https://mirror.example/")]);
        assert_eq!(mirror.endpoint, "https://mirror.example");
    }
}
