//! Figures that others have published, for a reader to hold beside a report's own. Nothing here was
//! measured, and nothing is compared with it. Knows words and numbers; does not know models.

/// One table of a publication.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// Where it stands: `Llama 2, table 4`.
    pub source: String,
    /// How its figures came about, and so how far they can be compared.
    pub setup: String,
    pub columns: Vec<String>,
    pub rows: Vec<Published>,
}

/// What was published of one model: a figure a column, none where there is a gap.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    pub model: String,
    pub figures: Vec<Option<f64>>,
}

impl Reference {
    /// A row that has other columns than the table, if there is one: what is wrong with it.
    pub fn fault(&self) -> Option<String> {
        let columns = self.columns.len();
        let row = self.rows.iter().find(|row| row.figures.len() != columns)?;
        let (source, model, figures) = (&self.source, &row.model, row.figures.len());
        Some(format!("`{source}` has {columns} columns, and `{model}` in it {figures} figures"))
    }
}
