//! How long a run is: the arithmetic between tokens, rows, steps and epochs. Knows sizes only.

/// How long to train, in the unit the recipe chose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    Tokens(u64),
    Steps(u64),
    /// Passes over all rows, in exact millionths.
    Epochs {
        millionths: u64,
    },
}

/// What one step learns from, in the unit the recipe chose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BatchSize {
    Tokens(u64),
    Sequences(u64),
}

/// A run in whole steps of whole rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    pub steps: u64,
    pub sequences: u64,
}

impl std::fmt::Display for Course {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} steps of {} sequences", self.steps, self.sequences)
    }
}

impl BatchSize {
    /// Rows of `context` tokens in a batch; a batch in tokens must be whole rows.
    pub fn sequences(self, context: u64) -> Result<u64, String> {
        match self {
            BatchSize::Sequences(0) | BatchSize::Tokens(0) => Err("a batch of nothing".into()),
            BatchSize::Sequences(sequences) => Ok(sequences),
            BatchSize::Tokens(tokens) if tokens.is_multiple_of(context) => Ok(tokens / context),
            BatchSize::Tokens(tokens) => {
                let below = (tokens / context).max(1) * context;
                Err(format!(
                    "a batch of {tokens} tokens is not whole sequences of {context}; \
                     {below} tokens would be"
                ))
            }
        }
    }
}

impl Length {
    /// The whole steps of this length, rounded up. A row counts as `context` tokens; `rows`, the
    /// rows of one epoch, is asked for only by a length in epochs, and `None` is given back where
    /// it is not known.
    pub fn course(
        self,
        batch: BatchSize,
        context: u64,
        rows: Option<u64>,
    ) -> Result<Option<Course>, String> {
        let sequences = batch.sequences(context)?;
        let part = |amount: u128, step: u128| u64::try_from(amount.div_ceil(step).max(1));
        let steps = match (self, rows) {
            (Length::Steps(steps), _) => Ok(steps.max(1)),
            (Length::Tokens(tokens), _) => {
                part(u128::from(tokens), u128::from(sequences) * u128::from(context))
            }
            (Length::Epochs { .. }, None) => return Ok(None),
            (Length::Epochs { .. }, Some(rows)) if sequences > rows && rows > 0 => {
                return Err(format!(
                    "one step has {sequences} sequences and all data {rows}, so that no epoch ends \
                     with a step: set `batch` to {rows} sequences at most"
                ));
            }
            (Length::Epochs { millionths }, Some(rows)) => {
                part(u128::from(millionths) * u128::from(rows), 1_000_000 * u128::from(sequences))
            }
        };
        match steps {
            Ok(steps) => Ok(Some(Course { steps, sequences })),
            Err(_) => Err("the run has more steps than can be counted".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_become_whole_steps() {
        let batch = BatchSize::Sequences(64);
        let two = Length::Epochs { millionths: 2_000_000 };
        let steps = |length: Length, rows| length.course(batch, 128, rows).unwrap();
        let course = |steps| Some(Course { steps, sequences: 64 });
        assert_eq!(steps(two, Some(27_584)), course(862));
        assert_eq!(steps(two, Some(27_583)), course(862));
        assert_eq!(steps(two, Some(27_585)), course(863));
        assert_eq!(steps(two, None), None);
        assert_eq!(steps(two, Some(64)), course(2));
        let told = two.course(batch, 128, Some(63)).unwrap_err();
        assert!(told.starts_with("one step has 64 sequences and all data 63"), "{told}");
        assert_eq!(steps(Length::Tokens(8193), None), course(2));
        assert_eq!(steps(Length::Steps(7), None), course(7));
        assert_eq!(format!("{}", course(862).unwrap()), "862 steps of 64 sequences");
    }

    #[test]
    fn a_batch_in_tokens_is_whole_sequences() {
        assert_eq!(BatchSize::Tokens(8192).sequences(128), Ok(64));
        let error = BatchSize::Tokens(1000).sequences(128).unwrap_err();
        assert!(error.contains("896 tokens would be"), "{error}");
        assert!(BatchSize::Sequences(0).sequences(128).is_err());
    }
}
