//! `read_tokenizer`: a vocabulary that was made elsewhere, written as all are here. Knows how many
//! entries are declared; does not know formats.

use std::path::PathBuf;

use crate::train::data::tokenizer::Tokenizer;
use crate::train::data::tokenizer_files::{self, Names};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters, as `stdlib/model.recipe` states them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadTokenizer {
    pub files: Vec<PathBuf>,
    pub vocab: u64,
    pub bos: Option<String>,
    pub eos: Option<String>,
    pub unknown: Option<String>,
}

/// Makes the folder `out`.
pub fn run(params: &ReadTokenizer, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let ReadTokenizer { bos, eos, unknown, .. } = params.clone();
    let tokenizer = tokenizer_files::read(&params.files, &Names { bos, eos, unknown })?;
    let (found, declared) = (tokenizer.vocab() as u64, params.vocab);
    if found > declared {
        return Err(Failure::input(format!(
            "the tokenizer has {found} entries and `vocab` declares {declared}"
        ))
        .remedy(format!("set `vocab` to {found}, or to what the model has")));
    }
    if found < declared {
        let unused = declared - found;
        context.progress.notice(&format!(
            "the tokenizer has {found} entries, so that {unused} rows of a model stand for nothing"
        ));
    }
    let folder = context.out.join("out");
    std::fs::create_dir(&folder).map_err(Failure::io(&folder))?;
    tokenizer.save(&folder)?;
    // What was written is what will be read.
    Tokenizer::load(&folder)?;
    Ok(vec![("vocab".into(), declared as f64), ("entries".into(), found as f64)])
}
