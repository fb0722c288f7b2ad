//! The sentences of names, types, values and stages. Does not know how a fault is found.

use crate::lang::ast::Compare;
use crate::lang::diagnostic::Diagnostic;
use crate::lang::source::{Place, Span};
use crate::lang::types::Type;
use crate::lang::value::Quantity;

/// Every id that this file can say.
pub const ALL: &[&str] = &[
    "bad-range",
    "batch-not-whole",
    "cycle",
    "duplicate-field",
    "let-runs-work",
    "missing-field",
    "missing-module",
    "missing-unit",
    "mixed-units",
    "name-taken",
    "no-such-point",
    "not-a-chat-model",
    "not-a-choice",
    "not-a-stage",
    "not-built-in",
    "not-percent",
    "not-whole",
    "not-yet",
    "out-of-range",
    "outside-name",
    "outside-repository",
    "overflow",
    "param-not-given",
    "recursion",
    "requirement",
    "shares-not-whole",
    "stage-without-work",
    "sweep-for-one",
    "template-missing",
    "tokenizer-mismatch",
    "too-large",
    "too-many-stages",
    "trained-on-held-out",
    "two-units",
    "type-arguments",
    "unknown-field",
    "unknown-module",
    "unknown-name",
    "unknown-param",
    "unknown-placeholder",
    "unnamed-work",
    "unneeded-stage",
    "unused",
    "unused-field",
    "wrong-artifact",
    "wrong-base",
    "wrong-type",
    "wrong-unit",
];

// Names.

/// A name that nothing declares.
pub fn unknown_name(span: Span, name: &str, near: Option<&str>, callable: bool) -> Diagnostic {
    let fault = Diagnostic::error("unknown-name", format!("nothing here is called `{name}`"));
    let fault = match callable {
        true => fault.label(span, "a stage kind or record of this name wants its fields in `{ }`"),
        false => fault.label(span, "not declared in this file"),
    };
    fault.hint(near.map(str::to_string))
}

/// A stage kind, record, type or module that nothing declares.
pub fn unknown_definition(span: Span, name: &str, what: &str, near: Option<&str>) -> Diagnostic {
    Diagnostic::error("unknown-name", format!("no {what} is called `{name}`"))
        .label(span, "not declared in this file, nor in the prelude")
        .hint(near.map(str::to_string))
}

/// `llama2.chatt`
pub fn unknown_in_module(span: Span, name: &str, module: &str, near: Option<&str>) -> Diagnostic {
    Diagnostic::error("unknown-name", format!("`{module}` declares no `{name}`"))
        .label(span, "not declared there")
        .hint(near.map(str::to_string))
}

/// `Data<Txt>`
pub fn unknown_kind(span: Span, name: &str, near: Option<&str>) -> Diagnostic {
    Diagnostic::error("unknown-name", format!("`{name}` is no kind of data or model"))
        .label(span, "kinds: Text Chat Prompt Preference Benchmark Base")
        .hint(near.map(str::to_string))
}

/// A module where a value is due.
pub fn module_as_value(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("wrong-type", format!("`{name}` is a module, not a value"))
        .label(span, format!("name something in it: `{name}.…`"))
}

/// A field, result or fact that a value does not have.
pub fn no_such_member(span: Span, owner: &str, name: &str, near: Option<&str>) -> Diagnostic {
    Diagnostic::error("unknown-field", format!("`{owner}` has no `{name}`"))
        .label(span, "neither a field, a result nor a fact")
        .hint(near.map(str::to_string))
}

/// `1.x`
pub fn no_members(span: Span, owner: &str, ty: &Type) -> Diagnostic {
    Diagnostic::error("unknown-field", format!("`{owner}` has no fields"))
        .label(span, format!("read from {}", the(ty)))
}

/// The same name twice in one scope.
pub fn name_taken(span: Span, name: &str, first: Span) -> Diagnostic {
    Diagnostic::error("name-taken", format!("`{name}` already has a meaning here"))
        .label(span, "second meaning")
        .label(first, "first meaning")
}

