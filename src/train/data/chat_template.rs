//! Where a model's folder keeps its chat template: in a file of its own, or in the configuration
//! of its tokenizer, alone or as one of several that have names. Knows files; does not know Jinja.

use std::path::Path;

use serde_json::Value;

use super::tokenizer::CONFIG_FILE;
use crate::train::progress::Failure;

/// The template of this name is the one to talk with; others are for tools.
const DEFAULT: &str = "default";

/// The chat template that a folder carries, if any. A file of its own comes before the
/// configuration, as in the programs that write both.
pub fn read(folder: &Path) -> Result<Option<String>, Failure> {
    let path = folder.join("chat_template.jinja");
    if path.is_file() {
        return std::fs::read_to_string(&path).map(Some).map_err(Failure::io(path));
    }
    for file in ["chat_template.json", CONFIG_FILE] {
        let path = folder.join(file);
        if !path.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(Failure::io(&path))?;
        let json: Option<Value> = serde_json::from_str(&text).ok();
        let json = json
            .filter(Value::is_object)
            .ok_or_else(|| Failure::input(format!("`{}` is no JSON object", path.display())))?;
        if let Some(template) = template_in(&json["chat_template"], &path)? {
            return Ok(Some(template));
        }
    }
    Ok(None)
}

fn template_in(value: &Value, path: &Path) -> Result<Option<String>, Failure> {
    let named = match value {
        Value::Null => return Ok(None),
        Value::String(template) => return Ok(Some(template.clone())),
        Value::Array(templates) => templates.iter().find(|named| named["name"] == DEFAULT),
        Value::Object(templates) => {
            return Ok(templates.get(DEFAULT).and_then(Value::as_str).map(str::to_owned));
        }
        _ => None,
    };
    match named.and_then(|named| named["template"].as_str()) {
        Some(template) => Ok(Some(template.to_owned())),
        None => Err(Failure::input(format!(
            "`{}` has a `chat_template` that is no text and holds none named `{DEFAULT}`",
            path.display()
        ))),
    }
}
