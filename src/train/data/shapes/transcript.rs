//! Anthropic's transcripts of dialogues: turns that begin with `\n\nHuman:` or `\n\nAssistant:`.
//! Knows these two marks; does not know columns.

use crate::train::data::rows::Message;
use crate::train::progress::Failure;

/// The marks and the roles they stand for.
const MARKS: [(&str, &str); 2] = [("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant")];

/// True where a text begins as a transcript does.
pub fn begins(text: &str) -> bool {
    MARKS.iter().any(|(mark, _)| text.starts_with(mark))
}

/// The turns of a transcript, without the blanks around them.
pub fn turns(place: &str, column: &str, text: &str) -> Result<Vec<Message>, Failure> {
    if !begins(text) {
        let message = format!("{place}: column `{column}` begins with none of the marks of a turn");
        return Err(Failure::input(message)
            .remedy("a transcript begins with two line ends and `Human:` or `Assistant:`"));
    }
    let mut turns = Vec::new();
    let mut rest = text;
    while let Some((mark, role)) = MARKS.into_iter().find(|(mark, _)| rest.starts_with(mark)) {
        let said = &rest[mark.len()..];
        let end = MARKS.iter().filter_map(|(mark, _)| said.find(mark)).min();
        let (content, left) = said.split_at(end.unwrap_or(said.len()));
        turns.push(Message::new(role, content.trim()));
        rest = left;
    }
    Ok(turns)
}
