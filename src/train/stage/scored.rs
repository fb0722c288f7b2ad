//! Answers scored as a whole: the log-probability of each of their tokens, as it was sampled and by
//! other weights, and what an iteration's answers were on average. What PPO and GRPO share. Knows
//! rows and models; does not know a loss.

use super::rollout::Answered;
use crate::train::data::pack::{IGNORE, Row};
use crate::train::kernels::math::sigmoid;
use crate::train::model::Batch;
use crate::train::model::asked::At;
use crate::train::model::loaded::rows_at_once;
use crate::train::objective::Figures;
use crate::train::progress::{Context, Failure, Metrics};

/// Nats an answer beyond which a reward says little: the policy writes other texts than those that
/// its judge learnt from.
const FAR: f64 = 10.0;

/// Means over an iteration's answers, before anything is learnt from them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    pub reward: f64,
    /// Nats an answer from the policy as it began.
    pub kl: f64,
    pub tokens: f64,
    pub ended: f64,
}

impl Seen {
    /// `log_probs` are by the policy that answered and by what it began as, answer by answer.
    pub fn of<'n>(
        answered: &[Answered],
        log_probs: impl ExactSizeIterator<Item = [&'n [f32]; 2]> + Clone,
    ) -> Seen {
        let drift = |[own, reference]: [&[f32]; 2]| {
            let pairs = own.iter().zip(reference);
            pairs.map(|(own, reference)| f64::from(*own) - f64::from(*reference)).sum()
        };
        Seen {
            reward: mean(answered.iter().map(reward)),
            kl: mean(log_probs.clone().map(drift)),
            tokens: mean(log_probs.map(|[own, _]| own.len() as f64)),
            ended: mean(answered.iter().map(|one| f64::from(u8::from(one.made.ended)))),
        }
    }

    /// Under their names.
    pub fn figures(self) -> Figures {
        let Seen { reward, kl, tokens, ended } = self;
        vec![("reward", reward), ("kl", kl), ("answer tokens", tokens), ("ended", ended)]
    }

    /// The same as results of a run.
    pub fn results(self) -> Metrics {
        self.figures().into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }

    /// To be kept in a checkpoint.
    pub fn numbers(self) -> [f64; 4] {
        [self.reward, self.kl, self.tokens, self.ended]
    }

    /// What a checkpoint kept.
    pub fn from_numbers([reward, kl, tokens, ended]: [f64; 4]) -> Seen {
        Seen { reward, kl, tokens, ended }
    }

    /// Says so where the reward is not to be trusted.
    pub fn warn(self, beta: f64, context: &mut Context<'_>) {
        if self.kl > FAR {
            let kl = self.kl;
            context.progress.notice(&format!(
                "the policy drifted {kl:.1} nats an answer from where it began (`beta` is {beta}): \
                 its reward may be hacked, so read its answers before you trust it"
            ));
        }
    }
}

/// R_c after the sigmoid.
pub fn reward(answered: &Answered) -> f64 {
    f64::from(sigmoid(answered.verdict.combined))
}

pub fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len().max(1) as f64;
    numbers.sum::<f64>() / count
}

/// Log-probabilities of answers, each token's at the temperature and at 1, and values.
pub struct Scored {
    pub log_probs: Vec<Vec<f32>>,
    pub plain: Vec<Vec<f32>>,
    pub values: Vec<Vec<f32>>,
}

/// Scores the answers in rows as a whole, without sampling.
pub fn answer_log_probs(model: At<'_>, rows: &[&Row], temperature: f32) -> Result<Scored, Failure> {
    let mut passes = model.passes();
    let mut scored = Scored { log_probs: vec![], plain: vec![], values: vec![] };
    let mut left = rows;
    while !left.is_empty() {
        let (part, rest) = left.split_at(rows_at_once(left));
        left = rest;
        let batch = Batch::of(part);
        passes.read(&batch);
        let mut nll_t = passes.losses(&batch, 1.0)?;
        scored.plain.extend(answers(&batch, &nll_t, |nll| 0.0 - nll));
        if temperature != 1.0 {
            nll_t = passes.losses(&batch, temperature)?;
        }
        scored.log_probs.extend(answers(&batch, &nll_t, |nll| 0.0 - nll));
        if let Some(values) = passes.values(&batch)? {
            scored.values.extend(answers(&batch, &values, |value| value));
        }
    }
    Ok(scored)
}

/// The numbers of each row at the positions that predict its answer.
fn answers<'b>(
    batch: &'b Batch,
    numbers_t: &'b [f32],
    form: impl Fn(f32) -> f32 + Copy + 'b,
) -> impl Iterator<Item = Vec<f32>> + 'b {
    batch.rows.iter().map(move |row| {
        let places = row.clone().filter(|at| batch.targets[*at] != IGNORE);
        places.map(|at| form(numbers_t[at])).collect()
    })
}

/// What was sampled is what is scored, bit for bit: else the ratios of the first step would not be
/// 1.
pub fn check_sampler(answered: &[Answered], scored: &[Vec<f32>]) {
    for (answered, scored) in answered.iter().zip(scored) {
        assert_eq!(&answered.made.log_probs, scored, "sampled and scored log-probabilities");
    }
}

/// The places of a batch that predict an answer's tokens.
pub fn places(batch: &Batch) -> Vec<usize> {
    (0..batch.len()).filter(|at| batch.targets[*at] != IGNORE).collect()
}

/// Numbers at these places of a batch, zero elsewhere.
pub fn spread<'n>(
    batch: &Batch,
    places: &[usize],
    numbers: impl Iterator<Item = &'n f32>,
) -> Vec<f32> {
    let mut numbers_t = vec![0.0; batch.len()];
    places.iter().zip(numbers).for_each(|(at, number)| numbers_t[*at] = *number);
    numbers_t
}
