//! Every parameter of a decoder: its name, its shape, its part in the network, and a place for its
//! numbers. The same places hold weights, gradients or moments. Knows no files and no arithmetic.

use super::config::{Head, ModelConfig};
use super::tensor::{Stored, Tensor};
use super::trainable::Group;
use crate::train::kernels::Elements;

/// What a parameter does, which decides how it starts and whether it decays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Embedding,
    /// Reads the residual stream.
    Projection,
    /// Writes into the residual stream.
    Residual,
    Norm,
    Head,
    /// A of an adapter, whose gradient is zero until B is not.
    Narrowing,
    /// B of an adapter.
    Widening,
    /// By how much an adapter makes each output as large as it is.
    Magnitude,
}

/// One row of the table of parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// The name that Hugging Face's Llama gives it.
    pub name: String,
    /// One size for a norm; outputs, then inputs for a matrix.
    pub shape: Vec<usize>,
    pub role: Role,
}

impl TensorSpec {
    pub(super) fn new(name: impl Into<String>, shape: &[usize], role: Role) -> TensorSpec {
        TensorSpec { name: name.into(), shape: shape.to_vec(), role }
    }

    /// How many numbers it holds.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// False: no parameter is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Tensors of a block.
pub const BLOCK_TENSORS: usize = 9;

/// The parameters of one block, in the order in which a token meets them.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockParameters<T = Vec<f32>> {
    pub attention_norm_d: T,
    pub query_dd: T,
    pub key_kd: T,
    pub value_kd: T,
    pub output_dd: T,
    pub mlp_norm_d: T,
    pub gate_fd: T,
    pub up_fd: T,
    pub down_df: T,
}

/// One tensor for each parameter of a decoder: buffers that can be trained, or what a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters<T = Vec<f32>> {
    pub embedding_vd: T,
    pub blocks: Vec<BlockParameters<T>>,
    pub norm_d: T,
    /// Of a reward model one row. Empty where the head is the embedding; among gradients never, see
    /// [`Parameters::tie`] and [`super::Trainable`].
    pub head_vd: T,
    /// Empty but under PPO.
    pub value_d: T,
    /// Whether the head is a parameter of its own.
    own_head: bool,
    valued: bool,
}

/// The table of parameters, in the order in which a token meets them.
pub fn table(config: &ModelConfig) -> Vec<TensorSpec> {
    let ModelConfig { dim, vocab, layers, .. } = *config;
    let mut table =
        vec![TensorSpec::new("model.embed_tokens.weight", &[vocab, dim], Role::Embedding)];
    for layer in 0..layers {
        table.extend(block_table(config, layer));
    }
    table.push(TensorSpec::new("model.norm.weight", &[dim], Role::Norm));
    if config.has_own_head() {
        let name = if config.head == Head::Score { "score.weight" } else { "lm_head.weight" };
        table.push(TensorSpec::new(name, &[config.outputs(), dim], Role::Head));
    }
    if config.head == Head::LanguageAndValue {
        table.push(TensorSpec::new("v_head.weight", &[1, dim], Role::Head));
    }
    assert_eq!(table.len(), count(config));
    table
}

/// How many tensors a decoder has.
pub fn count(config: &ModelConfig) -> usize {
    let heads = [config.has_own_head(), config.head == Head::LanguageAndValue];
    9 * config.layers + 2 + heads.into_iter().filter(|has| *has).count()
}

fn block_table(config: &ModelConfig, layer: usize) -> [TensorSpec; 9] {
    let ModelConfig { dim, ffn, .. } = *config;
    let kv_dim = config.kv_dim();
    let rows: [(&str, &[usize], Role); 9] = [
        ("input_layernorm", &[dim], Role::Norm),
        ("self_attn.q_proj", &[dim, dim], Role::Projection),
        ("self_attn.k_proj", &[kv_dim, dim], Role::Projection),
        ("self_attn.v_proj", &[kv_dim, dim], Role::Projection),
        ("self_attn.o_proj", &[dim, dim], Role::Residual),
        ("post_attention_layernorm", &[dim], Role::Norm),
        ("mlp.gate_proj", &[ffn, dim], Role::Projection),
        ("mlp.up_proj", &[ffn, dim], Role::Projection),
        ("mlp.down_proj", &[dim, ffn], Role::Residual),
    ];
    rows.map(|(name, shape, role)| {
        TensorSpec::new(format!("model.layers.{layer}.{name}.weight"), shape, role)
    })
}

