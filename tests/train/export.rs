//! `export`: what is written is read back alike, of every encoding, and what cannot be is refused.

use std::path::Path;

use llamake::train::data::tokenizer::Tokenizer;
use llamake::train::data::vocabulary::{Manner, Vocabulary};
use llamake::train::model::encoding::Encoding;
use llamake::train::model::folder::{self, ModelFolder};
use llamake::train::model::{ModelConfig, SpecialTokens, gguf, weights};
use llamake::train::progress::{Context, Failure, Metrics};
use llamake::train::stage::export::{self, Export, GGUF_FILE, Target};

use super::fixtures::{Heard, config, lively, message};

const TEXT: &str = "The cat saw the dog; the dog saw the cat.\n\n\tif x == 12345:\n\tgo()\n\n\n\
    A naïve café has the best coffee in the town, and Ada's cat likes the coffee there. \
    The farmer's daughter walked slowly towards another village before the winter began, \
    singing quietly about mountains and rivers which nobody had visited. ";

/// A tokenizer with entries for words and runs of lines.
pub fn tokenizer(manner: Manner, byte_fallback: bool) -> Tokenizer {
    tokenizer_of(TEXT, manner, byte_fallback)
}

fn tokenizer_of(text: &str, manner: Manner, byte_fallback: bool) -> Tokenizer {
    let vocabulary = Vocabulary {
        size: if byte_fallback { 340 } else { 60 },
        manner,
        split_digits: true,
        byte_fallback,
        bos: "<s>".into(),
        eos: "</s>".into(),
        unknown: "<unk>".into(),
    };
    vocabulary.train(&vocabulary.count_words(&[text.repeat(7)], 1), 1).unwrap()
}

/// A model whose rows are whole blocks, with a vocabulary of that many rows.
pub fn model(vocab: usize) -> ModelFolder {
    let config = ModelConfig { dim: 32, heads: 4, kv_heads: 2, ffn: 64, vocab, ..config() };
    let weights = lively(&config, 3);
    ModelFolder { config, special: SpecialTokens { bos: 1, eos: 2 }, weights }
}

/// One whose rows are whole blocks of 256.
pub fn wide(vocab: usize) -> ModelFolder {
    let config = ModelConfig { dim: 256, heads: 8, kv_heads: 4, ffn: 512, ..model(vocab).config };
    let mut weights = lively(&config, 3);
    for matrix in weights.tensors_mut().into_iter().filter(|tensor| tensor.len() > 256) {
        // A sum of eight times as many products stays as large.
        matrix.iter_mut().for_each(|x| *x *= 0.35);
    }
    ModelFolder { config, weights, ..model(vocab) }
}

/// A model's folder.
pub struct Folder {
    root: tempfile::TempDir,
}

impl Folder {
    pub fn of(model: &ModelFolder, tokenizer: &Tokenizer, template: Option<&str>) -> Folder {
        let folder = Folder { root: tempfile::tempdir().unwrap() };
        std::fs::create_dir(folder.at("tokenizer")).unwrap();
        tokenizer.save(&folder.at("tokenizer")).unwrap();
        folder::write(&folder.at("model"), model, &folder.at("tokenizer"), template).unwrap();
        folder
    }

    pub fn at(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join(name)
    }

    pub fn export(&self, from: &str, to: Target, dtype: Encoding) -> Result<Metrics, Failure> {
        let out = self.at("result");
        let _ = std::fs::remove_dir_all(&out);
        std::fs::create_dir(&out).unwrap();
        let mut heard = Heard::default();
        let params = Export { model: self.at(from).into(), to, dtype };
        export::run(&params, &mut Context::new(1, out, &mut heard))
    }
}

fn moved(metrics: &Metrics) -> f64 {
    metrics.iter().find(|(name, _)| name == "largest_logit_error").unwrap().1
}

