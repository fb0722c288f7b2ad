//! A report read back: one figure of one model, found by name. Knows `report.json`; does not know
//! what the figure is wanted for.

use std::path::Path;

use serde_json::{Map, Value};

use crate::train::progress::Failure;

/// A report as it lies in its folder.
pub struct Reading {
    /// What messages call it.
    name: String,
    tasks: Map<String, Value>,
}

/// A figure where it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub task: String,
    pub model: String,
    pub figure: String,
    pub value: f64,
}

/// Figures that a message names at most.
const NAMED: usize = 12;

impl Reading {
    /// Opens the folder that `eval` made.
    pub fn open(name: &str, folder: &Path) -> Result<Reading, Failure> {
        let path = folder.join("report.json");
        let text = std::fs::read_to_string(&path).map_err(Failure::io(&path))?;
        let json: Result<Value, _> = serde_json::from_str(&text);
        let mut json = json
            .map_err(|error| Failure::input(format!("the report `{name}` is broken: {error}")))?;
        match json["tasks"].take() {
            Value::Object(tasks) => Ok(Reading { name: name.into(), tasks }),
            _ => Err(Failure::input(format!("the report `{name}` lists no tasks"))),
        }
    }

    /// The places of a metric, `figure` or `task.figure`, of one model or of all; at least one.
    pub fn find(&self, metric: &str, model: Option<&str>) -> Result<Vec<Place>, Failure> {
        let of_model = |place: &Place| model.is_none_or(|model| place.model == model);
        let places = self.places().filter(of_model).collect::<Vec<_>>();
        if let (Some(model), true) = (model, places.is_empty()) {
            let name = &self.name;
            return Err(Failure::input(format!("the report `{name}` has no model `{model}`"))
                .remedy("name a model that the report is of"));
        }
        let is_meant = |place: &&Place| {
            let Place { task, figure, .. } = place;
            metric == figure || metric.strip_prefix(task.as_str()) == Some(&format!(".{figure}"))
        };
        let found = places.iter().filter(is_meant).cloned().collect::<Vec<_>>();
        match found.is_empty() {
            true => Err(self.unknown(metric, &places)),
            false => Ok(found),
        }
    }

    /// The only place of a metric of one model.
    pub fn only(&self, metric: &str, model: Option<&str>) -> Result<Place, Failure> {
        let mut found = self.find(metric, model)?;
        if found.len() == 1 {
            return Ok(found.remove(0));
        }
        let (first, second) = (&found[0], &found[1]);
        let name = &self.name;
        Err(match first.model == second.model {
            true => Failure::input(format!(
                "`{metric}` stands in several tasks of the report `{name}`: `{}` and `{}`",
                first.task, second.task
            ))
            .remedy(format!("name one: `{}.{}`", first.task, first.figure)),
            false => Failure::input(format!(
                "the report `{name}` has `{metric}` of several models: `{}` and `{}`",
                first.model, second.model
            ))
            .remedy("give a report of one model"),
        })
    }

    fn unknown(&self, metric: &str, places: &[Place]) -> Failure {
        let mut known = Vec::new();
        for place in places {
            let text = format!("`{}.{}`", place.task, place.figure);
            if !known.contains(&text) {
                known.push(text);
            }
        }
        let more = if known.len() > NAMED { ", …" } else { "" };
        known.truncate(NAMED);
        let name = &self.name;
        Failure::input(format!("the report `{name}` has no figure `{metric}`"))
            .remedy(format!("name one that it has: {}{more}", known.join(", ")))
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        let models = self.tasks.iter().flat_map(|(task, of)| {
            let models = of["models"].as_object().into_iter().flatten();
            models.map(move |(model, figures)| (task, model, figures))
        });
        models.flat_map(|(task, model, figures)| {
            let figures = figures.as_object().into_iter().flatten();
            figures.filter_map(move |(figure, value)| {
                let value = value.as_f64()?;
                let (task, model, figure) = (task.clone(), model.clone(), figure.clone());
                Some(Place { task, model, figure, value })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(result: Result<Place, Failure>) -> String {
        match result {
            Ok(place) => format!("{} of {}: {}", place.figure, place.task, place.value),
            Err(Failure::Input { message, remedy }) => format!("{message}; {}", remedy.unwrap()),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn figures_are_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"tasks":{
            "a.b":{"models":{"one":{"acc":0.5,"acc_95":[0,1]},"two":{"acc":0.25}}},
            "c":{"models":{"one":{"acc":1.0,"loss":2}}}}}"#;
        std::fs::write(folder.path().join("report.json"), text).unwrap();
        let report = Reading::open("scores", folder.path()).unwrap();
        assert_eq!(said(report.only("loss", Some("one"))), "loss of c: 2");
        assert_eq!(said(report.only("a.b.acc", Some("one"))), "acc of a.b: 0.5");
        assert_eq!(said(report.only("acc", Some("two"))), "acc of a.b: 0.25");
        assert_eq!(
            said(report.only("acc", Some("one"))),
            "`acc` stands in several tasks of the report `scores`: `a.b` and `c`; \
             name one: `a.b.acc`"
        );
        assert_eq!(
            said(report.only("a.b.acc", None)),
            "the report `scores` has `a.b.acc` of several models: `one` and `two`; \
             give a report of one model"
        );
        assert_eq!(
            said(report.only("b.acc", Some("two"))),
            "the report `scores` has no figure `b.acc`; name one that it has: `a.b.acc`"
        );
        assert_eq!(
            said(report.only("acc", Some("three"))),
            "the report `scores` has no model `three`; name a model that the report is of"
        );
    }
}