impl<T: Tensor + Default> Parameters<T> {
    /// From one buffer a row of the table, in its order.
    pub fn from_tensors(config: &ModelConfig, tensors: Vec<T>) -> Parameters<T> {
        let table = table(config);
        assert!(tensors.len() == table.len(), "one buffer a parameter");
        assert!(
            tensors.iter().zip(&table).all(|(tensor, spec)| tensor.elements().len() == spec.len())
        );
        Parameters::arranged(config, tensors)
    }

    /// What turns the last hidden state into logits, or into a score.
    pub fn head(&self) -> Elements<'_> {
        let head = if self.own_head { &self.head_vd } else { &self.embedding_vd };
        head.elements()
    }

    /// The buffers in the order of the table; all must be in memory.
    pub fn tensors(&self) -> Vec<&[f32]> {
        self.in_order().into_iter().map(T::floats).collect()
    }

    /// The same, to be changed.
    pub fn tensors_mut(&mut self) -> Vec<&mut [f32]> {
        self.in_order_mut().into_iter().map(T::floats_mut).collect()
    }
}

impl<T: Default> Parameters<T> {
    /// From what stands for each row of the table, in its order.
    pub(super) fn arranged(config: &ModelConfig, tensors: Vec<T>) -> Parameters<T> {
        let mut tensors = tensors.into_iter();
        let mut next = || tensors.next().unwrap_or_default();
        let embedding_vd = next();
        let blocks = (0..config.layers)
            .map(|_| BlockParameters {
                attention_norm_d: next(),
                query_dd: next(),
                key_kd: next(),
                value_kd: next(),
                output_dd: next(),
                mlp_norm_d: next(),
                gate_fd: next(),
                up_fd: next(),
                down_df: next(),
            })
            .collect();
        let norm_d = next();
        let own_head = config.has_own_head();
        let head_vd = if own_head { next() } else { T::default() };
        let valued = config.head == Head::LanguageAndValue;
        Parameters { embedding_vd, blocks, norm_d, head_vd, value_d: next(), own_head, valued }
    }
}

impl<T> Parameters<T> {
    /// The same with each tensor turned into another form.
    pub fn map<U>(self, form: impl Fn(T) -> U) -> Parameters<U> {
        let form = &form;
        let block = |block: BlockParameters<T>| BlockParameters {
            attention_norm_d: form(block.attention_norm_d),
            query_dd: form(block.query_dd),
            key_kd: form(block.key_kd),
            value_kd: form(block.value_kd),
            output_dd: form(block.output_dd),
            mlp_norm_d: form(block.mlp_norm_d),
            gate_fd: form(block.gate_fd),
            up_fd: form(block.up_fd),
            down_df: form(block.down_df),
        };
        Parameters {
            embedding_vd: form(self.embedding_vd),
            blocks: self.blocks.into_iter().map(block).collect(),
            norm_d: form(self.norm_d),
            head_vd: form(self.head_vd),
            value_d: form(self.value_d),
            own_head: self.own_head,
            valued: self.valued,
        }
    }
}

impl<T: Tensor + Default> Parameters<T> {
    /// The same decoder with the heads of another shape; empty is a head that this shape lacks.
    pub fn under(self, config: &ModelConfig, head_vd: T, value_d: T) -> Parameters<T> {
        let own_head = config.has_own_head();
        let valued = config.head == Head::LanguageAndValue;
        let sizes =
            [(own_head, config.outputs() * config.dim, &head_vd), (valued, config.dim, &value_d)];
        for (has, size, tensor) in sizes {
            assert_eq!(tensor.elements().len(), if has { size } else { 0 }, "the size of a head");
        }
        Parameters { head_vd, value_d, own_head, valued, ..self }
    }
}

impl<T> Parameters<T> {
    /// The tensors in the order of the table.
    pub fn in_order(&self) -> Vec<&T> {
        let mut tensors = vec![&self.embedding_vd];
        tensors.extend(self.blocks.iter().flat_map(BlockParameters::in_order));
        tensors.push(&self.norm_d);
        tensors.extend(self.own_head.then_some(&self.head_vd));
        tensors.extend(self.valued.then_some(&self.value_d));
        tensors
    }

