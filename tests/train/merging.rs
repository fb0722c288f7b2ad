//! `merge`: what becomes of an adapter's base, quantised or not, and what is told of it.

use llamake::train::data::vocabulary::Manner;
use llamake::train::kernels::Threads;
use llamake::train::kernels::rng::Stream;
use llamake::train::model::encoding::Encoding;
use llamake::train::model::lora::{Adapter, LoraSettings};
use llamake::train::model::projection::Which;
use llamake::train::model::tensor::Dtype;
use llamake::train::model::tensor::Stored;
use llamake::train::model::{ModelPath, folder, peft};
use llamake::train::progress::{Context, Failure, Metrics};
use llamake::train::stage::merge::{self, Merge};
use llamake::train::stage::quantize::{self, Codes, Quantize};

use super::export::{Folder, model, tokenizer, wide};
use super::file;
use super::fixtures::{Heard, message};

/// A model, the same in codes, and an adapter of that.
struct Lab {
    folder: Folder,
    error: f64,
}

impl Lab {
    fn new(codes: Codes) -> Lab {
        let model = if codes == Codes::Nf4 { model(360) } else { wide(360) };
        let folder = Folder::of(&model, &tokenizer(Manner::ByteLevel, true), None);
        file(&folder.at(""), "texts", r#"{"text":"The cat saw the dog. The dog saw the cat."}"#);
        std::fs::create_dir(folder.at("small")).unwrap();
        let params = Quantize {
            model: folder.at("model"),
            to: codes,
            double_quant: true,
            dtype: Encoding::F32,
            data: None,
        };
        let mut heard = Heard::default();
        let metrics =
            quantize::run(&params, &mut Context::new(2, folder.at("small"), &mut heard)).unwrap();
        let lab = Lab { error: figure(&metrics, "relative error"), folder };
        lab.write_adapter();
        lab
    }

    fn base(&self) -> std::path::PathBuf {
        self.folder.at("small/out")
    }

    fn write_adapter(&self) {
        let settings = LoraSettings {
            rank: 2,
            alpha: 3.0,
            dropout: 0.0,
            targets: Which::ALL.to_vec(),
            rslora: false,
            dora: false,
        };
        let base = folder::open(&self.base()).unwrap();
        let t = Threads::new(1);
        let mut adapter = Adapter::untrained(&t, &base.config, &base.weights, &settings, 9);
        let mut walk = Stream::new(5, "adapter").walk();
        for tensor in adapter.tensors_mut() {
            tensor.iter_mut().for_each(|x| *x += 0.002 * (walk.below(100) as f32 - 50.0));
        }
        let out = self.folder.at("adapter");
        peft::write(&out, &base.config, &adapter).unwrap();
        folder::write_tokenizer(&out, &self.base(), None).unwrap();
    }

    fn params(&self, dtype: Encoding) -> Merge {
        let adapter = Some(self.folder.at("adapter"));
        Merge {
            adapter: ModelPath { base: self.base(), adapter },
            into: self.base(),
            dtype,
            original: Some(self.folder.at("model")),
            data: Some(self.folder.at("texts")),
        }
    }

    fn merge(&self, params: &Merge, threads: usize, out: &str) -> Result<Metrics, Failure> {
        std::fs::create_dir(self.folder.at(out)).unwrap();
        let mut heard = Heard::default();
        merge::run(params, &mut Context::new(threads, self.folder.at(out), &mut heard))
    }

    fn weights(&self, out: &str) -> Vec<u8> {
        std::fs::read(self.folder.at(out).join("out/model.safetensors")).unwrap()
    }
}

fn figure(metrics: &Metrics, name: &str) -> f64 {
    metrics.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no {name}")).1
}

#[test]
fn a_quantised_base_is_widened_and_what_it_lost_is_told() {
    for codes in [Codes::Nf4, Codes::Ggml(Encoding::Q4_0), Codes::Ggml(Encoding::Q4_K)] {
        let lab = Lab::new(codes);
        let metrics = lab.merge(&lab.params(Encoding::F32), 1, "one").unwrap();
        assert_eq!(figure(&metrics, "error of the base"), lab.error);
        let worth = |name: &str| figure(&metrics, &format!("perplexity {name}"));
        let (worn, merged) = (worth("under the adapter"), worth("merged"));
        assert!((merged / worn - 1.0).abs() < 1e-4, "{codes:?}: {worn} became {merged}");
        let mut different = vec![worth("of the original"), worth("of the base"), worn];
        different.dedup();
        assert_eq!(different.len(), 3, "{different:?}");
        lab.merge(&lab.params(Encoding::F32), 3, "three").unwrap();
        assert!(lab.weights("one") == lab.weights("three"), "{codes:?}");
    }
}

#[test]
fn a_merged_model_may_be_of_16_bits_and_its_rounding_is_told() {
    let lab = Lab::new(Codes::Nf4);
    let wide = lab.merge(&lab.params(Encoding::F32), 1, "wide").unwrap();
    assert!(wide.iter().all(|(name, _)| name != "rounding error"));
    let metrics = lab.merge(&lab.params(Encoding::Bf16), 1, "narrow").unwrap();
    let error = figure(&metrics, "rounding error");
    assert!(error > 1e-4 && error < Encoding::Bf16.unit(), "{error}");
    let read = |out: &str| folder::open(&lab.folder.at(out).join("out")).unwrap().weights;
    let narrow = read("narrow");
    assert!(matches!(&narrow.blocks[0].up_fd, Stored::File { dtype: Dtype::Bf16, .. }));
    let (narrow, wide) = (narrow.map(Stored::into_floats), read("wide").map(Stored::into_floats));
    for (narrow, wide) in narrow.tensors().into_iter().zip(wide.tensors()) {
        assert_eq!(narrow, Encoding::Bf16.rounded(wide));
    }
    let config = std::fs::read_to_string(lab.folder.at("narrow/out/config.json")).unwrap();
    assert!(config.contains("bfloat16") && !config.contains("quantization_config"), "{config}");
}

#[test]
fn an_original_that_says_nothing_of_the_base_is_refused() {
    let lab = Lab::new(Codes::Nf4);
    let over = |base: &str| Merge {
        into: lab.folder.at(base),
        adapter: ModelPath { base: lab.folder.at(base), ..lab.params(Encoding::F32).adapter },
        ..lab.params(Encoding::F32)
    };
    let said = message(lab.merge(&over("model"), 1, "a"));
    assert_eq!(said, "the base is not quantised, so it has no other `original`");
    let other = Folder::of(&wide(360), &tokenizer(Manner::ByteLevel, true), None);
    let original = Some(other.at("model"));
    let said = message(lab.merge(&Merge { original, ..lab.params(Encoding::F32) }, 1, "b"));
    assert_eq!(said, "`original` has another shape than the base");
}
