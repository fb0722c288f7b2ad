//! Keys: what changes them, what does not, and how a change is told.

use std::collections::BTreeMap;

use llamake::build::executor::Executor;
use llamake::build::key::{ActionKey, Contents, action_key, explain_key};
use llamake::build::literal;
use llamake::build::verdict::changes;
use llamake::lang::value::*;

use super::world::*;

fn key(params: &[(&str, Value)]) -> ActionKey {
    let plan = planned(&Recipe::default().stage("a", "text", params));
    let action = &plan.actions[0];
    action_key(action, Fake::default().keyed(action), &Contents::default())
}

fn record(name: &str, fields: &[(&str, Value)]) -> Value {
    let fields: BTreeMap<String, Value> =
        fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    Value::Record { name: Some(name.to_string()), fields }
}

#[test]
fn different_values_have_different_keys() {
    let percent = Quantity { unit: Unit::Percent, millionths: 3_000_000 };
    let tokens = Quantity { unit: Unit::Tokens, millionths: 3_000_000 };
    let list = |items: &[i64]| Value::List(items.iter().copied().map(Value::Int).collect());
    let nested = Value::List(vec![list(&[1]), list(&[2])]);
    let values = [
        Value::None,
        Value::Bool(false),
        Value::Bool(true),
        Value::Int(0),
        Value::Int(1),
        Value::Float(0.0),
        Value::Float(1.0),
        Value::Text(String::new()),
        Value::Text("1".to_string()),
        Value::Quantity(percent),
        Value::Quantity(tokens),
        list(&[]),
        list(&[1]),
        list(&[1, 2]),
        nested,
        Value::List(vec![list(&[1, 2])]),
        record("cosine", &[]),
        record("constant", &[]),
        record("cosine", &[("a", Value::Int(1))]),
        record("cosine", &[("b", Value::Int(1))]),
        Value::Share { percent, of: Box::new(Value::Int(1)) },
    ];
    let keys: Vec<ActionKey> = values.iter().map(|value| key(&[("x", value.clone())])).collect();
    for (at, one) in keys.iter().enumerate() {
        for (other_at, other) in keys.iter().enumerate() {
            let (a, b) = (&values[at], &values[other_at]);
            assert_eq!(one == other, at == other_at, "{a:?} and {b:?}");
        }
    }
}

#[test]
fn negative_zero_is_zero_and_parameters_outside_the_key_are_outside() {
    assert_eq!(key(&[("x", Value::Float(0.0))]), key(&[("x", Value::Float(-0.0))]));
    assert_eq!(key(&[("micro_batch", Value::Int(1))]), key(&[("micro_batch", Value::Int(2))]));
    assert_ne!(key(&[("x", Value::Int(1))]), key(&[("y", Value::Int(1))]));
}

#[test]
fn the_encoding_of_keys_does_not_move() {
    let schedule = record("cosine", &[("warmup", Value::Int(3))]);
    let key = key(&[("lr", Value::Float(2e-5)), ("schedule", schedule)]);
    assert_eq!(key.to_string(), "710adbab32dbc28ef6165a8ceb27ec396e647223080df72a04d3ba6cd2a75c4d");
}

