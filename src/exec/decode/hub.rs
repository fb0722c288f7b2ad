//! The parameters of stages that read from a hub. Knows fields; does not know hubs.

use std::path::PathBuf;

use anyhow::Result;

use super::model;
use crate::exec::inputs::Fields;
use crate::train::stage::hub::{FromHub, HubModel, HubTokenizer, Rows};

/// A stage that reads rows: the files it wants, and its own fields, read by `read`.
pub fn rows_of<'j, R>(
    fields: &Fields<'j>,
    read: impl FnOnce(Vec<PathBuf>, &Fields<'j>) -> Result<R>,
) -> Result<Rows<R>> {
    Ok(Rows { from: from_of(fields)?, read: read(Vec::new(), fields)? })
}

pub fn hub_model_of(fields: &Fields<'_>, chat: bool) -> Result<HubModel> {
    Ok(HubModel {
        repo: fields.text("repo")?,
        revision: fields.text("revision")?,
        read: model::declared_of(Vec::new(), fields, chat)?,
    })
}

pub fn hub_tokenizer_of(fields: &Fields<'_>) -> Result<HubTokenizer> {
    Ok(HubTokenizer {
        repo: fields.text("repo")?,
        revision: fields.text("revision")?,
        read: model::tokenizer_of(Vec::new(), fields)?,
    })
}

fn from_of(fields: &Fields<'_>) -> Result<FromHub> {
    Ok(FromHub {
        repo: fields.text("repo")?,
        revision: fields.text("revision")?,
        folder: fields.optional("folder", Fields::text)?,
        files: fields.texts("files")?,
    })
}