/// Bindings that need each other: each one, what it needs, and where.
pub fn cycle(circle: &[(String, String, Span)]) -> Diagnostic {
    let names: Vec<String> = circle.iter().map(|(name, ..)| format!("`{name}`")).collect();
    let message = match names.as_slice() {
        [one] => format!("{one} needs itself"),
        [firsts @ .., last] if firsts.len() < MOST_NAMED => {
            format!("{} and {last} need each other", firsts.join(", "))
        }
        _ => format!("{} and {} others need each other", names[0], names.len() - 1),
    };
    circle
        .iter()
        .take(MOST_NAMED)
        .fold(Diagnostic::error("cycle", message), |fault, (name, need, span)| {
            fault.label(*span, format!("`{name}` needs `{need}`"))
        })
}

/// More than this many names tell nobody anything.
const MOST_NAMED: usize = 8;

/// A type that takes itself in.
pub fn circular_type(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("cycle", format!("the type `{name}` needs itself"))
        .label(span, "written out, it would never end")
}

/// A record whose default builds the same record again.
pub fn circular_default(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("cycle", format!("a default of `{name}` needs `{name}`"))
        .label(span, "written out, it would never end")
}

/// `-p` of no param.
pub fn unknown_param(span: Span, name: &str, near: Option<&str>, value: &str) -> Diagnostic {
    Diagnostic::error("unknown-param", format!("the recipe has no param `{name}`"))
        .label(span, "given with `-p`, which sets a `param` and nothing else")
        .hint(near.map(|near| format!("-p {near}={value}")))
}

/// A param without a default that `-p` does not set either.
pub fn param_not_given(span: Span, name: &str, ty: &Type) -> Diagnostic {
    Diagnostic::error("param-not-given", format!("param `{name}` has no value"))
        .label(span, format!("{} without a default", the(ty)))
        .note(format!("give it on the command line: `-p {name}=…`"))
}

// Functions and sweeps.

/// A function that calls itself, or one that leads back to it.
pub fn recursion(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("recursion", format!("`{name}` calls itself"))
        .label(span, "leads back to where it began")
        .note("name each round: `stage round2 = … { policy: round1 }`")
}

/// A value of the file in the body of a function.
pub fn outside_name(span: Span, name: &str, declared: Span) -> Diagnostic {
    Diagnostic::error("outside-name", "a function sees only its fields")
        .label(span, format!("`{name}` is declared in the file, and is no field here"))
        .label(declared, "declared here")
}

/// A name that neither a body nor the imports of its file declare.
pub fn unknown_in_body(span: Span, name: &str, near: Option<&str>) -> Diagnostic {
    Diagnostic::error("unknown-name", format!("nothing here is called `{name}`"))
        .label(span, "neither a field nor declared in this body")
        .hint(near.map(str::to_string))
}

/// A function or sweep that makes more stages than anybody plans.
pub fn too_many_stages(span: Span, name: &str, most: u64) -> Diagnostic {
    Diagnostic::error("too-many-stages", format!("`{name}` multiplies beyond all plans"))
        .label(span, format!("with this, more than {most} stages"))
}

/// A sweep over something that is no list.
pub fn axis_of_no_list(span: Span, axis: &str, found: &Type) -> Diagnostic {
    Diagnostic::error("wrong-type", format!("`{axis}` runs through a list"))
        .label(span, format!("this is {}", the(found)))
}

/// A sweep over nothing.
pub fn empty_axis(span: Span, axis: &str) -> Diagnostic {
    Diagnostic::error("no-such-point", format!("`{axis}` has no values"))
        .label(span, "a sweep over nothing makes nothing")
}

/// A sweep over values that cannot stand in a path.
pub fn no_axis_value(span: Span, axis: &str, found: &Type) -> Diagnostic {
    Diagnostic::error("wrong-type", format!("`{axis}` takes values that can stand in a path"))
        .label(span, format!("this is {}", the(found)))
        .note("numbers, counts, strings and booleans can")
}

/// The same value twice on one axis.
pub fn point_taken(span: Span, axis: &str, value: &str, first: Span) -> Diagnostic {
    let fault = Diagnostic::error("name-taken", format!("`{axis}` has {value} twice"))
        .label(span, "second point of this name");
    if span == first { fault } else { fault.label(first, "first point") }
}