#[test]
fn a_change_is_told_by_its_parameter_values_and_place() {
    let told = |old: &[(&str, Value)], new: &[(&str, Value)]| {
        let parts = |params| {
            let plan = planned(&Recipe::default().stage("a", "text", params));
            (explain_key(&plan.actions[0], Default::default(), &Contents::default()), plan)
        };
        let ((before, _), (now, plan)) = (parts(old), parts(new));
        let changes = changes(&plan.actions[0], &before, &now);
        changes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let (slow, fast) = (Value::Float(1e-5), Value::Float(2e-5));
    assert_eq!(
        told(&[("lr", fast.clone())], &[("lr", slow)]),
        ["parameter `lr` 2e-5 → 1e-5 at a.recipe:1"]
    );
    let warmup = |millionths| {
        record(
            "cosine",
            &[("warmup", Value::Quantity(Quantity { unit: Unit::Percent, millionths }))],
        )
    };
    assert_eq!(
        told(&[("schedule", warmup(3_000_000))], &[("schedule", warmup(500_000))]),
        ["parameter `schedule.warmup` 3% → 0.5% at a.recipe:1"]
    );
    assert_eq!(told(&[], &[("lr", fast)]), ["parameter `lr` is now 2e-5 at a.recipe:1"]);
    assert!(told(&[("micro_batch", Value::Int(1))], &[("micro_batch", Value::Int(1))]).is_empty());
}

/// Values whose text must say all of them.
pub fn every_value(folder: &str) -> Vec<Value> {
    let quantity = |unit, millionths| Value::Quantity(Quantity { unit, millionths });
    let mut values = vec![
        Value::None,
        Value::Bool(true),
        Value::Bool(false),
        Value::Int(i64::MIN),
        Value::Int(42),
        Value::Float(0.1 + 0.2),
        Value::Float(-0.0),
        Value::Float(1e300),
        Value::Float(5e-324),
        Value::Float(1e16),
        Value::Float(f64::INFINITY),
        Value::Float(f64::NEG_INFINITY),
        Value::Text("plain".to_string()),
        Value::Text("it's \"quoted\" \\ \n\t\u{7f}\u{0} größe {{out}}".to_string()),
        Value::Path(PathValue { written: "a b.txt".to_string(), folder: folder.to_string() }),
        Value::List(vec![]),
        Value::List(vec![Value::Int(1), Value::List(vec![Value::None])]),
        Value::Record { name: None, fields: BTreeMap::new() },
        record("smallworld.shape", &[("none", Value::None), ("a b", Value::Int(1))]),
        record("path", &[("true", Value::Bool(true)), ("inf", Value::Int(1))]),
        record("größe", &[("x", record("cosine", &[]))]),
        Value::Share {
            percent: Quantity { unit: Unit::Percent, millionths: 33_333_333 },
            of: Box::new(Value::List(vec![Value::Int(1)])),
        },
    ];
    use Unit::*;
    for unit in [Tokens, Steps, Epochs, Sequences, Pairs, Prompts, Rows, Bytes, Duration, Percent] {
        values.push(quantity(unit, 1_500_000));
        values.push(quantity(unit, -1));
        values.push(quantity(unit, i128::from(i64::MAX) * 1_000_000));
    }
    values
}

#[test]
fn every_value_survives_its_text() {
    for value in every_value("here") {
        let text = literal::write(&value);
        let back = literal::read(&text, &|_| None, "here");
        assert_eq!(back.as_ref(), Ok(&value), "{text}");
        let same = matches!((&back, &value), (Ok(Value::Float(a)), Value::Float(b))
            if a.to_bits() != b.to_bits());
        assert!(!same, "{text} lost bits");
    }
    let nan = literal::read(&literal::write(&Value::Float(f64::NAN)), &|_| None, "");
    assert!(matches!(nan, Ok(Value::Float(float)) if float.is_nan()));
}

#[test]
fn broken_texts_are_refused_in_words() {
    let read = |text: &str| literal::read(text, &|_| None, "").unwrap_err();
    assert_eq!(read(""), "a value is missing");
    assert_eq!(read("[1, 2"), "`,` is missing at the end");
    assert_eq!(read("1 2"), "`2` follows a complete value");
    assert_eq!(read("1.2.3"), "`1.2.3` is no number");
    assert_eq!(read("0.1234567%"), "`0.1234567` is no amount with at most six decimals");
    assert_eq!(read("maybe"), "`maybe` is no value");
    assert_eq!(read("\"open"), "expected a quoted text before `\"open`");
    assert_eq!(read("@\"chat.out\""), "there is no stage `chat` here");
    assert_eq!(read("{ a: 1, a: 2 }"), "field `a` stands twice");
    assert_eq!(read(&"[".repeat(100_000)), "values are nested more than 128 deep");
    let long = "9".repeat(60);
    assert!(read(&long).ends_with("is no number"));
    assert!(read(&format!("{long}%")).contains("is no amount"));
}
