//! Continuing texts: many at once over a cache of keys and values, a finished one replaced at
//! once by the next that waits. Which texts share a batch never changes a token: draws come from
//! the stream `sample/<prompt>/<k>`, one a position, and the arithmetic does not see its
//! neighbours. What all prompts begin with is read once. Knows token ids; does not know text.

use super::activations::Activations;
use super::batch::Batch;
use super::inference::{Inference, check_finite};
use super::kv_cache::KvCache;
use super::loaded::TOKENS_AT_ONCE;
use super::transformer::Transformer;
use crate::train::data::pack::{IGNORE, Row};
use crate::train::kernels::rng::Stream;
use crate::train::kernels::sample::{Draw, Sampling};
use crate::train::progress::{Failure, Progress};

/// Texts that are continued at the same time; more only costs memory.
pub const MOST_SLOTS: usize = 64;

/// How to continue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GenerateOptions {
    /// Continuations a prompt.
    pub samples: usize,
    /// The most tokens of a continuation, the ending one included.
    pub max_answer: usize,
    pub sampling: Sampling,
    pub seed: u64,
    /// The token that ends a text.
    pub eos: u32,
}

/// A continuation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    /// Without the ending token.
    pub tokens: Vec<u32>,
    /// The model's own log-probability of each token and, last, of the ending one if it came: bit
    /// for bit what scoring the whole text gives, negated.
    pub log_probs: Vec<f32>,
    /// Whether the ending token came; if not, `max_answer` or the context cut it.
    pub ended: bool,
}

/// A continuation under way.
struct Slot {
    /// Which prompt and which of its samples: `prompt · samples + k`.
    request: usize,
    stream: Stream,
    /// Tokens that the cache has not seen yet: the prompt, then each token drawn.
    unseen: Vec<u32>,
    /// How many tokens may still be drawn.
    room: usize,
    made: Generated,
}

/// Hears each continuation when it is finished, with its number: `prompt · samples + k`.
pub type Hear<'a> = &'a mut dyn FnMut(usize, &Generated, &mut dyn Progress);

/// `samples` continuations of each prompt, prompt by prompt.
pub fn generate<M: Inference>(
    m: &M,
    model: &Transformer<M>,
    prompts: &[Vec<u32>],
    options: &GenerateOptions,
    progress: &mut dyn Progress,
) -> Result<Vec<Generated>, Failure> {
    let none = vec![None; prompts.len() * options.samples];
    let speaker = Speaker { m, model, over: &|_| false };
    generate_until(&speaker, prompts, options, none, &mut |_, _, _| {}, progress)
}

/// Who continues, and when it may stop without the ending token.
pub struct Speaker<'s, M: Inference> {
    pub m: &'s M,
    pub model: &'s Transformer<M>,
    /// Told the tokens drawn so far: whether no more are wanted.
    pub over: &'s dyn Fn(&[u32]) -> bool,
}

/// The same, where some of the continuations are there already, and others may be over before their
/// ending token comes; `hear` is told only of new ones.
pub fn generate_until<M: Inference>(
    speaker: &Speaker<'_, M>,
    prompts: &[Vec<u32>],
    options: &GenerateOptions,
    mut finished: Vec<Option<Generated>>,
    hear: Hear<'_>,
    progress: &mut dyn Progress,
) -> Result<Vec<Generated>, Failure> {
    let Speaker { m, model, over } = *speaker;
    let positions = model.positions();
    check_prompts(prompts, positions, model.config.vocab)?;
    let requests = finished.len();
    assert_eq!(requests, prompts.len() * options.samples, "a place for every continuation");
    let mut open: Vec<usize> = (0..requests).rev().filter(|at| finished[*at].is_none()).collect();
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let capacity = (longest + options.max_answer).min(positions);
    let mut slots: Vec<Option<Slot>> = Vec::new();
    let most = open.len().min(MOST_SLOTS);
    slots.resize_with(m.texts_at_once(&model.config, capacity, most), || None);
    let (beginning, spare) = (beginning(prompts), slots.len());
    let mut cache = KvCache::new(m, &model.config, slots.len() + 1, capacity);
    let mut a = Activations::inference(&model.config);
    if !beginning.is_empty() && !open.is_empty() {
        let mut batch = Batch::default();
        batch.push_at(beginning, 0);
        model.forward_cached(m, (&batch, &[spare]), &mut a, &mut cache);
    }
    let mut done = requests - open.len();
    while done < requests {
        if progress.cancelled() {
            return Err(Failure::Interrupted);
        }
        let mut tokens = slots.iter().flatten().count();
        let free = slots.iter_mut().enumerate().filter(|(_, slot)| slot.is_none());
        for (fresh, (at, slot)) in free.enumerate() {
            let Some(next) = open.last() else { break };
            tokens += prompts[next / options.samples].len() - beginning.len();
            // Long prompts take turns, so that reading them needs no more room than scoring does.
            if fresh > 0 && tokens > TOKENS_AT_ONCE {
                break;
            }
            cache.copy(m, spare, at, cache.length(spare));
            let slot_of = |next| Slot::new(next, prompts, options, capacity, beginning.len());
            *slot = open.pop().map(slot_of);
        }
        advance(m, model, &mut slots, &mut cache, &mut a, options)?;
        for slot in slots.iter_mut() {
            let is_over =
                |slot: &mut Slot| slot.made.ended || slot.room == 0 || over(&slot.made.tokens);
            if let Some(slot) = slot.take_if(is_over) {
                hear(slot.request, &slot.made, progress);
                finished[slot.request] = Some(slot.made);
                done += 1;
            }
        }
        progress.at(done as u64, requests as u64, "answers", &[]);
    }
    Ok(finished.into_iter().flatten().collect())
}