/// `chat[k: 8]`, where `chat` is no sweep.
pub fn pick_of_no_sweep(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("no-such-point", format!("`{name}` is no sweep"))
        .label(span, "there are no points to pick from")
}

/// `x[m: 8]`, where `x` has no axis `m`.
pub fn no_such_axis(span: Span, sweep: &str, name: &str, axes: &[String]) -> Diagnostic {
    Diagnostic::error("no-such-point", format!("`{sweep}` has no axis `{name}`"))
        .label(span, format!("its axes: {}", axes.join(", ")))
}

/// `x[k: 9]`, where `k` is never 9.
pub fn no_such_point(span: Span, sweep: &str, axis: &str, known: &[String]) -> Diagnostic {
    Diagnostic::error("no-such-point", "the sweep has no such point")
        .label(span, format!("`{sweep}` has {axis} {}", listed(known)))
}

/// All stages of a sweep where one is due.
pub fn sweep_for_one(
    span: Span,
    slot: &str,
    wanted: &str,
    name: &str,
    points: &[String],
    due: &Type,
    found: &Type,
) -> Diagnostic {
    let points: Vec<String> = points.iter().map(|point| format!("`{name}[{point}]`")).collect();
    Diagnostic::error("sweep-for-one", format!("{slot} takes {wanted}"))
        .label(span, format!("`{name}` is {} stages: {}", points.len(), listed(&points)))
        .expected(due.to_string(), found.to_string())
        .note(format!("in a list, `..{name}` takes all of them"))
}

/// `x.train`, where `x` is a sweep.
pub fn member_of_sweep(span: Span, sweep: &str, name: &str) -> Diagnostic {
    Diagnostic::error("sweep-for-one", format!("`{sweep}` is a list, which has no `{name}`"))
        .label(span, "pick one of its stages first")
}

/// `4 and 8`, and no more than people read.
fn listed(all: &[String]) -> String {
    match all {
        [] => String::new(),
        [one] => one.clone(),
        [firsts @ .., last] if all.len() <= MOST_NAMED => {
            format!("{} and {last}", firsts.join(", "))
        }
        _ => format!("{} and {} more", all[..MOST_NAMED].join(", "), all.len() - MOST_NAMED),
    }
}

// Modules.

/// A library module that does not exist.
pub fn unknown_module(span: Span, path: &str, near: Option<&str>) -> Diagnostic {
    let fault = Diagnostic::error("unknown-module", format!("the library has no `{path}`"))
        .label(span, "not part of this llamake");
    match path.starts_with("std/") {
        true => fault.hint(near.map(|near| format!("use {near}"))),
        false => fault.note(format!("a file beside this one is `use ./{path}`")),
    }
}

/// A file beside this one that was not found.
pub fn missing_module(span: Span, path: &str) -> Diagnostic {
    Diagnostic::error("missing-module", format!("there is no file `{path}`"))
        .label(span, "imported here")
}

/// An import that leaves the repository.
pub fn outside_repository(span: Span, from: &str) -> Diagnostic {
    Diagnostic::error("outside-repository", "imports stay inside the repository")
        .label(span, format!("leads above the top folder, from `{from}`"))
}

// Types as they are written.

/// `Data`, `Int<Text>`
pub fn type_arguments(span: Span, name: &str, wanted: usize, found: usize) -> Diagnostic {
    let takes = match wanted {
        0 => "no type".to_string(),
        1 => "one type".to_string(),
        more => format!("{more} types"),
    };
    Diagnostic::error("type-arguments", format!("`{name}` takes {takes} between `<` and `>`"))
        .label(span, format!("{found} given"))
}

/// `String(1..)`
pub fn range_of_no_number(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("bad-range", format!("`{name}` has no range"))
        .label(span, "only numbers and quantities have one")
}

/// `Tokens(1 tokens..)`
pub fn bad_limit(span: Span, text: &str) -> Diagnostic {
    Diagnostic::error("bad-range", format!("`{text}` is no limit"))
        .label(span, "a plain number: the type says what it counts")
}