#[test]
fn every_form_is_read_back() {
    let turns = concat!(
        "{{ bos_token }}{% for turn in messages %}",
        "{{ turn['content'] | trim }}{{ eos_token }}{% endfor %}",
    );
    for manner in [Manner::SentencePiece, Manner::ByteLevel] {
        let tokenizer = tokenizer(manner, true);
        for dtype in Encoding::ALL {
            let model = if dtype.group() > 32 { wide(364) } else { model(364) };
            let folder = Folder::of(&model, &tokenizer, Some(turns));
            let metrics = folder.export("model", Target::Gguf, dtype).unwrap();
            assert_eq!(moved(&metrics) == 0.0, dtype == Encoding::F32, "{dtype:?}");
            let read = gguf::read(&folder.at("result/out").join(GGUF_FILE)).unwrap();
            assert_eq!(read.model.config, model.config);
            assert_eq!(read.chat_template.as_deref(), Some(turns));
            assert_eq!(read.tokenizer.encode(TEXT), tokenizer.encode(TEXT));
            if dtype.group() == 1 {
                let metrics = folder.export("model", Target::Hf, dtype).unwrap();
                assert_eq!(moved(&metrics) == 0.0, dtype == Encoding::F32, "{dtype:?}");
                let jinja = std::fs::read_to_string(folder.at("result/out/chat_template.jinja"));
                assert_eq!(jinja.unwrap(), turns);
            }
        }
    }
}

#[test]
fn a_gguf_file_becomes_a_folder_again() {
    let model = model(360);
    let folder = Folder::of(&model, &tokenizer(Manner::SentencePiece, true), None);
    folder.export("model", Target::Gguf, Encoding::F32).unwrap();
    std::fs::rename(folder.at("result/out").join(GGUF_FILE), folder.at("a.gguf")).unwrap();
    folder.export("a.gguf", Target::Hf, Encoding::F32).unwrap();
    let read = folder::read(&folder.at("result/out")).unwrap();
    assert_eq!((read.config, read.special), (model.config, model.special));
    assert_eq!(read.weights, model.weights);
}

/// Our cut parts blanks before they are merged; llama.cpp's merging would join them.
#[test]
fn text_that_would_be_cut_differently_is_named() {
    let blanks = format!("{TEXT}two  blanks   three    four     five  ");
    let tokenizer = tokenizer_of(&blanks, Manner::SentencePiece, true);
    assert!((0..340).any(|id| tokenizer.to_json()["model"]["vocab"]["▁▁"] == id));
    let folder = Folder::of(&model(360), &tokenizer, None);
    let said = message(folder.export("model", Target::Gguf, Encoding::F32));
    assert!(said.starts_with("the exported tokenizer cuts \" It's 1,234.50 euros"), "{said}");
    folder.export("model", Target::Hf, Encoding::F32).unwrap();
}

#[test]
fn what_a_form_cannot_hold_is_refused() {
    let bytes = tokenizer(Manner::ByteLevel, true);
    let folder = Folder::of(&model(360), &bytes, None);
    let said = message(folder.export("model", Target::Hf, Encoding::Q8_0));
    assert_eq!(said, "a Hugging Face folder cannot hold q8_0");

    let narrow = ModelConfig { dim: 24, heads: 6, ..model(360).config };
    let weights = lively(&narrow, 1);
    let odd = ModelFolder { config: narrow, weights, ..model(360) };
    let folder = Folder::of(&odd, &bytes, None);
    let said = message(folder.export("model", Target::Gguf, Encoding::Q8_0));
    assert!(said.contains("hold 24 numbers, and q8_0 needs a multiple of 32"), "{said}");

    let folder = Folder::of(&model(360), &bytes, None);
    let said = folder.export("model", Target::Gguf, Encoding::Q4_K).unwrap_err();
    let Failure::Input { message: fact, remedy } = said else { panic!("{said:?}") };
    assert!(fact.contains("hold 32 numbers, and q4_K needs a multiple of 256"), "{fact}");
    assert_eq!(remedy.as_deref(), Some("choose `\"q4_0\"` or `\"q8_0\"`"));

    let pieces = tokenizer(Manner::SentencePiece, false);
    let folder = Folder::of(&model(60), &pieces, None);
    let said = message(folder.export("model", Target::Gguf, Encoding::F32));
    assert!(said.contains("GGUF has no name for the way"), "{said}");

    let folder = Folder::of(&model(300), &bytes, None);
    for to in [Target::Hf, Target::Gguf] {
        let said = message(folder.export("model", to, Encoding::F32));
        assert!(said.ends_with("has 340 entries and the model 300"), "{said}");
    }
}

