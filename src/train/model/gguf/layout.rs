//! The tensors of a decoder as llama.cpp names and orders them. Its rotary positions turn
//! neighbouring elements of a head where Hugging Face's turn element i with i + width/2, so the
//! rows of queries and keys stand in another order inside each head. Knows names and rows; does not
//! know files.

use crate::train::model::ModelConfig;
use crate::train::model::encoding::Encoding;
use crate::train::model::parameters::{TensorSpec, table};

/// The divisors of rotary frequencies, where positions are stretched.
pub const ROPE_FREQUENCIES: &str = "rope_freqs.weight";

/// The parts of a block: ours, llama.cpp's.
const BLOCK: [(&str, &str); 9] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// A parameter in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Laid {
    pub spec: TensorSpec,
    /// The name there.
    pub name: String,
    /// The width of the heads inside which rows stand in another order.
    turned: Option<usize>,
}

/// The parameters of a decoder, in the order of [`table`].
pub fn laid(config: &ModelConfig) -> Vec<Laid> {
    table(config).into_iter().map(|spec| Laid::of(spec, config.head_dim())).collect()
}

impl Laid {
    fn of(spec: TensorSpec, head_width: usize) -> Laid {
        let name = match spec.name.as_str() {
            "model.embed_tokens.weight" => "token_embd.weight".to_string(),
            "model.norm.weight" => "output_norm.weight".to_string(),
            "lm_head.weight" => "output.weight".to_string(),
            name => block_name(name),
        };
        let turned = ["attn_q", "attn_k"].iter().any(|part| name.contains(part));
        Laid { spec, name, turned: turned.then_some(head_width) }
    }

    /// Norms stay f32.
    pub fn encoding(&self, of_matrices: Encoding) -> Encoding {
        if self.spec.shape.len() == 1 { Encoding::F32 } else { of_matrices }
    }

    /// How many numbers a row holds.
    pub fn row(&self) -> usize {
        *self.spec.shape.last().expect("a parameter has a size")
    }

    /// For each row of the file, the row of ours that it is.
    pub fn rows(&self) -> impl Iterator<Item = usize> {
        let (count, turned) = (self.spec.len() / self.row(), self.turned);
        (0..count).map(move |row| turned.map_or(row, |width| row_of_ours(row, width)))
    }

    /// Whether rows stand in another order than ours.
    pub fn is_turned(&self) -> bool {
        self.turned.is_some()
    }

    /// Numbers, or bytes, in the file's order of rows, brought into ours.
    pub fn ours<T: Copy + Default>(&self, theirs: Vec<T>) -> Vec<T> {
        if self.turned.is_none() {
            return theirs;
        }
        let width = theirs.len() / (self.spec.len() / self.row());
        let mut ours = vec![T::default(); theirs.len()];
        for (row, from) in self.rows().zip(theirs.chunks_exact(width)) {
            ours[row * width..(row + 1) * width].copy_from_slice(from);
        }
        ours
    }
}

/// Row 2j + s of a head is our row s·width/2 + j of it.
fn row_of_ours(row: usize, width: usize) -> usize {
    let (head, within) = (row / width, row % width);
    head * width + within % 2 * (width / 2) + within / 2
}

/// `model.layers.3.mlp.up_proj.weight` → `blk.3.ffn_up.weight`.
fn block_name(name: &str) -> String {
    let parts = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
    let (layer, part) = parts.expect("a block's parameter");
    let part = part.strip_suffix(".weight").expect("parameters are weights");
    let found = BLOCK.iter().find(|(ours, _)| *ours == part);
    let (_, theirs) = found.expect("every part of a block has a name");
    format!("blk.{layer}.{theirs}.weight")
}
