//! `read_base_model`, `read_chat_model`: a model that was made elsewhere, with what the recipe
//! declares of it compared with what the files say. Weights are copied as they are, in their own
//! width. Knows folders; does not know what the model is for.

use std::path::{Path, PathBuf};

use crate::train::data::chat::{ChatFormat, Template};
use crate::train::data::columns::quoted;
use crate::train::data::rows::Message;
use crate::train::data::tokenizer::Tokenizer;
use crate::train::data::tokenizer_files::{self, Names};
use crate::train::model::anywhere::is_gguf;
use crate::train::model::parameters::table;
use crate::train::model::{ModelConfig, SpecialTokens, folder, gguf, weights};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters, as `stdlib/model.recipe` states them.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadModel {
    /// The files of the model's folder.
    pub files: Vec<PathBuf>,
    pub is: ModelConfig,
    pub tokenizer: PathBuf,
    /// Of a chat model.
    pub template: Option<Template>,
}

/// Makes the folder `out`.
pub fn run(params: &ReadModel, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let declared = Declared {
        shape: &params.is,
        tokenizer: &Tokenizer::load(&params.tokenizer)?,
        template: params.template.as_ref(),
    };
    let out = context.out.join("out");
    let jinja = params.template.as_ref().map(|template| template.jinja.as_str());
    match params.files.as_slice() {
        [file] if is_gguf(file) => {
            let gguf::GgufModel { mut model, tokenizer, chat_template } = gguf::read(file)?;
            declared.compare(file, &model.config, Some(&tokenizer), chat_template)?;
            model.special = declared.special();
            folder::write(&out, &model, &params.tokenizer, jinja)?;
        }
        files => {
            let from = folder_of(files, "config.json", OURS)?;
            let (config, _) = folder::read_config(&from)?;
            let has = |name: &str| from.join(name).is_file();
            let own = ["tokenizer.json", "tokenizer.model"].into_iter().any(has);
            let own = own.then(|| declared.tokenizer_of(&from)).transpose()?;
            let template = folder::read_chat_template(&from)?;
            declared.compare(&from, &config, own.as_ref(), template)?;
            weights::open(&from, &config)?;
            folder::write_config(&out, &from, declared.special())?;
            folder::write_tokenizer(&out, &params.tokenizer, jinja)?;
            copy_weights(&from, &out, context)?;
        }
    }
    // What was written is what will be read.
    let (config, _) = folder::read_config(&out)?;
    weights::open(&out, &config)?;
    let parameters: usize = table(&config).iter().map(|spec| spec.len()).sum();
    Ok(vec![("parameters".into(), parameters as f64)])
}

/// What to do where there is no model.
const OURS: &str = "name a folder as Hugging Face lays models out, or a `.gguf` file";

/// What a recipe says of a model.
struct Declared<'a> {
    shape: &'a ModelConfig,
    tokenizer: &'a Tokenizer,
    template: Option<&'a Template>,
}

impl Declared<'_> {
    /// Compares it with what the files say; what they say nothing of is taken as declared.
    fn compare(
        &self,
        from: &Path,
        shape: &ModelConfig,
        tokenizer: Option<&Tokenizer>,
        chat_template: Option<String>,
    ) -> Result<(), Failure> {
        compare_shapes(from, self.shape, shape)?;
        if let Some(tokenizer) = tokenizer {
            compare_tokenizers(from, self.tokenizer, tokenizer)?;
        }
        match (self.template, chat_template) {
            (Some(declared), Some(jinja)) => {
                compare_templates(from, declared, jinja, self.tokenizer)
            }
            (Some(declared), None) => ChatFormat::new(declared)?.check_tokenizer(self.tokenizer),
            (None, _) => Ok(()),
        }
    }

    /// A folder's own tokenizer; where it names no special tokens, they are those declared.
    fn tokenizer_of(&self, folder: &Path) -> Result<Tokenizer, Failure> {
        let names = Names {
            bos: Some(self.tokenizer.bos().text.clone()),
            eos: Some(self.tokenizer.eos().text.clone()),
            unknown: None,
        };
        tokenizer_files::read(&[folder.to_path_buf()], &names)
    }

    fn special(&self) -> SpecialTokens {
        SpecialTokens { bos: self.tokenizer.bos().id, eos: self.tokenizer.eos().id }
    }
}

/// The folder in which the one file of this name lies; `remedy` is for where there is none.
pub(super) fn folder_of(files: &[PathBuf], config: &str, remedy: &str) -> Result<PathBuf, Failure> {
    let mut configs = files.iter().filter(|file| file.ends_with(config));
    match (configs.next(), configs.next()) {
        (Some(config), None) => Ok(config.parent().unwrap_or(Path::new("")).to_path_buf()),
        (Some(a), Some(b)) => {
            Err(Failure::input(format!("`{}` and `{}` are two models", a.display(), b.display()))
                .remedy("name the folder of one"))
        }
        (None, _) => {
            let names = files.iter().filter_map(|file| file.file_name()).take(8);
            let names = quoted(names.map(|name| name.to_string_lossy()));
            Err(Failure::input(format!("there is no `{config}` among {names}")).remedy(remedy))
        }
    }
}

