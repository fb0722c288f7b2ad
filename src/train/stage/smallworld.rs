//! The stage kind `smallworld.generate`: the small world of a seed, one JSONL file a port. Knows
//! where rows go; what they say is `train::data::smallworld`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use crate::train::data::smallworld::{self, World};
use crate::train::progress::{Context, Failure, Metrics};

/// The fields of the signature in `stdlib/smallworld.recipe`.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    pub seed: u64,
    pub documents: usize,
    pub problems: usize,
    pub talks: usize,
    pub pairs: usize,
}

const PORTS: u64 = 13;

/// Writes every port.
pub fn run(context: &mut Context<'_>, params: &Params) -> Result<Metrics, Failure> {
    let world = World::new(params.seed);
    let mut ports = Ports { context, done: 0, metrics: Metrics::new() };
    let (corpus, held_out) = smallworld::corpus(&world, params.documents);
    ports.write("corpus", &corpus)?;
    ports.write("held_out", &held_out)?;
    ports.write("arithmetic", &smallworld::arithmetic(&world, params.problems))?;
    ports.write("dialogues", &smallworld::dialogues(&world, params.talks))?;
    ports.write("pirate", &smallworld::pirate(&world, params.talks.div_ceil(7)))?;
    ports.write("helpful", &smallworld::helpful(&world, params.pairs))?;
    ports.write("safe", &smallworld::safe(&world, params.pairs * 2 / 3))?;
    ports.write("prompts", &smallworld::prompts(&world, params.talks.div_ceil(5)))?;
    ports.write("risky", &smallworld::risky(&world))?;
    ports.write("questions", &smallworld::questions(&world))?;
    ports.write("sums", &smallworld::sums(&world))?;
    ports.write("choices", &smallworld::choices(&world))?;
    ports.write("refusals", &smallworld::refusals(&world))?;
    assert_eq!(ports.done, PORTS, "every port is written once");
    Ok(ports.metrics)
}

/// Writes ports one after another and tells how many are done.
struct Ports<'a, 'b> {
    context: &'a mut Context<'b>,
    done: u64,
    metrics: Metrics,
}

impl Ports<'_, '_> {
    fn write<Row: Serialize>(&mut self, port: &str, rows: &[Row]) -> Result<(), Failure> {
        if self.context.progress.cancelled() {
            return Err(Failure::Interrupted);
        }
        let path = self.context.out.join(port);
        write_rows(&path, rows).map_err(Failure::io(&path))?;
        self.done += 1;
        self.metrics.push((format!("{port}_rows"), rows.len() as f64));
        self.context.progress.at(self.done, PORTS, "ports", &[]);
        Ok(())
    }
}

fn write_rows<Row: Serialize>(path: &Path, rows: &[Row]) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for row in rows {
        serde_json::to_writer(&mut file, row)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}
