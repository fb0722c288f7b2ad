//! The digests that a file can be pinned by. Knows hash functions; does not know where bytes come
//! from.

use std::fmt;

/// What a file must hash to, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Digest {
    Blake3(String),
    Sha256(String),
    /// The name git has for a file of these bytes.
    GitBlob(String),
}

impl Digest {
    /// The name of the hash function, as fields of a recipe spell it.
    pub fn name(&self) -> &'static str {
        match self {
            Digest::Blake3(_) => "blake3",
            Digest::Sha256(_) => "sha256",
            Digest::GitBlob(_) => "git-sha1",
        }
    }

    pub fn hex(&self) -> &str {
        match self {
            Digest::Blake3(hex) | Digest::Sha256(hex) | Digest::GitBlob(hex) => hex,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.name(), self.hex())
    }
}

/// Whether a text is so many hexadecimal digits, in lower case.
pub fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Bytes on their way to a digest.
#[cfg(feature = "hub")]
pub enum Hasher {
    // Far larger than the others.
    Blake3(Box<blake3::Hasher>),
    Sha256(sha2::Sha256),
    GitBlob(sha1::Sha1),
}

#[cfg(feature = "hub")]
impl Hasher {
    /// One that ends in a digest of the same kind. Git hashes the length before the bytes.
    pub fn like(digest: &Digest, length: u64) -> Hasher {
        use sha1::Digest as _;
        match digest {
            Digest::Blake3(_) => Hasher::Blake3(Box::default()),
            Digest::Sha256(_) => Hasher::Sha256(sha2::Sha256::new()),
            Digest::GitBlob(_) => {
                Hasher::GitBlob(sha1::Sha1::new().chain_update(format!("blob {length}\0")))
            }
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        use sha1::Digest as _;
        match self {
            Hasher::Blake3(hasher) => drop(hasher.update(bytes)),
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::GitBlob(hasher) => hasher.update(bytes),
        }
    }

    pub fn finish(self) -> Digest {
        use sha1::Digest as _;
        match self {
            Hasher::Blake3(hasher) => Digest::Blake3(hasher.finalize().to_hex().to_string()),
            Hasher::Sha256(hasher) => Digest::Sha256(hex(&hasher.finalize())),
            Hasher::GitBlob(hasher) => Digest::GitBlob(hex(&hasher.finalize())),
        }
    }
}

#[cfg(feature = "hub")]
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(all(test, feature = "hub"))]
mod tests {
    use super::{Digest, Hasher};

    #[test]
    fn digests_are_those_of_the_tools() {
        let none = String::new;
        let of = |kind: Digest| {
            let mut hasher = Hasher::like(&kind, 6);
            hasher.update(b"hel");
            hasher.update(b"lo\n");
            hasher.finish().hex().to_string()
        };
        // As `git hash-object`, `sha256sum` and `b3sum` say of "hello\n".
        assert_eq!(of(Digest::GitBlob(none())), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(
            of(Digest::Sha256(none())),
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
        );
        assert_eq!(of(Digest::Blake3(none())), blake3::hash(b"hello\n").to_hex().to_string());
    }
}