#[test]
fn numbers_that_would_be_lost_are_named() {
    for (number, to, dtype) in [
        (70_000.0, Target::Gguf, Encoding::F16),
        (70_000.0, Target::Hf, Encoding::F16),
        (f32::MAX, Target::Hf, Encoding::Bf16),
        (1e8, Target::Gguf, Encoding::Q8_0),
        (f32::NAN, Target::Gguf, Encoding::F32),
        (f32::INFINITY, Target::Hf, Encoding::F32),
    ] {
        let mut model = model(360);
        model.weights.blocks[1].up_fd[7] = number;
        let folder = Folder::of(&model, &tokenizer(Manner::ByteLevel, true), None);
        let said = message(folder.export("model", to, dtype));
        let expected = format!("tensor `model.layers.1.mlp.up_proj.weight` holds {number}, which ");
        assert!(said.starts_with(&expected), "{said}");
    }
}

#[test]
fn large_models_are_written_in_several_files() {
    let (folder, model) = (tempfile::tempdir().unwrap(), model(360));
    let save = |encoding, largest| {
        weights::save_in(folder.path(), &model.config, &model.weights, encoding, largest).unwrap();
    };
    save(Encoding::F32, 20_000);
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() > 3 && names[0].starts_with("model-00001-of-0000"), "{names:?}");
    assert_eq!(names.last().unwrap(), weights::INDEX);
    assert_eq!(weights::load(folder.path(), &model.config).unwrap(), model.weights);
    for name in &names[..names.len() - 1] {
        let size = std::fs::metadata(folder.path().join(name)).unwrap().len();
        // The embedding and the head are larger than a file should be.
        assert!(size < 50_000, "{name}: {size}");
    }
}

#[test]
fn rounding_is_to_the_nearest() {
    let check = |encoding: Encoding, numbers: &[f32], want: &[f32]| {
        assert_eq!(encoding.rounded(numbers), want, "{encoding:?}");
    };
    check(Encoding::F16, &[1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0], &[1.0, 1.0 + 1.0 / 512.0]);
    check(Encoding::Bf16, &[1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0], &[1.0, 1.0 + 1.0 / 64.0]);
    let mut block = [0.0f32; 32];
    (block[0], block[1], block[2], block[3]) = (127.0, 0.5, -0.5, 1.49);
    let mut want = [0.0f32; 32];
    (want[0], want[1], want[2], want[3]) = (127.0, 1.0, -1.0, 1.0);
    check(Encoding::Q8_0, &block, &want);
    check(Encoding::Q8_0, &[0.0; 32], &[0.0; 32]);
    (block[0], block[1], block[2], block[3], block[31]) = (-8.0, 0.5, -0.5, 7.6, 3.49);
    (want[0], want[1], want[2], want[3], want[31]) = (-8.0, 1.0, 0.0, 7.0, 3.0);
    check(Encoding::Q4_0, &block, &want);
    check(Encoding::Q4_0, &[0.0; 32], &[0.0; 32]);
    for encoding in Encoding::ALL {
        assert_eq!(Encoding::named(encoding.name()), Some(encoding));
        let numbers: Vec<f32> = (0..256).map(|at| ((at % 64) as f32 - 31.0) / 7.0).collect();
        let rounded = encoding.rounded(&numbers);
        if encoding != Encoding::Q4_K {
            assert_eq!(encoding.rounded(&rounded), rounded, "{encoding:?} rounds once");
        }
        let largest = 33.0 / 7.0;
        let near = |(a, b): (&f32, &f32)| f64::from((a - b).abs()) <= encoding.unit() * largest;
        assert!(numbers.iter().zip(&rounded).all(near), "{encoding:?}");
    }
}

#[test]
fn an_interrupted_export_ends_soon() {
    let folder = Folder::of(&model(360), &tokenizer(Manner::ByteLevel, true), None);
    let mut heard = Heard { end: Some(super::fixtures::End::Stop(2)), ..Heard::default() };
    let out = folder.at("stopped");
    std::fs::create_dir(&out).unwrap();
    let params =
        Export { model: folder.at("model").into(), to: Target::Gguf, dtype: Encoding::F32 };
    let ended = export::run(&params, &mut Context::new(1, out, &mut heard));
    assert!(matches!(ended, Err(Failure::Interrupted)), "{ended:?}");
    assert_eq!(heard.reports, 2);
    assert!(Path::new(&params.model.base).is_dir());
}