/// `{ a: Int = 1 }` as a type.
pub fn default_in_type(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("not-yet", format!("a default for `{name}` needs a `record` with a name"))
        .label(span, "defaults inside a type are not supported in this version")
}

/// `{ ..training }` as a type.
pub fn only_fields_in_type(span: Span) -> Diagnostic {
    Diagnostic::error("not-yet", "`..` and `require` need a `record` with a name")
        .label(span, "inside a type they are not supported in this version")
}

/// `..Length` in a signature.
pub fn takes_in_no_record(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("wrong-type", format!("`{name}` is no record"))
        .label(span, "`..` takes in the fields of a record")
}

/// What a later version will know.
pub fn not_yet(span: Span, what: &str) -> Diagnostic {
    Diagnostic::error("not-yet", format!("{what} are not supported in this version"))
        .label(span, "part of the language, but not of this llamake")
}

/// A `fn` without a body that nothing implements.
pub fn not_built_in(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("not-built-in", format!("`{name}` has no body, and is not built in"))
        .label(span, "only the library declares functions without a body")
}

// Fields.

/// A field that the callee does not have.
pub fn unknown_field(span: Span, owner: &str, name: &str, place: &Place) -> Diagnostic {
    Diagnostic::error("unknown-field", format!("`{owner}` has no field `{name}`"))
        .label(span, format!("the fields of `{owner}` are in {place}"))
}

/// A field that a structural record type does not have.
pub fn closed_record(span: Span, owner: &str, name: &str) -> Diagnostic {
    Diagnostic::error("unknown-field", format!("{owner} has no field `{name}`")).label(span, "")
}

/// A field that a spread brings and the callee does not have.
pub fn unused_field(spread: Span, owner: &str, name: &str, written: Span) -> Diagnostic {
    let fault = Diagnostic::error("unused-field", format!("`{owner}` has no field `{name}`"))
        .label(spread, format!("brings `{name}`, which nothing here reads"));
    if written == spread { fault } else { fault.label(written, format!("`{name}` is set here")) }
}

/// Fields without a default that are not given.
pub fn missing_fields(span: Span, owner: &str, names: &[&str]) -> Diagnostic {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let (count, label) = match quoted.as_slice() {
        [one] => ("one more field".to_string(), format!("{one} is not given")),
        [firsts @ .., last] => (
            format!("{} more fields", in_words(names.len())),
            format!("{} and {last} are not given", firsts.join(", ")),
        ),
        [] => ("nothing more".to_string(), String::new()),
    };
    Diagnostic::error("missing-field", format!("{owner} needs {count}")).label(span, label)
}

/// The same field twice.
pub fn duplicate_field(span: Span, name: &str, first: Span) -> Diagnostic {
    Diagnostic::error("duplicate-field", format!("`{name}` is given twice"))
        .label(span, "again here")
        .label(first, "first here")
}

/// A default that reads the template of a base model.
pub fn no_default(span: Span, owner: &str, field: &str, input: &str, ty: &Type) -> Diagnostic {
    let base = matches!(ty, Type::Model(crate::lang::types::Kind::Base));
    let what = if base { "a base model".to_string() } else { the(ty) };
    Diagnostic::error("template-missing", format!("`{owner}` of {what} needs `{field}`"))
        .label(span, format!("`{input}` is {what}, so `{field}` has no default"))
}

/// A default that reads a fact which the input does not have.
pub fn no_fact_for_default(
    span: Span,
    owner: &str,
    field: &str,
    input: &str,
    fact: &str,
) -> Diagnostic {
    Diagnostic::error("missing-field", format!("`{owner}` needs `{field}`"))
        .label(span, format!("`{input}` has no `{fact}`, so `{field}` has no default"))
}

// Values.

/// A value of another type.
pub fn wrong_type(span: Span, slot: &str, due: &Type, found: &Type) -> Diagnostic {
    Diagnostic::error("wrong-type", format!("{slot} takes something else"))
        .label(span, format!("this is {}", the(found)))
        .expected(due.to_string(), found.to_string())
}

/// `rank: 8.0`
pub fn not_whole(span: Span, name: &str, found: &Type) -> Diagnostic {
    Diagnostic::error("not-whole", format!("`{name}` is a whole number"))
        .label(span, "")
        .expected("Int", found.to_string())
}

