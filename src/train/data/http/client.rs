//! Questions asked with patience: redirects followed, secrets kept at home, failures of a moment
//! tried again. Knows statuses and pauses; does not know what is asked for.

use std::time::{Duration, Instant};

use super::limits::Limits;
use super::url::{Origin, Url};
use super::wire::{Ask, Head, Talk, Wire};
use crate::train::progress::{Failure, Progress};

/// The most redirects of one question.
const REDIRECTS: usize = 10;
/// What is learnt from JSON is small; more than this is no answer.
const LARGEST_JSON_BYTES: usize = 64 << 20;
/// A try that brought so much counts as progress: tries are counted anew.
const WORTH_A_TRY: u64 = 1 << 20;

/// Why a try came to nothing.
#[derive(Debug)]
pub enum Trouble {
    /// It may go better the next time: what happened, how long the server asks to wait, and how
    /// many bytes were won nevertheless.
    Again {
        what: String,
        wait: Option<Duration>,
        won: u64,
    },
    /// No answer, and another try would not help.
    Silent(String),
    /// The server said no.
    Refused(Refusal),
    Failed(Failure),
}

impl Trouble {
    pub fn again(what: impl Into<String>) -> Trouble {
        Trouble::Again { what: what.into(), wait: None, won: 0 }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Failed(failure)
    }
}

/// Why a question has no answer, after all tries.
#[derive(Debug)]
pub enum Unanswered {
    /// The server cannot be reached, or keeps failing: what happened last.
    Unreachable(String),
    Refused(Refusal),
    Failed(Failure),
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Unanswered {
        Unanswered::Failed(failure)
    }
}

/// A no of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// The URL that was refused, without its query.
    pub url: String,
    /// The hub's own word for why.
    pub code: Option<String>,
    /// Whether this very server was shown a secret.
    pub with_secret: bool,
}

/// Somebody who asks: patience, and perhaps a secret that only one server may see.
pub struct Client {
    wire: Wire,
    pub limits: Limits,
    secret: Option<(Origin, String)>,
}

impl Client {
    /// One without secrets.
    pub fn new(limits: &Limits) -> Client {
        Client { wire: Wire::new(limits), limits: limits.clone(), secret: None }
    }

    /// The same with a token for one server.
    pub fn with_token(self, home: Origin, token: &str) -> Client {
        Client { secret: Some((home, format!("Bearer {token}"))), ..self }
    }

    /// The same with fewer tries.
    pub fn hasty(&self) -> Client {
        let (wire, secret) = (self.wire.clone(), self.secret.clone());
        Client { wire, limits: self.limits.hasty(), secret }
    }

