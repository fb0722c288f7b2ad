//! One figure of many reports in one table: a row a report, or the axes of a sweep as rows and
//! columns. Knows names and figures; does not know how they came about.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::json;

use super::reading::{Place, Reading};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of the stage kind `compare`.
#[derive(Clone, Debug)]
pub struct Compare {
    pub reports: Vec<Point>,
    pub metric: String,
    /// The axis of the sweep that runs down.
    pub rows: Option<String>,
    /// The axis that runs across.
    pub columns: Option<String>,
}

/// A report, with the values of the axes at its point of a sweep.
#[derive(Clone, Debug)]
pub struct Point {
    pub name: String,
    pub axes: BTreeMap<String, String>,
    pub folder: PathBuf,
}

/// A cell of the table.
struct Cell {
    row: String,
    column: String,
    place: Place,
}

/// Writes `out/out/compare.md` and `compare.json`.
pub fn run(params: &Compare, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let cells = cells(params)?;
    let folder = context.out.join("out");
    std::fs::create_dir_all(&folder).map_err(Failure::io(&folder))?;
    let table = table(params, &cells);
    for line in table.lines() {
        context.progress.log(line);
    }
    for (name, text) in [("compare.md", table), ("compare.json", values(params, &cells))] {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(Failure::io(&path))?;
    }
    let named =
        |cell: &Cell| (format!("{}: {}", cell.place.model, cell.place.figure), cell.place.value);
    Ok(cells.iter().map(named).collect())
}

/// With axes one figure a report; without, one of each of its models.
fn cells(params: &Compare) -> Result<Vec<Cell>, Failure> {
    let Compare { reports, metric, rows, columns } = params;
    if reports.is_empty() {
        return Err(Failure::input("there is no report to compare"));
    }
    let mut cells: Vec<Cell> = Vec::new();
    for point in reports {
        let report = Reading::open(&point.name, &point.folder)?;
        if rows.is_none() && columns.is_none() {
            let places = report.find(metric, None)?;
            let cell = |place: Place| Cell {
                row: place.model.clone(),
                column: format!("{} {}", place.task, place.figure),
                place,
            };
            cells.extend(places.into_iter().map(cell));
            continue;
        }
        let place = report.only(metric, None)?;
        let value = |axis: &Option<String>| axis.as_ref().map(|axis| point.value(axis)).transpose();
        let (row, column) = (value(rows)?.unwrap_or_default(), value(columns)?);
        let column = column.unwrap_or_else(|| format!("{} {}", place.task, place.figure));
        if cells.iter().any(|cell| cell.row == row && cell.column == column) {
            return Err(Failure::input(format!(
                "`{}` would stand in the same cell as another report",
                point.name
            ))
            .remedy("name every axis that they differ in, or pick fewer: `score[seed: 1]`"));
        }
        cells.push(Cell { row, column, place });
    }
    Ok(cells)
}

impl Point {
    fn value(&self, axis: &str) -> Result<String, Failure> {
        self.axes.get(axis).cloned().ok_or_else(|| {
            let name = &self.name;
            let axes = self.axes.keys().map(|axis| format!("`{axis}`")).collect::<Vec<_>>();
            let failure = Failure::input(format!("`{name}` has no axis `{axis}`"));
            match axes.is_empty() {
                true => failure.remedy("leave `rows` and `columns` out: it is of no sweep"),
                false => failure.remedy(format!("name one that it has: {}", axes.join(", "))),
            }
        })
    }
}

/// Each once, in the order in which they come first.
fn distinct<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let mut seen: Vec<&str> = Vec::new();
    for text in texts {
        if !seen.contains(&text.as_str()) {
            seen.push(text);
        }
    }
    seen
}

fn table(params: &Compare, cells: &[Cell]) -> String {
    let columns = distinct(cells.iter().map(|cell| &cell.column));
    let axes = [&params.rows, &params.columns].map(|axis| axis.as_deref());
    let corner = match axes {
        [Some(rows), Some(columns)] => format!("{rows} \\ {columns}"),
        [Some(axis), None] | [None, Some(axis)] => axis.to_string(),
        [None, None] => "model".to_string(),
    };
    let mut out = format!("# {}\n\n| {} |", params.metric, plain(&corner));
    columns.iter().for_each(|column| write!(out, " {} |", plain(column)).unwrap());
    out.push_str("\n|---|");
    out.push_str(&"---:|".repeat(columns.len()));
    out.push('\n');
    for row in distinct(cells.iter().map(|cell| &cell.row)) {
        write!(out, "| {} |", plain(row)).unwrap();
        for column in &columns {
            let cell = cells.iter().find(|cell| cell.row == row && cell.column == *column);
            let text = cell.map_or(String::new(), |cell| format!(" {:.4}", cell.place.value));
            write!(out, "{text} |").unwrap();
        }
        out.push('\n');
    }
    out
}

/// A bar inside a cell would end it.
fn plain(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn values(params: &Compare, cells: &[Cell]) -> String {
    let cell = |cell: &Cell| {
        let Cell { row, column, place: Place { task, model, figure, value } } = cell;
        json!({
            "row": row, "column": column, "model": model, "task": task, "figure": figure,
            "value": value,
        })
    };
    let whole = json!({
        "metric": params.metric,
        "rows": params.rows,
        "columns": params.columns,
        "cells": cells.iter().map(cell).collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&whole).expect("string keys") + "\n"
}