/// `1.5 tokens`
pub fn part_of_a_whole(span: Span, unit: &str) -> Diagnostic {
    Diagnostic::error("not-whole", format!("{} are counted whole", unit.to_lowercase()))
        .label(span, "not a whole number of them")
}

/// `dropout: 0.1`
pub fn not_percent(span: Span, name: &str, found: &Type) -> Diagnostic {
    Diagnostic::error("not-percent", format!("`{name}` is a percentage"))
        .label(span, "")
        .expected("Percent", found.to_string())
}

/// `length: 2`
pub fn missing_unit(span: Span, name: &str, text: &str, due: &Type, found: &Type) -> Diagnostic {
    Diagnostic::error("missing-unit", format!("`{name}` needs a unit"))
        .label(span, format!("{text} of what?"))
        .expected(due.to_string(), found.to_string())
}

/// `batch: 64 pairs`
pub fn wrong_unit(span: Span, slot: &str, counts: &str, due: &Type, found: &Type) -> Diagnostic {
    Diagnostic::error("wrong-unit", format!("{slot} counts {counts}"))
        .label(span, "")
        .expected(due.to_string(), found.to_string())
}

/// `packing: "isolate"`
pub fn not_a_choice(span: Span, name: &str, text: &str, due: &Type) -> Diagnostic {
    let mut fault = Diagnostic::error("not-a-choice", format!("`{name}` does not take `{text}`"))
        .label(span, "");
    fault.expected = Some(due.to_string());
    fault
}

/// A number outside its range.
pub fn out_of_range(span: Span, name: &str, range: &str, place: &Place) -> Diagnostic {
    Diagnostic::error("out-of-range", format!("`{name}` is outside its range"))
        .label(span, format!("allowed: {range}, {place}"))
}

/// Shares that are more or less than everything.
pub fn shares_not_whole(span: Span, sum_millionths: i128) -> Diagnostic {
    let sum = Quantity { unit: crate::lang::value::Unit::Percent, millionths: sum_millionths };
    Diagnostic::error("shares-not-whole", "shares must add up to 100%")
        .label(span, format!("these add up to {sum}"))
}

/// Tokens and steps in one sum.
pub fn mixed_units(span: Span, sign: &str, left: &Type, right: &Type) -> Diagnostic {
    let fault = match sign {
        "+" => Diagnostic::error("mixed-units", "different units do not add"),
        _ => Diagnostic::error("mixed-units", "a quantity is multiplied by a plain number"),
    };
    fault.label(span, format!("{left} {sign} {right}"))
}

/// A sum or product of things that are no numbers.
pub fn no_numbers(span: Span, sign: &str, left: &Type, right: &Type) -> Diagnostic {
    let what = if sign == "+" { "adds numbers" } else { "multiplies numbers" };
    Diagnostic::error("wrong-type", format!("`{sign}` {what}"))
        .label(span, format!("{left} {sign} {right}"))
}

/// `2 of data`
pub fn share_of_no_percent(span: Span, found: &Type) -> Diagnostic {
    Diagnostic::error("wrong-type", "a share is a percentage of data")
        .label(span, format!("this is {}", the(found)))
        .expected("Percent", found.to_string())
}

/// `10% of model`
pub fn share_of_no_data(span: Span, found: &Type) -> Diagnostic {
    Diagnostic::error("wrong-type", "a share is a percentage of data")
        .label(span, format!("this is {}", the(found)))
        .expected("Data", found.to_string())
}

/// `..x` in a list, where `x` is none.
pub fn spread_of_no_list(span: Span, found: &Type) -> Diagnostic {
    Diagnostic::error("wrong-type", "in a list, `..` takes the items of another list")
        .label(span, format!("this is {}", the(found)))
}

/// `..x` in braces, where `x` is no record.
pub fn spread_of_no_record(span: Span, found: &Type) -> Diagnostic {
    Diagnostic::error("wrong-type", "in braces, `..` takes the fields of a record")
        .label(span, format!("this is {}", the(found)))
}

