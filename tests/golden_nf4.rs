//! The conformance cases of NF4: what bitsandbytes made of matrices of many shapes, a layer as it
//! saves one, and a layer of QLoRA forward and backward.

use candle_core::DType;
use llamake::train::kernels::gemm::{linear, linear_grad_input};
use llamake::train::kernels::nf4::{CODE, NESTED_BLOCK, Nf4, Scales, quantise};
use llamake::train::kernels::{Elements, Sink, Threads, dynamic8};
use llamake::train::model::parameters::{Role, TensorSpec};
use llamake::train::model::quantized::{Part, read_scales};
use safetensors::SafeTensors;

use crate::golden::{Case, Tensors, cases};
use crate::train::fixtures::assert_close;

impl Tensors {
    fn bytes(&self, name: &str) -> Vec<u8> {
        self.0[name].flatten_all().unwrap().to_vec1().unwrap()
    }
}

#[test]
fn golden_nf4() {
    for case in cases("nf4") {
        let tables = case.tensors("tables.safetensors");
        assert_eq!(tables.floats("nf4_code"), CODE);
        assert_eq!(tables.floats("dynamic_map_256"), dynamic8::SIGNED.values);
        let files = case.json["expected"]["cases"].as_array().unwrap();
        for file in files.iter().map(|file| file["file"].as_str().unwrap()) {
            check_matrix(&case, file);
        }
        check_qlora(&case);
        check_layer(&case);
    }
}

fn check_matrix(case: &Case, file: &str) {
    let tensors = case.tensors(file);
    let weight = tensors.floats("weight");
    let double = tensors.0.contains_key("absmax_u8");
    let (packed, scales) = quantise(&Threads::new(2), &weight, double);
    assert_eq!(packed, tensors.bytes("packed"), "{file}");
    let theirs = if double { check_scales(&scales, &tensors, file) } else { scales };
    if let Scales::Plain(scales) = &theirs {
        assert_eq!(*scales, tensors.floats("absmax"), "{file}");
    }
    // What they wrote means here what it means there.
    let numbers = Elements::Nf4(Nf4::new(&packed, &theirs, weight.len())).to_floats();
    let rounded = tensors.0["dequantised"].dtype() == DType::BF16;
    let numbers: Vec<f32> = match rounded {
        true => numbers.iter().map(|x| half::bf16::from_f32(*x).to_f32()).collect(),
        false => numbers,
    };
    assert_eq!(numbers, tensors.floats("dequantised"), "{file}");
}

/// Scales in 8 bits, byte for byte where theirs is the nearest entry. Their search on a processor,
/// unlike that on a GPU, is not exact, and takes the entry beside it for one code in a few hundred.
/// Gives theirs.
fn check_scales(ours: &Scales, tensors: &Tensors, file: &str) -> Scales {
    let Scales::Nested { codes, scales, map, offset } = ours else { panic!("{file}: not nested") };
    let [their_offset] = tensors.floats("nested_offset")[..] else { panic!("{file}: no offset") };
    assert!((offset - their_offset).abs() <= 1e-6 * their_offset, "{file}: {offset}");
    let (their_scales, raw) = (tensors.floats("nested_absmax"), tensors.floats("absmax"));
    // A mean one unit off moves what is left of a scale by as much.
    let is_same_mean = offset.to_bits() == their_offset.to_bits();
    let slack = if is_same_mean { 0.0 } else { 1e-6 * their_offset };
    for (ours, theirs) in scales.iter().zip(&their_scales) {
        assert!((ours - theirs).abs() <= slack, "{file}: {ours}, {theirs}");
    }
    assert_eq!(map[..], tensors.floats("nested_code"), "{file}");
    let their_codes = tensors.bytes("absmax_u8");
    let mut unlike = 0;
    for (block, (ours, theirs)) in codes.iter().zip(&their_codes).enumerate() {
        let scale = their_scales[block / NESTED_BLOCK];
        let share = if scale > 0.0 { (raw[block] - their_offset) / scale } else { 0.0 };
        let away = |code: u8| (f64::from(map[usize::from(code)]) - f64::from(share)).abs();
        assert!(ours.abs_diff(*theirs) <= 1, "{file}: {ours}, {theirs}");
        let farther = away(*theirs) - away(*ours);
        assert!(ours == theirs || !is_same_mean || farther > 0.0, "{file}: block {block}");
        assert!(scale == 0.0 || farther < 5e-5, "{file}: block {block}");
        unlike += usize::from(ours != theirs);
    }
    assert!(unlike <= 1 + codes.len() / 100, "{file}: {unlike} of {} codes", codes.len());
    let nested = their_scales.clone();
    let theirs = Scales::Nested {
        codes: their_codes,
        scales: their_scales,
        map: map.clone(),
        offset: their_offset,
    };
    let decoded = tensors.floats("absmax_decoded");
    for (block, decoded) in decoded.iter().enumerate() {
        assert_eq!(theirs.of(block), *decoded, "{file}: block {block}");
        let step = 0.015 * nested[block / NESTED_BLOCK] + 1e-6 * their_offset;
        assert!((ours.of(block) - decoded).abs() <= step, "{file}: block {block}");
    }
    theirs
}

