//! What a reader should know of a task besides its name. Knows words for it; does not know how it
//! is asked.

/// What a reader should know of a task besides its name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// The name of its record in the library.
    pub kind: &'static str,
    /// The sort of request that lm-evaluation-harness calls so.
    pub output_type: &'static str,
    /// Another number where its scores mean something else.
    pub version: u64,
    /// Examples before each question.
    pub shots: usize,
    /// How freely answers are drawn, and how many to a row.
    pub drawing: Option<(f64, usize)>,
    /// Where it comes from, in words; may be empty.
    pub source: String,
}

impl About {
    /// What a reader should know before the figures, where somebody has published the task.
    pub fn line(&self) -> Option<String> {
        let About { version, shots, source, .. } = self;
        let examples = if *shots == 1 { "example" } else { "examples" };
        (!source.is_empty()).then(|| format!("Version {version}, {shots} {examples}; {source}."))
    }
}