/// `"${record}"`
pub fn not_text(span: Span, name: &str, found: &Type) -> Diagnostic {
    Diagnostic::error("wrong-type", format!("`{name}` cannot stand inside a text"))
        .label(span, format!("this is {}", the(found)))
        .note("numbers, quantities, strings and paths can")
}

/// A number beyond 64 bits.
pub fn overflow(span: Span) -> Diagnostic {
    Diagnostic::error("overflow", "this number is too large")
        .label(span, "beyond what 64 bits hold")
}

/// A quantity with a seventh decimal.
pub fn too_fine(span: Span) -> Diagnostic {
    Diagnostic::error("overflow", "this number is too fine")
        .label(span, "quantities have at most six decimals")
}

/// A value beyond what any recipe needs.
pub fn too_large(span: Span, why: &str) -> Diagnostic {
    Diagnostic::error("too-large", "this value is too large").label(span, why)
}

/// `10% tokens`
pub fn two_units(span: Span) -> Diagnostic {
    Diagnostic::error("two-units", "this number has two units")
        .label(span, "one of them is too much")
}

/// What must agree and does not.
pub fn requirement(left: &str, compare: Compare, right: &str) -> Diagnostic {
    let message = match compare {
        Compare::Divides => format!("`{left}` does not divide `{right}`"),
        Compare::Outside => format!("`{left}` is among `{right}`"),
        Compare::Equal => format!("`{left}` and `{right}` differ"),
        Compare::NotEqual => format!("`{left}` and `{right}` are the same"),
        Compare::Less => format!("`{left}` is not less than `{right}`"),
        Compare::LessEqual => format!("`{left}` is more than `{right}`"),
        Compare::Greater => format!("`{left}` is not more than `{right}`"),
        Compare::GreaterEqual => format!("`{left}` is less than `{right}`"),
    };
    Diagnostic::error("requirement", message)
}

/// `require data.rated == true`
pub fn not_true(what: &str) -> Diagnostic {
    Diagnostic::error("requirement", format!("`{what}` is not true"))
}

/// Data that is held out, and learnt from all the same.
pub fn trained_on_held_out(
    owner: &str,
    name: &str,
    held_out: Span,
    trained_on: Span,
) -> Diagnostic {
    let message = format!("`{owner}` is given `{name}`, which a model was trained on");
    let fault = Diagnostic::error("trained-on-held-out", message);
    let fault = fault.label(held_out, "is to be unseen here");
    if held_out == trained_on { fault } else { fault.label(trained_on, "trained on here") }
}

/// A reward model of another vocabulary: where it is given and its tokenizer; whose vocabulary
/// is the other one, and where that is set.
pub fn cannot_read(owner: &str, judge: (Span, &str), other: (&str, Span)) -> Diagnostic {
    let message = format!("`{owner}` scores text that its reward model cannot read");
    Diagnostic::error("tokenizer-mismatch", message)
        .label(judge.0, format!("trained with tokenizer `{}`", judge.1))
        .label(other.1, format!("the vocabulary of the {} is set here", other.0))
}

/// Two tokenizers that must be one.
pub fn tokenizer_mismatch(owner: &str, left: &str, right: &str) -> Diagnostic {
    Diagnostic::error(
        "tokenizer-mismatch",
        format!("`{owner}` needs one tokenizer, but `{left}` and `{right}` differ"),
    )
}

/// An adapter beside a model that it was not trained on.
pub fn wrong_base(at: Span, adapter: &str, base: &str, place: &str) -> Diagnostic {
    Diagnostic::error("wrong-base", "the adapter belongs to another model")
        .label(at, format!("`{adapter}` was trained on `{base}`, {place}"))
}

/// A batch in tokens that cuts a sequence.
pub fn batch_not_whole(batch: &str, tokens: Quantity, context: Quantity) -> Diagnostic {
    let below = tokens.millionths - tokens.millionths % context.millionths.max(1);
    let nearest = [below, below + context.millionths].map(|millionths| millionths / 1_000_000);
    Diagnostic::error("batch-not-whole", format!("`{batch}` must hold whole sequences")).note(
        match nearest {
            [0, above] => format!("the smallest is {above} tokens"),
            [below, above] => format!("nearest are {below} and {above} tokens"),
        },
    )
}

