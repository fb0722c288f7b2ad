//! `llamake doc [NAME]`: the reference of the library, read off the library itself.

use anyhow::{Result, bail};

use super::Exit;
use super::terminal::out;
use crate::lang::declarations::{Declaration, FieldDeclaration, Form, library};

/// One declaration, one module, or a list of everything.
pub fn run(name: Option<&str>) -> Result<Exit> {
    let all = library();
    let Some(name) = name else {
        list(&all);
        return Ok(Exit::Done);
    };
    let module = name.trim_start_matches("std/");
    let of_module = all.iter().filter(|one| one.module == format!("std/{module}"));
    let of_module = of_module.collect::<Vec<_>>();
    if !of_module.is_empty() {
        of_module.iter().for_each(|one| summary(one));
        return Ok(Exit::Done);
    }
    let (module, short) = match name.rsplit_once('.') {
        Some((module, short)) => (Some(module), short),
        None => (None, name),
    };
    let named = all.iter().filter(|one| {
        let in_module = module.is_none_or(|module| one.module == format!("std/{module}"));
        one.name == short && in_module
    });
    let named = named.collect::<Vec<_>>();
    if named.is_empty() {
        bail!("nothing in the library is called `{name}`; `llamake doc` lists what there is");
    }
    for one in named {
        entry(one);
    }
    Ok(Exit::Done)
}

fn list(all: &[Declaration]) {
    let mut module = "";
    for one in all {
        if one.module != module {
            module = &one.module;
            out(&format!("\n{module}\n"));
        }
        summary(one);
    }
}

fn word(form: Form) -> &'static str {
    match form {
        Form::Fn => "fn",
        Form::Record => "record",
        Form::Type => "type",
        Form::Let => "let",
        Form::Param => "param",
        Form::Stage => "stage",
    }
}

fn summary(one: &Declaration) {
    let first = one.doc.iter().map(|line| line.trim()).find(|line| !line.is_empty());
    let sentence = first.unwrap_or_default();
    out(&format!("  {:<7}{:<20} {sentence}\n", word(one.form), one.name));
}

fn entry(one: &Declaration) {
    let generics = match one.generics.is_empty() {
        true => String::new(),
        false => format!("<{}>", one.generics.join(", ")),
    };
    out(&format!("{} {}{generics}   {}\n\n", word(one.form), one.name, one.place));
    for line in &one.doc {
        out(&format!("    {}\n", line.trim_end()));
    }
    if !one.fields.is_empty() {
        out("\nfields\n");
    }
    one.fields.iter().for_each(field);
    for require in &one.requires {
        out(&format!("    require {require}\n"));
    }
    if let Some(result) = &one.result {
        out(&format!("\nresult\n    {result}\n"));
    }
    if one.form == Form::Let {
        out(&format!("\n{}\n", one.text));
    }
    out("\n");
}

fn field(field: &FieldDeclaration) {
    let default = match &field.default {
        Some(default) => format!(" = {default}"),
        None => "   (required)".into(),
    };
    let from = field.from.as_ref().map(|from| format!("   from `{from}`")).unwrap_or_default();
    out(&format!("    {}: {}{default}{from}\n", field.name, field.ty));
    for line in &field.doc {
        out(&format!("        {}\n", line.trim()));
    }
}
