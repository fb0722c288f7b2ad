//! `smallworld.generate`: the small world of a seed, one file of rows a port. Knows where rows go;
//! what they say is `train::data::smallworld`.

use serde::Serialize;

use crate::train::data::rows::Writer;
use crate::train::data::smallworld::{self, World};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters, as `stdlib/smallworld.recipe` states them.
#[derive(Clone, Debug, PartialEq)]
pub struct Smallworld {
    pub seed: u64,
    pub documents: usize,
    pub problems: usize,
    pub talks: usize,
    pub pairs: usize,
    pub asks: usize,
}

/// How many ports there are.
const PORTS: u64 = 24;

/// Makes every port of the signature.
pub fn run(params: &Smallworld, ctx: &mut Context<'_>) -> Result<Metrics, Failure> {
    let world = World::new(params.seed);
    let mut ports = Ports { ctx, metrics: Metrics::new() };
    let (corpus, held_out) = smallworld::corpus(&world, params.documents);
    ports.write("corpus", &corpus)?;
    ports.write("held_out", &held_out)?;
    ports.write("arithmetic", &smallworld::arithmetic(&world, params.problems))?;
    ports.write("dialogues", &smallworld::dialogues(&world, params.talks))?;
    ports.write("pirate", &smallworld::pirate(&world, params.talks.div_ceil(12)))?;
    ports.write("puzzles", &smallworld::puzzles(&world, params.talks.div_ceil(10)))?;
    ports.write("small_talk", &smallworld::small_talk(&world, params.talks.div_ceil(10)))?;
    ports.write("helpful", &smallworld::helpful(&world, params.pairs))?;
    ports.write("safe", &smallworld::safe(&world, params.pairs - params.pairs / 3))?;
    ports.write("helpful_exam", &smallworld::helpful_exam(&world))?;
    ports.write("safe_exam", &smallworld::safe_exam(&world))?;
    ports.write("prompts", &smallworld::prompts(&world, params.asks))?;
    ports.write("risky", &smallworld::risky(&world))?;
    ports.write("asked", &smallworld::asked(&world))?;
    ports.write("habits", &smallworld::habits(&world))?;
    ports.write("questions", &smallworld::questions(&world))?;
    ports.write("facts", &smallworld::facts(&world))?;
    ports.write("styled", &smallworld::styled(&world))?;
    ports.write("sums", &smallworld::sums(&world))?;
    ports.write("choices", &smallworld::choices(&world))?;
    ports.write("unsafe", &smallworld::harmful(&world))?;
    ports.write("harmless", &smallworld::harmless(&world))?;
    ports.write("kept", &smallworld::kept(&world))?;
    ports.write("kept_fresh", &smallworld::kept_fresh(&world))?;
    assert_eq!(ports.metrics.len() as u64, PORTS, "every port is written once");
    Ok(ports.metrics)
}

/// Writes ports one after another and counts their rows.
struct Ports<'a, 'b> {
    ctx: &'a mut Context<'b>,
    metrics: Metrics,
}

impl Ports<'_, '_> {
    fn write<Row: Serialize>(&mut self, port: &str, rows: &[Row]) -> Result<(), Failure> {
        if self.ctx.progress.cancelled() {
            return Err(Failure::Interrupted);
        }
        let mut out = Writer::create(&self.ctx.out.join(port))?;
        for row in rows {
            out.write(row)?;
        }
        self.metrics.push((format!("{port} rows"), out.finish()? as f64));
        self.ctx.progress.at(self.metrics.len() as u64, PORTS, "ports", &[]);
        Ok(())
    }
}