/// What all prompts begin with; of each at least a token is left to be read.
fn beginning(prompts: &[Vec<u32>]) -> &[u32] {
    let [first, rest @ ..] = prompts else { return &[] };
    let shared = |length: usize, prompt: &Vec<u32>| {
        let alike = first[..length].iter().zip(prompt).take_while(|(a, b)| a == b).count();
        alike.min(prompt.len() - 1)
    };
    let length = rest.iter().fold(first.len() - 1, shared);
    &first[..length]
}

/// A prompt that no answer can follow.
pub fn no_room(row: usize, length: usize, positions: usize) -> Failure {
    Failure::input(format!(
        "prompt {row} is {length} tokens long and leaves no room for an answer in a context of \
         {positions}"
    ))
    .remedy("shorten the prompt, or train with a longer `context`")
}

fn check_prompts(prompts: &[Vec<u32>], positions: usize, vocab: usize) -> Result<(), Failure> {
    for (at, prompt) in prompts.iter().enumerate() {
        let (row, length) = (at + 1, prompt.len());
        if prompt.is_empty() {
            return Err(Failure::input(format!("prompt {row} is empty")));
        }
        if length >= positions {
            return Err(no_room(row, length, positions));
        }
        if let Some(id) = prompt.iter().find(|id| **id as usize >= vocab) {
            return Err(Failure::input(format!(
                "prompt {row} holds token {id}, outside the model's vocabulary of {vocab}"
            )));
        }
    }
    Ok(())
}

impl Slot {
    fn new(
        request: usize,
        prompts: &[Vec<u32>],
        options: &GenerateOptions,
        capacity: usize,
        seen: usize,
    ) -> Slot {
        let (prompt, k) = (request / options.samples, request % options.samples);
        let room = options.max_answer.min(capacity - prompts[prompt].len());
        let unseen = prompts[prompt][seen..].to_vec();
        let stream = Stream::new(options.seed, &format!("sample/{prompt}/{k}"));
        Slot { request, stream, unseen, room, made: Generated::default() }
    }

    /// The number that decides on the next token.
    fn uniform(&self) -> f32 {
        self.stream.uniform(self.made.tokens.len() as u64, 0)
    }

    /// Takes the next token.
    fn take(&mut self, drawn: Draw, options: &GenerateOptions) {
        self.made.log_probs.push(drawn.log_prob);
        self.room -= 1;
        if drawn.token == options.eos {
            self.made.ended = true;
        } else {
            self.made.tokens.push(drawn.token);
            self.unseen = vec![drawn.token];
        }
    }
}

/// One token more for every text: new ones read their prompts in the same batch.
fn advance<M: Inference>(
    m: &M,
    model: &Transformer<M>,
    slots: &mut [Option<Slot>],
    cache: &mut KvCache<M>,
    a: &mut Activations<M>,
    options: &GenerateOptions,
) -> Result<(), Failure> {
    let (mut batch, mut taken) = (Batch::default(), Vec::new());
    for (at, slot) in slots.iter().enumerate() {
        if let Some(slot) = slot {
            batch.push_at(&slot.unseen, cache.length(at) as u32);
            taken.push(at);
        }
    }
    model.forward_cached(m, (&batch, &taken), a, cache);
    let last: Vec<usize> = batch.rows.iter().map(|row| row.end - 1).collect();
    let mut last_bd = M::Floats::default();
    m.pick(&last, model.config.dim, &a.hidden_td, &mut last_bd);
    let uniforms: Vec<f32> = slots.iter().flatten().map(Slot::uniform).collect();
    let drawn = m.draw(model, &last_bd, options.sampling, &uniforms)?;
    check_finite(drawn.iter().map(|drawn| drawn.log_prob))?;
    for (slot, drawn) in slots.iter_mut().flatten().zip(drawn) {
        slot.take(drawn, options);
    }
    Ok(())
}

/// A prompt with its continuation as a row to be scored: only the continuation is asked for.
pub fn as_row(prompt: &[u32], made: &Generated, eos: u32) -> Row {
    let mut whole = [prompt, &made.tokens].concat();
    whole.extend(made.ended.then_some(eos));
    let mut targets = vec![IGNORE; prompt.len() - 1];
    targets.extend(&whole[prompt.len()..]);
    whole.pop();
    let segment = 0..whole.len();
    Row { tokens: whole, targets, segments: vec![segment] }
}