// Artifacts and work.

/// An artifact of another type; `is` says what was given and where it was made.
pub fn wrong_artifact(
    span: Span,
    slot: &str,
    wanted: &str,
    is: String,
    due: &Type,
    found: &Type,
) -> Diagnostic {
    let fault = Diagnostic::error("wrong-artifact", format!("{slot} takes {wanted}"))
        .label(span, is)
        .expected(due.to_string(), found.to_string());
    match found {
        Type::Fields(ports) => {
            let names: Vec<&str> = ports.iter().map(|(port, _)| port.as_str()).collect();
            fault.note(format!("name one of its results: {}", names.join(", ")))
        }
        _ => fault,
    }
}

/// A base model where a chat model is due.
pub fn not_a_chat_model(
    span: Span,
    name: &str,
    owner: &str,
    made: &str,
    due: &Type,
    found: &Type,
) -> Diagnostic {
    Diagnostic::error("not-a-chat-model", format!("`{owner}` needs a chat model"))
        .label(span, format!("`{name}` has no chat template: {made}"))
        .expected(due.to_string(), found.to_string())
}

/// Work inside an expression.
pub fn unnamed_work(span: Span, callee: &str, makes: &str) -> Diagnostic {
    let name = callee.rsplit('.').next().unwrap_or(callee);
    Diagnostic::error("unnamed-work", "work needs a name")
        .label(span, makes)
        .note(format!("give it one: `stage {name} = {callee} {{ … }}`"))
}

/// `let chat = sft { … }`
pub fn let_runs_work(span: Span, name: &str, callee: &str, work: &str) -> Diagnostic {
    Diagnostic::error("let-runs-work", format!("`{callee}` runs work"))
        .label(span, "`let` names values, `stage` names work")
        .hint(Some(format!("stage {name} = {work}")))
}

/// `stage x = 1`, or a call that only makes a value.
pub fn stage_without_work(span: Span, stage: Span, name: &str, value: Option<&str>) -> Diagnostic {
    Diagnostic::error("stage-without-work", format!("`{name}` runs no work"))
        .label(span, "this is a value")
        .label(stage, "`stage` names work, `let` names values")
        .hint(value.map(|value| format!("let {name} = {value}")))
}

/// `output` of something that is no stage.
pub fn not_a_stage(span: Span, name: &str, declared: Span) -> Diagnostic {
    Diagnostic::error("not-a-stage", format!("`{name}` is no stage"))
        .label(span, "`output` names stages and their results")
        .label(declared, "declared here")
}

/// `{{dmup}}`
pub fn unknown_placeholder(
    span: Span,
    owner: &str,
    name: &str,
    known: &[&str],
    near: Option<&str>,
) -> Diagnostic {
    let (out, inputs) = known.split_last().unwrap_or((&"out", &[]));
    let label = match inputs {
        [] => format!("no inputs; only {out}"),
        inputs => format!("inputs: {}; and {out}", inputs.join(", ")),
    };
    Diagnostic::error("unknown-placeholder", format!("`{owner}` has no input `{name}`"))
        .label(span, label)
        .hint(near.map(|near| format!("{{{{{near}}}}}")))
}

/// A param or let that nothing reads.
pub fn unused(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("unused", format!("`{name}` has no effect")).label(span, "nothing reads it")
}

/// A stage that no output needs.
pub fn unneeded_stage(span: Span, name: &str) -> Diagnostic {
    Diagnostic::warning("unneeded-stage", format!("no output needs `{name}`"))
        .label(span, "built only when asked for by name")
}

/// A type in a sentence: `Int`, or what it is for records without a name.
fn the(ty: &Type) -> String {
    match ty {
        Type::None => "`none`".to_string(),
        Type::Fields(_) => "a record".to_string(),
        Type::List(_) => "a list".to_string(),
        other => format!("`{other}`"),
    }
}

fn in_words(count: usize) -> String {
    const WORDS: &[&str] = &["no", "one", "two", "three", "four", "five", "six", "seven", "eight"];
    WORDS.get(count).map_or_else(|| count.to_string(), |word| word.to_string())
}