    /// The same, to be changed.
    pub fn in_order_mut(&mut self) -> Vec<&mut T> {
        let mut tensors = vec![&mut self.embedding_vd];
        tensors.extend(self.blocks.iter_mut().flat_map(BlockParameters::in_order_mut));
        tensors.push(&mut self.norm_d);
        tensors.extend(self.own_head.then_some(&mut self.head_vd));
        tensors.extend(self.valued.then_some(&mut self.value_d));
        tensors
    }

    /// The tensors of a block. Gradients of one block at a time stand for those of all.
    pub fn block_mut(&mut self, layer: usize) -> &mut BlockParameters<T> {
        let kept = self.blocks.len();
        &mut self.blocks[layer % kept]
    }

    /// The tensors of a group, in the order of the table.
    pub fn of_group(&mut self, group: Group) -> Vec<&mut T> {
        match group {
            Group::Table => vec![&mut self.embedding_vd],
            Group::Block(layer) => self.block_mut(layer).in_order_mut().into(),
            Group::Top => {
                let mut tensors = vec![&mut self.norm_d];
                tensors.extend(self.own_head.then_some(&mut self.head_vd));
                tensors.extend(self.valued.then_some(&mut self.value_d));
                tensors
            }
        }
    }

    /// Something made of each tensor.
    pub fn each<U>(&self, make: impl Fn(&T) -> U) -> Parameters<U> {
        let block = |of: &BlockParameters<T>| BlockParameters {
            attention_norm_d: make(&of.attention_norm_d),
            query_dd: make(&of.query_dd),
            key_kd: make(&of.key_kd),
            value_kd: make(&of.value_kd),
            output_dd: make(&of.output_dd),
            mlp_norm_d: make(&of.mlp_norm_d),
            gate_fd: make(&of.gate_fd),
            up_fd: make(&of.up_fd),
            down_df: make(&of.down_df),
        };
        Parameters {
            embedding_vd: make(&self.embedding_vd),
            blocks: self.blocks.iter().map(block).collect(),
            norm_d: make(&self.norm_d),
            head_vd: make(&self.head_vd),
            value_d: make(&self.value_d),
            own_head: self.own_head,
            valued: self.valued,
        }
    }
}

impl Parameters {
    /// All zero, in the shapes of `config`.
    pub fn zeros(config: &ModelConfig) -> Parameters {
        let tensors = table(config).iter().map(|spec| vec![0.0; spec.len()]).collect();
        Parameters::from_tensors(config, tensors)
    }

    /// An empty buffer for each.
    pub fn frozen(config: &ModelConfig) -> Parameters {
        Parameters::arranged(config, vec![Vec::new(); count(config)])
    }

    /// Where the gradient of the head goes, unless it is frozen.
    pub fn head_gradient(&mut self) -> Option<&mut [f32]> {
        (!self.head_vd.is_empty()).then_some(&mut self.head_vd)
    }

    /// Where the head is the embedding, adds the head's gradient, whole, to the embedding's: once a
    /// step, so that the parts of a batch do not show in the sum.
    pub fn tie(&mut self) {
        if !self.own_head {
            let pairs = self.embedding_vd.iter_mut().zip(&self.head_vd);
            pairs.for_each(|(embedding, head)| *embedding += head);
        }
    }
}

impl<T> BlockParameters<T> {
    fn in_order(&self) -> [&T; 9] {
        [
            &self.attention_norm_d,
            &self.query_dd,
            &self.key_kd,
            &self.value_kd,
            &self.output_dd,
            &self.mlp_norm_d,
            &self.gate_fd,
            &self.up_fd,
            &self.down_df,
        ]
    }

    pub fn in_order_mut(&mut self) -> [&mut T; BLOCK_TENSORS] {
        [
            &mut self.attention_norm_d,
            &mut self.query_dd,
            &mut self.key_kd,
            &mut self.value_kd,
            &mut self.output_dd,
            &mut self.mlp_norm_d,
            &mut self.gate_fd,
            &mut self.up_fd,
            &mut self.down_df,
        ]
    }
}

impl From<Parameters> for Parameters<Stored> {
    fn from(weights: Parameters) -> Parameters<Stored> {
        weights.map(Stored::Memory)
    }
}
