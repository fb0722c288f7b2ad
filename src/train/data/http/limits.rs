//! How long to bear with a server. Knows numbers only.

use std::time::Duration;

/// The bounds of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tries in a row that bring nothing before it is given up.
    pub tries: u32,
    /// The pause after the first such try; each further one is twice as long.
    pub pause: Duration,
    /// The longest pause, whatever a server asks for.
    pub longest_pause: Duration,
    /// How long a connection may be silent before it counts as cut.
    pub silence: Duration,
    /// The most that is taken of a body whose length nobody stated.
    pub unstated_bytes: u64,
}

impl Limits {
    /// What suits a server far away: about half a minute of tries.
    pub const USUAL: Limits = Limits {
        tries: 6,
        pause: Duration::from_millis(500),
        longest_pause: Duration::from_secs(300),
        silence: Duration::from_secs(30),
        unstated_bytes: 16 << 30,
    };

    /// The same where there is something else to fall back on.
    pub fn hasty(&self) -> Limits {
        Limits { tries: self.tries.min(2), ..self.clone() }
    }
}