/// Every size that differs is named at once.
fn compare_shapes(from: &Path, is: &ModelConfig, found: &ModelConfig) -> Result<(), Failure> {
    let sizes = |config: &ModelConfig| {
        [
            ("dim", config.dim.to_string()),
            ("layers", config.layers.to_string()),
            ("heads", config.heads.to_string()),
            ("kv_heads", config.kv_heads.to_string()),
            ("ffn", config.ffn.to_string()),
            ("vocab", config.vocab.to_string()),
            ("context", config.context.to_string()),
            ("norm_eps", config.norm_eps.to_string()),
            ("rope", config.rope.to_string()),
            ("scaling", format!("{:?}", config.rope_scaling)),
            ("tied", config.tied.to_string()),
        ]
    };
    let (declared, found) = (sizes(is), sizes(found));
    let wrong = declared.iter().zip(&found).filter(|(declared, found)| declared != found);
    let wrong: Vec<String> = wrong
        .map(|((name, declared), (_, found))| format!("`{name}` is {found} and not {declared}"))
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let message = format!("`{}` is of another shape: {}", from.display(), wrong.join(", "));
    Err(Failure::input(message).remedy("declare in `is` what the model is"))
}

/// Its own tokenizer must cut text as the declared one does.
fn compare_tokenizers(from: &Path, declared: &Tokenizer, own: &Tokenizer) -> Result<(), Failure> {
    let differ = |what: String| {
        let message =
            format!("the tokenizer of `{}` is not the declared one: {what}", from.display());
        Failure::input(message).remedy("declare the model's own, with `read_tokenizer`")
    };
    if own.vocab() != declared.vocab() {
        return Err(differ(format!("it has {} entries, not {}", own.vocab(), declared.vocab())));
    }
    for id in 0..own.vocab() as u32 {
        let (found, expected) = (own.entry(id), declared.entry(id));
        if found != expected {
            let shown = |entry: Option<String>| entry.unwrap_or_default();
            let (found, expected) = (shown(found), shown(expected));
            return Err(differ(format!("entry {id} is `{found}`, not `{expected}`")));
        }
    }
    match PROBES.into_iter().find(|text| own.encode(text) != declared.encode(text)) {
        Some(text) => Err(differ(format!("it cuts {text:?} in other places"))),
        None => Ok(()),
    }
}

/// Texts that tell tokenizers apart: blanks, digits, cases, scripts, signs.
const PROBES: [&str; 6] = [
    "The quick brown fox jumps over 13 lazy dogs.",
    "  two blanks, a\ttab\nand\n\nlines 1234567890 ",
    "naïve café — “quoted” … 東京 Москва 🦙",
    "let x = vec![0u8; 1 << 20]; // don't",
    "I'VE it'S 3.14e-5 user@example.com",
    "",
];

/// Its own template must write what the declared one writes.
fn compare_templates(
    from: &Path,
    declared: &Template,
    jinja: String,
    tokenizer: &Tokenizer,
) -> Result<(), Failure> {
    let expected = ChatFormat::new(declared)?;
    expected.check_tokenizer(tokenizer)?;
    let own = ChatFormat::new(&Template { jinja, ..declared.clone() })?;
    for turns in dialogues() {
        let (found, expected) = (own.text(1, &turns), expected.text(1, &turns));
        // What both refuse is no difference.
        if let (Ok(found), Ok(expected)) = (&found, &expected)
            && found != expected
        {
            return Err(Failure::input(format!(
                "the chat template of `{}` is not `{}`: for one dialogue it writes {found:?}, not \
                 {expected:?}",
                from.display(),
                declared.name
            ))
            .remedy("declare the model's own template"));
        }
    }
    Ok(())
}

/// Dialogues of one turn, of several, and with a system text.
fn dialogues() -> [Vec<Message>; 3] {
    let turns = |turns: &[(&str, &str)]| {
        turns.iter().map(|(role, content)| Message::new(*role, *content)).collect::<Vec<_>>()
    };
    [
        turns(&[("user", "Hello."), ("assistant", "Good day.")]),
        turns(&[("user", "a"), ("assistant", "b"), ("user", " c "), ("assistant", "d\n")]),
        turns(&[("system", "Be short."), ("user", "Who?"), ("assistant", "I.")]),
    ]
}

fn copy_weights(from: &Path, out: &Path, context: &mut Context<'_>) -> Result<(), Failure> {
    let mut names = weights::files(from)?;
    if names != [weights::WHOLE] && from.join(weights::INDEX).is_file() {
        names.push(weights::INDEX.into());
    }
    for (done, name) in names.iter().enumerate() {
        if context.progress.cancelled() {
            return Err(Failure::Interrupted);
        }
        context.progress.at(done as u64, names.len() as u64, "files", &[]);
        let (source, copy) = (from.join(name), out.join(name));
        reflink_copy::reflink_or_copy(&source, &copy).map_err(Failure::io(&copy))?;
    }
    Ok(())
}
