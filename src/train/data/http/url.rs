//! Addresses of the web: parsed, joined with where a server points to, and told without the
//! secrets in them. Knows RFC 3986's shape of http and https; does not know servers.

/// An absolute http or https URL without a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    text: String,
    /// Where the path begins in `text`.
    path: usize,
}

/// Who answers: scheme, host and port. What is secret for one is not for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub scheme: String,
    pub host: String,
    pub port: u16,
}

impl Url {
    /// Reads a URL; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Url, String> {
        let text = text.split('#').next().unwrap_or_default();
        if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(format!("it holds {odd:?}, which has to be percent-encoded"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("it does not begin with `https://`".into());
        };
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "http" && scheme != "https" {
            return Err(format!("`{scheme}` is neither http nor https"));
        }
        let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
        if authority.contains('@') {
            return Err("it holds a user or a password, which do not belong in a URL".into());
        }
        authority_of(&scheme, authority)?;
        let path = scheme.len() + "://".len() + authority.len();
        let slash = if rest[authority.len()..].starts_with('/') { "" } else { "/" };
        let text = format!("{scheme}://{authority}{slash}{}", &rest[authority.len()..]);
        Ok(Url { text, path })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL without its query: what may be told, for a query may hold a signature.
    pub fn shown(&self) -> &str {
        self.text.split('?').next().unwrap_or_default()
    }

    pub fn origin(&self) -> Origin {
        let (scheme, rest) = self.text.split_once("://").expect("every URL has a scheme");
        let authority = &rest[..self.path - scheme.len() - "://".len()];
        let (host, port) = authority_of(scheme, authority).expect("it was parsed before");
        Origin { scheme: scheme.into(), host, port }
    }

    /// The last part of the path, decoded no further; empty where the path ends in `/`.
    pub fn file_name(&self) -> &str {
        self.shown()[self.path..].rsplit('/').next().unwrap_or_default()
    }

    /// Where a server points to, seen from here.
    pub fn join(&self, location: &str) -> Result<Url, String> {
        let before = |end: usize| &self.text[..end];
        let colon = location.find(':');
        let mark = location.find(['/', '?', '#']).unwrap_or(location.len());
        if colon.is_some_and(|colon| colon < mark) {
            return Url::parse(location);
        }
        if location.starts_with("//") {
            let scheme = self.text.find(':').expect("every URL has a scheme");
            return Url::parse(&format!("{}{location}", before(scheme + 1)));
        }
        if location.starts_with('/') {
            return Url::parse(&format!("{}{location}", before(self.path)));
        }
        let shown = self.shown();
        if location.is_empty() || location.starts_with(['?', '#']) {
            return Url::parse(&format!("{shown}{location}"));
        }
        let folder = shown.rfind('/').expect("a path begins with a slash") + 1;
        Url::parse(&format!("{}{location}", before(folder)))
    }
}

/// Host and port.
fn authority_of(scheme: &str, authority: &str) -> Result<(String, u16), String> {
    let usual = if scheme == "https" { 443 } else { 80 };
    let bracket = authority.rfind(']').unwrap_or(0);
    let (host, port) = match authority[bracket..].rfind(':') {
        Some(colon) => (&authority[..bracket + colon], &authority[bracket + colon + 1..]),
        None => (authority, ""),
    };
    if host.is_empty() {
        return Err("it names no host".into());
    }
    let port = match port {
        "" => usual,
        port => port.parse().map_err(|_| format!("`{port}` is no port"))?,
    };
    Ok((host.to_ascii_lowercase(), port))
}

/// A text as one part of a path, or several where it has slashes and `slashes` says so.
pub fn encoded(text: &str, slashes: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte as char);
            }
            b'/' if slashes => out.push('/'),
            byte => out += &format!("%{byte:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Url, encoded};

    #[test]
    fn urls_are_read_and_joined() {
        let url = Url::parse("HTTPS://Hub.Example:8443/a/b?c=d#e").unwrap();
        assert_eq!(url.as_str(), "https://Hub.Example:8443/a/b?c=d");
        assert_eq!((url.shown(), url.file_name()), ("https://Hub.Example:8443/a/b", "b"));
        assert_eq!((url.origin().host.as_str(), url.origin().port), ("hub.example", 8443));
        for (location, joined) in [
            ("http://x", "http://x/"),
            ("//x/y", "https://x/y"),
            ("/y?z=1:2", "https://Hub.Example:8443/y?z=1:2"),
            ("y", "https://Hub.Example:8443/a/y"),
            ("?z", "https://Hub.Example:8443/a/b?z"),
        ] {
            assert_eq!(url.join(location).unwrap().as_str(), joined);
        }
        assert!(url.join("file:///etc/passwd").is_err());
        assert_eq!(Url::parse("http://[::1]:80").unwrap().origin().host, "[::1]");
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for text in ["", "x", "ftp://x/", "file:///x", "http://", "http://:80", "http://x:y/"] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
        for text in ["http://a b/", "http://x/ü", "https://me:secret@x/", "http://x:70000/"] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
        assert_eq!(encoded("a b/ü%", true), "a%20b/%C3%BC%25");
        assert_eq!(encoded("refs/pr/1", false), "refs%2Fpr%2F1");
    }
}
