//! `quantize` and models in NF4: what is written is bitsandbytes' and is used like any other model;
//! files that lie are refused.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use candle_core::{Device, Tensor as Candle};
use llamake::train::data::vocabulary::Manner;
use llamake::train::model::encoding::Encoding;
use llamake::train::model::tensor::{Packed, Stored, Tensor};
use llamake::train::model::{ModelConfig, folder, weights};
use llamake::train::progress::{Context, Failure, Metrics};
use llamake::train::stage::export::Target;
use llamake::train::stage::quantize::{self, Codes, Quantize};

use super::export::{Folder, model, tokenizer, wide};
use super::file;
use super::fixtures::{Heard, message};

const QUERY: &str = "model.layers.0.self_attn.q_proj.weight";

fn quantised(folder: &Folder, double_quant: bool, out: &str) -> Result<Metrics, Failure> {
    quantised_to(folder, "model", Codes::Nf4, double_quant, out)
}

fn quantised_to(
    folder: &Folder,
    from: &str,
    to: Codes,
    double_quant: bool,
    out: &str,
) -> Result<Metrics, Failure> {
    let texts = [r#"{"text":"The cat saw the dog."}"#, r#"{"text":"Another village."}"#].join("\n");
    let data = file(&folder.at(""), "texts", texts);
    std::fs::create_dir(folder.at(out)).unwrap();
    let params = Quantize {
        model: folder.at(from),
        to,
        double_quant,
        dtype: Encoding::F32,
        data: Some(data),
    };
    let mut heard = Heard::default();
    quantize::run(&params, &mut Context::new(2, folder.at(out), &mut heard))
}

fn figure(metrics: &Metrics, name: &str) -> f64 {
    metrics.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no {name}")).1
}

#[test]
fn a_quantised_model_is_smaller_and_nearly_as_good() {
    let folder = Folder::of(&model(360), &tokenizer(Manner::ByteLevel, true), None);
    for (double, out) in [(false, "plain"), (true, "double")] {
        let metrics = quantised(&folder, double, out).unwrap();
        let [before, after] =
            ["before", "after"].map(|when| figure(&metrics, &format!("perplexity {when}")));
        assert!(before > 1.0 && (after / before - 1.0).abs() < 0.5, "{before} became {after}");
        assert_ne!(before, after);
        // Normal numbers lose 9 to 10 hundredths.
        let error = figure(&metrics, "relative error");
        assert!(error > 0.07 && error < 0.11, "{error}");
        let out = folder.at(out).join("out");
        let read = folder::open(&out).unwrap();
        let query = &read.weights.blocks[0].query_dd;
        assert!(
            matches!(query, Stored::Nf4(_)) && matches!(read.weights.head_vd, Stored::File { .. })
        );
        // Read into memory it is a model of f32 with the same numbers.
        let floats = folder::read(&out).unwrap();
        assert_eq!(floats.weights.blocks[0].query_dd, query.elements().to_floats());
        assert_eq!(floats.weights.head_vd, model(360).weights.head_vd);
        let config = std::fs::read_to_string(out.join("config.json")).unwrap();
        assert!(config.contains(&format!("\"bnb_4bit_use_double_quant\": {double}")), "{config}");
    }
    // The map of 256 entries of each small matrix weighs more than what double quantisation saves.
    let plain = folder::bytes(&folder.at("plain").join("out")).unwrap();
    assert!(plain < folder::bytes(&folder.at("model")).unwrap());
}

#[test]
fn what_is_quantised_is_not_rounded_again() {
    let folder = Folder::of(&model(360), &tokenizer(Manner::ByteLevel, true), None);
    quantised(&folder, true, "first").unwrap();
    let first = folder::read(&folder.at("first").join("out")).unwrap();
    folder.export("first/out", Target::Bnb4, Encoding::F32).unwrap();
    let again = folder::read(&folder.at("result/out")).unwrap();
    assert_eq!(again.weights, first.weights);
    folder.export("first/out", Target::Hf, Encoding::F32).unwrap();
    assert_eq!(folder::read(&folder.at("result/out")).unwrap().weights, first.weights);
}

const GGML: [Encoding; 3] = [Encoding::Q8_0, Encoding::Q4_0, Encoding::Q4_K];

/// The perplexity after is that of what was written: the dequantised numbers have it too.
#[test]
fn a_model_in_blocks_of_ggml_is_used_and_exported_as_it_is() {
    let folder = Folder::of(&wide(364), &tokenizer(Manner::SentencePiece, true), None);
    for encoding in GGML {
        let name = encoding.name();
        let metrics = quantised_to(&folder, "model", Codes::Ggml(encoding), true, name).unwrap();
        let error = figure(&metrics, "relative error");
        assert!(error > 0.002 && error < 0.12, "{name}: {error}");
        let out = folder.at(name).join("out");
        let opened = folder::open(&out).unwrap();
        let block = &opened.weights.blocks[0];
        assert!(matches!(block.query_dd, Stored::Ggml(Packed::Memory(_), _)), "rows are turned");
        assert!(matches!(block.up_fd, Stored::Ggml(Packed::File(..), _)));
        assert!(matches!(opened.weights.head_vd, Stored::Ggml(..)));
        let rounded = |numbers: &Vec<f32>| encoding.rounded(numbers);
        let read = folder::read(&out).unwrap();
        assert_eq!(read.weights.blocks[1].key_kd, rounded(&wide(364).weights.blocks[1].key_kd));
        assert_eq!(read.weights.embedding_vd, rounded(&wide(364).weights.embedding_vd));

        folder.export(&format!("{name}/out"), Target::Hf, Encoding::F32).unwrap();
        let again = quantised_to(&folder, "result/out", Codes::Nf4, true, &format!("{name}-wide"));
        let after = figure(&metrics, "perplexity after");
        assert_eq!(figure(&again.unwrap(), "perplexity before"), after, "{name}");
        assert_ne!(figure(&metrics, "perplexity before"), after);

        let bytes = std::fs::read(out.join("model.gguf")).unwrap();
        let moved = folder.export(&format!("{name}/out"), Target::Gguf, encoding).unwrap();
        assert_eq!(figure(&moved, "largest_logit_error"), 0.0);
        assert!(std::fs::read(folder.at("result/out/model.gguf")).unwrap() == bytes, "{name}");
        // Nor is a model quantised again that is in such blocks.
        let twice = format!("{name}-twice");
        let from = format!("{name}/out");
        let metrics = quantised_to(&folder, &from, Codes::Ggml(encoding), true, &twice).unwrap();
        assert_eq!(figure(&metrics, "relative error"), 0.0);
        assert!(std::fs::read(folder.at(&twice).join("out/model.gguf")).unwrap() == bytes);
    }
}

#[test]
fn a_folder_whose_blocks_are_of_another_shape_is_refused() {
    let folder = Folder::of(&wide(364), &tokenizer(Manner::SentencePiece, true), None);
    quantised_to(&folder, "model", Codes::Ggml(Encoding::Q4_0), true, "small").unwrap();
    let out = folder.at("small/out");
    let config = out.join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let other = text.replace("\"max_position_embeddings\": 32", "\"max_position_embeddings\": 64");
    assert_ne!(other, text);
    std::fs::write(&config, other).unwrap();
    let said = message(folder::open(&out));
    assert!(said.contains("model.gguf") && said.contains("context: 32"), "{said}");

    let narrow = Folder::of(&model(364), &tokenizer(Manner::SentencePiece, true), None);
    let said = quantised_to(&narrow, "model", Codes::Ggml(Encoding::Q4_K), true, "out");
    assert!(message(said).contains("hold 32 numbers, and q4_K needs a multiple of 256"));
}

/// Rewrites the tensors of a quantised model.
fn rewrite(path: &Path, change: impl FnOnce(&mut HashMap<String, Candle>)) {
    let mut tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    change(&mut tensors);
    candle_core::safetensors::save(&tensors, path).unwrap();
}

#[test]
fn files_that_lie_about_their_blocks_are_refused() {
    let model = model(360);
    let folder = Folder::of(&model, &tokenizer(Manner::ByteLevel, true), None);
    quantised(&folder, true, "good").unwrap();
    let path = folder.at("good").join("out/model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let lie = |part: &str, with: Option<Candle>, expected: &str| {
        std::fs::write(&path, &whole).unwrap();
        let name = if part.is_empty() { QUERY.to_string() } else { format!("{QUERY}.{part}") };
        rewrite(&path, |tensors| match with {
            Some(tensor) => _ = tensors.insert(name, tensor),
            None => _ = tensors.remove(&name).unwrap(),
        });
        let said = message(weights::open(path.parent().unwrap(), &model.config));
        assert!(said.contains(QUERY) && said.contains(expected), "{said}");
    };
    let bytes = |bytes: Vec<u8>| {
        let len = bytes.len();
        Some(Candle::from_vec(bytes, len, &Device::Cpu).unwrap())
    };
    let state = "quant_state.bitsandbytes__nf4";
    let text = |text: &str| bytes(text.as_bytes().to_vec());
    lie("", bytes(vec![0; 7]), "has 7 bytes, expected 512");
    lie("absmax", None, "has no `absmax`");
    lie("absmax", bytes(vec![0; 3]), "has 3 scales");
    lie("nested_absmax", bytes(vec![0; 4]), "needs a `nested_absmax` of 1 finite numbers in f32");
    lie("nested_quant_map", None, "has no `nested_quant_map`");
    lie("quant_map", bytes(vec![0; 64]), "needs a `quant_map` of 16");
    lie(state, None, "does not say what they mean");
    lie(state, text("{"), "cannot be read");
    let say = |more: &str, shape: &str, size: usize| {
        text(&format!(r#"{{"quant_type":"nf4","blocksize":{size},"shape":{shape}{more}}}"#))
    };
    lie(state, say("", "[32,32]", 128), "in blocks of 128; only nf4 in blocks of 64");
    lie(state, say("", "[1,18446744073709551615]", 64), "has shape [1, 18446744073709551615]");
    lie(state, say("", "[32,32]", 64), "has scales of 8 bits, and");
    let huge = r#","nested_blocksize":256,"nested_offset":1e300"#;
    lie(state, say(huge, "[32,32]", 64), "the offset");
    let config = path.with_file_name("config.json");
    let gptq = std::fs::read_to_string(&config).unwrap().replace("bitsandbytes", "gptq");
    let said = message(ModelConfig::from_json(&gptq, &config));
    assert!(said.contains("quantised by \"gptq\""), "{said}");
}

/// bitsandbytes itself reads what was written, and reads the same numbers.
#[test]
fn bitsandbytes_reads_what_was_written() {
    let folder = Folder::of(&model(360), &tokenizer(Manner::ByteLevel, true), None);
    folder.export("model", Target::Bnb4, Encoding::F32).unwrap();
    let Some(python) = std::env::var_os("LLAMAKE_PYTHON") else {
        println!("not checked by bitsandbytes: `LLAMAKE_PYTHON` is not set");
        return;
    };
    let golden = std::env::var_os("LLAMAKE_GOLDEN").unwrap_or("../shared/golden".into());
    let golden = std::env::split_paths(&golden).next().unwrap();
    let read = folder::read(&folder.at("result/out")).unwrap();
    for (name, numbers, rows) in [
        ("model.layers.0.self_attn.q_proj.", &read.weights.blocks[0].query_dd, 32),
        ("model.layers.1.mlp.down_proj.", &read.weights.blocks[1].down_df, 32),
    ] {
        let claims = folder.at("claims.safetensors");
        let tensor = Candle::from_slice(numbers, (rows, numbers.len() / rows), &Device::Cpu);
        let claim = HashMap::from([("dequantised", tensor.unwrap())]);
        candle_core::safetensors::save(&claim, &claims).unwrap();
        let mut command = Command::new(&python);
        command.arg(golden.join("check_export.py")).args(["bnb4", "--prefix", name, "--path"]);
        let done = command.arg(folder.at("result/out")).arg("--claims").arg(claims).output();
        let done = done.unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    }
}