/// A layer as bitsandbytes saves it.
fn check_layer(case: &Case) {
    let bytes = std::fs::read(case.folder.join("linear4bit_state.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = case.tensors("qlora.safetensors");
    let shape = tensors.0["weight"].dims().to_vec();
    let spec = TensorSpec { name: "weight".into(), shape, role: Role::Projection };
    let codes = file.tensor("weight").unwrap();
    let mut take = |part: &str| {
        let tensor = file.tensor(&format!("weight.{part}")).ok()?;
        Some(Part { dtype: tensor.dtype(), bytes: tensor.data() })
    };
    let scales = read_scales(&spec, codes.data().len(), &mut take).unwrap();
    let numbers = Elements::Nf4(Nf4::new(codes.data(), &scales, spec.len())).to_floats();
    assert_close("layer", &numbers, &tensors.floats("weight_dequantised"), 1e-6, 0.0);
    let (packed, _) = quantise(&Threads::new(1), &tensors.floats("weight"), true);
    assert_eq!(packed, codes.data());
}

/// A layer of QLoRA: the frozen matrix in NF4 with double quantisation beside two small ones.
fn check_qlora(case: &Case) {
    let (t, tensors) = (Threads::new(2), case.tensors("qlora.safetensors"));
    let size = |name: &str| case.json["config"]["qlora"][name].as_u64().unwrap() as usize;
    let (out, inp, r) = (size("out"), size("inp"), size("r"));
    let scale = size("alpha") as f32 / r as f32;
    let weight = tensors.floats("weight");
    let (packed, scales) = quantise(&t, &weight, true);
    let base = Elements::Nf4(Nf4::new(&packed, &scales, weight.len()));
    assert_close(
        "dequantised",
        &base.to_floats(),
        &tensors.floats("weight_dequantised"),
        1e-6,
        0.0,
    );
    let (x, a, b) = (tensors.floats("x"), tensors.floats("lora_A"), tensors.floats("lora_B"));
    let rows = x.len() / inp;
    let (mut y, mut low) = (vec![0.0; rows * out], vec![0.0; rows * r]);
    linear(&t, &x, base, &mut y, [rows, inp, out]);
    linear(&t, &x, &a, &mut low, [rows, inp, r]);
    low.iter_mut().for_each(|x| *x *= scale);
    let mut added = vec![0.0; rows * out];
    linear(&t, &low, &b, &mut added, [rows, r, out]);
    y.iter_mut().zip(&added).for_each(|(y, added)| *y += added);
    let (atol, rtol) = case.tolerance("qlora");
    assert_close("y", &y, &tensors.floats("y"), atol, rtol);
    let (dy, mut dx) = (tensors.floats("grad_y"), vec![0.0; rows * inp]);
    let mut dlow = vec![0.0; rows * r];
    linear_grad_input(&t, &dy, &b, &mut dlow, [rows, r, out], Sink::Write);
    dlow.iter_mut().for_each(|x| *x *= scale);
    linear_grad_input(&t, &dy, base, &mut dx, [rows, inp, out], Sink::Write);
    linear_grad_input(&t, &dlow, &a, &mut dx, [rows, inp, r], Sink::Add);
    assert_close("grad_x", &dx, &tensors.floats("grad_x"), atol, rtol);
}
