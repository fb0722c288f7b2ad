//! How to reach a Hugging Face hub, and where what it gives is kept. Knows names and places; does
//! not know how to ask.

use std::fmt;
use std::path::PathBuf;

use crate::train::data::http::limits::Limits;

/// Where the public hub answers.
pub const PUBLIC_HUB: &str = "https://huggingface.co";

/// The hub as this machine sees it.
#[derive(Clone, Debug)]
pub struct Hub {
    /// `https://huggingface.co`, or a mirror.
    pub endpoint: String,
    /// The folder that all programs that use the hub share; empty where none is known.
    pub cache: PathBuf,
    pub token: Option<Token>,
    /// Only what is in the cache may be used.
    pub offline: bool,
    pub limits: Limits,
}

impl Hub {
    /// No hub and no cache: whatever is asked of it fails.
    pub fn none() -> Hub {
        Hub {
            endpoint: PUBLIC_HUB.into(),
            cache: PathBuf::new(),
            token: None,
            offline: true,
            limits: Limits::USUAL,
        }
    }
}

/// What shows the hub who asks. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    secret: String,
    /// The variable or file it came from.
    pub from: String,
}

impl Token {
    /// A token with the place it was found.
    pub fn new(secret: impl Into<String>, from: impl Into<String>) -> Token {
        Token { secret: secret.into(), from: from.into() }
    }

    /// The token itself, for the one header that carries it.
    pub fn reveal(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Token from {}", self.from)
    }
}
