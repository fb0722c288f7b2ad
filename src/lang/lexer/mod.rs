//! Characters → tokens. Knows the shape of words, numbers and strings; does not know the grammar:
//! any sequence of tokens is as good as any other here.

mod number;
mod scan;
mod text;
mod token;

pub use number::{counts, plural};
pub use scan::{Doc, Lexed, scan};
pub use text::block_lines;
pub use token::{Keyword, Position, Symbol, Token, TokenKind};