    /// One try: the first answer that is no redirect, if it is not a refusal. Statuses in `also`
    /// are answers too.
    pub fn ask(
        &self,
        mut ask: Ask,
        also: &[u16],
        progress: &dyn Progress,
    ) -> Result<Talk, Trouble> {
        for _ in 0..=REDIRECTS {
            ask.secret = self.secret_for(&ask.url);
            let talk = self.wire.ask(ask.clone(), progress)?;
            let status = talk.head.status;
            if matches!(status, 200..=299) || also.contains(&status) {
                return Ok(talk);
            }
            ask.url = match (status, talk.head.header("Location")) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => next(&ask.url, location)?,
                _ => return Err(refusal(&ask, &talk.head)),
            };
        }
        let what = format!("`{}` redirects more than {REDIRECTS} times", ask.url.shown());
        Err(Failure::input(what).into())
    }

    fn secret_for(&self, url: &Url) -> Option<String> {
        let (home, secret) = self.secret.as_ref()?;
        (*home == url.origin()).then(|| secret.clone())
    }

    /// Tries until it works, cannot work, or has failed too often in a row.
    pub fn patiently<T>(
        &self,
        progress: &mut dyn Progress,
        mut attempt: impl FnMut(&mut dyn Progress) -> Result<T, Trouble>,
    ) -> Result<T, Unanswered> {
        let (mut left, mut pause) = (self.limits.tries, self.limits.pause);
        loop {
            let (what, wait, won) = match attempt(progress) {
                Ok(done) => return Ok(done),
                Err(Trouble::Failed(failure)) => return Err(Unanswered::Failed(failure)),
                Err(Trouble::Refused(refusal)) => return Err(Unanswered::Refused(refusal)),
                Err(Trouble::Silent(what)) => return Err(Unanswered::Unreachable(what)),
                Err(Trouble::Again { what, wait, won }) => (what, wait, won),
            };
            if won >= WORTH_A_TRY {
                (left, pause) = (self.limits.tries, self.limits.pause);
            }
            left = left.saturating_sub(1);
            if left == 0 {
                return Err(Unanswered::Unreachable(what));
            }
            let wait = wait.unwrap_or(pause).min(self.limits.longest_pause);
            progress.log(&format!("{what}; trying again in {:.1} s", wait.as_secs_f64()));
            sleep(wait, progress)?;
            pause = pause.saturating_mul(2);
        }
    }

    /// The JSON at a URL, and what the answer says follows it.
    pub fn json(
        &self,
        url: &Url,
        progress: &mut dyn Progress,
    ) -> Result<(serde_json::Value, Option<Url>), Unanswered> {
        let ask = Ask { method: "GET", url: url.clone(), headers: vec![], secret: None };
        let (bytes, after) = self.patiently(progress, |progress| {
            let talk = self.ask(ask.clone(), &[], progress)?;
            Ok((whole(&talk, url, progress)?, talk.head.header("Link").and_then(next_page)))
        })?;
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::input(format!("`{}` does not answer in JSON: {error}", url.shown()))
                .remedy("see that `HF_ENDPOINT` names a hub, and that no proxy answers for it")
        })?;
        let after = after.map(|after| url.join(&after)).transpose();
        let after = after.map_err(|what| bad_location(url, &what))?;
        Ok((value, after.filter(|after| after.origin() == url.origin())))
    }

    /// The head of the answer at a URL, redirects to other servers left for whoever wants the body.
    pub fn head(&self, url: &Url, progress: &mut dyn Progress) -> Result<Head, Unanswered> {
        let home = url.origin();
        self.patiently(progress, |progress| {
            let mut url = url.clone();
            for _ in 0..=REDIRECTS {
                let ask = Ask { method: "HEAD", url: url.clone(), headers: vec![], secret: None };
                let head = self.ask(ask, &[301, 302, 303, 307, 308], progress)?.head;
                let Some(location) = head.header("Location") else { return Ok(head) };
                let there = next(&url, location)?;
                if there.origin() != home || head.header("X-Linked-Etag").is_some() {
                    return Ok(head);
                }
                url = there;
            }
            Err(Failure::input(format!("`{}` redirects without an end", url.shown())).into())
        })
    }
}

/// Where a redirect leads. What was asked under TLS is not asked again without.
fn next(from: &Url, location: &str) -> Result<Url, Trouble> {
    let to = from.join(location).map_err(|what| bad_location(from, &what))?;
    if from.origin().scheme == "https" && to.origin().scheme == "http" {
        return Err(bad_location(from, "it leaves https for http").into());
    }
    Ok(to)
}

fn bad_location(from: &Url, what: &str) -> Failure {
    Failure::input(format!("`{}` points to where nobody may follow: {what}", from.shown()))
}

/// Statuses of a moment are worth another try; the others are final.
fn refusal(ask: &Ask, head: &Head) -> Trouble {
    let url = ask.url.shown().to_string();
    let status = head.status;
    if matches!(status, 408 | 425 | 429 | 500..=599) {
        let what = format!("`{url}` answers with status {status}");
        let wait = head.number("Retry-After").map(Duration::from_secs);
        return Trouble::Again { what, wait, won: 0 };
    }
    let code = head.header("X-Error-Code").map(str::to_string);
    Trouble::Refused(Refusal { status, url, code, with_secret: ask.secret.is_some() })
}

fn whole(talk: &Talk, url: &Url, progress: &dyn Progress) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    while let Some(piece) = talk.piece(progress)? {
        bytes.extend(piece);
        if bytes.len() > LARGEST_JSON_BYTES {
            let what = format!("the answer of `{}` is larger than 64 MiB", url.shown());
            return Err(Failure::input(what).into());
        }
    }
    Ok(bytes)
}

/// `<URL>; rel="next"`, as pages of a list are linked.
fn next_page(link: &str) -> Option<String> {
    link.split(',').find_map(|one| {
        let (url, relation) = one.trim().strip_prefix('<')?.split_once('>')?;
        relation.contains("rel=\"next\"").then(|| url.to_string())
    })
}

fn sleep(wait: Duration, progress: &dyn Progress) -> Result<(), Failure> {
    let until = Instant::now() + wait;
    loop {
        if progress.cancelled() {
            return Err(Failure::Interrupted);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}
