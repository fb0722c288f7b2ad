//! Attention, forward and backward.

use llamake::train::kernels::attention::cached::Cached;
use llamake::train::kernels::attention::launch::{self, Segments};
use llamake::train::kernels::attention::{self, Heads, Saved, Segment, Softmax};

use super::{assert_same_bits, batch_rows, cpu, numbers, on_shims, room, to};

/// Query heads, kv heads, width, and the lengths of segments: ragged, one token, more than a block
/// of 256 keys.
fn shapes() -> Vec<(Heads, Vec<usize>)> {
    let heads = |query, kv, width| Heads { query, kv, width };
    vec![
        (heads(1, 1, 16), vec![1]),
        (heads(4, 2, 16), vec![5, 1, 64, 130]),
        (heads(2, 1, 32), vec![300, 33]),
        (heads(3, 3, 64), vec![65, 9]),
        (heads(2, 1, 128), vec![257, 2]),
    ]
}

#[test]
fn attention_has_the_bits_of_the_cpu() {
    for (heads, lengths) in shapes() {
        let rows = batch_rows(&lengths);
        let segments: Vec<Segment> = rows.into_iter().map(Segment::whole).collect();
        check_forward(heads, &segments);
    }
}

#[test]
fn attention_to_keys_of_before_has_the_bits_of_the_cpu() {
    let segments = [
        Segment { queries: 0..1, keys: 0..40 },
        Segment { queries: 1..70, keys: 40..410 },
        Segment { queries: 70..72, keys: 410..412 },
    ];
    check_forward(Heads { query: 4, kv: 2, width: 32 }, &segments);
}

#[test]
fn few_queries_have_the_bits_of_the_cpu() {
    for (query, kv, width) in [(4, 2, 32), (1, 1, 16), (12, 1, 64), (2, 2, 128)] {
        let heads = Heads { query, kv, width };
        let segments = [
            Segment { queries: 0..1, keys: 0..1 },
            Segment { queries: 1..2, keys: 3..603 },
            Segment { queries: 2..5, keys: 610..870 },
        ];
        let (tokens, keys) = (5, 880);
        let (row, kv_row) = (query * width, kv * width);
        let q: Vec<f32> = numbers("q", tokens * row).iter().map(|x| 5.0 * x).collect();
        let [new_k, new_v] = ["new k", "new v"].map(|name| numbers(name, tokens * kv_row));
        let before = ["k", "v"].map(|name| numbers(name, keys * kv_row));
        let [mut k, mut v] = before.clone();
        for Segment { queries, keys } in &segments {
            let to = (keys.end - queries.len()) * kv_row..keys.end * kv_row;
            let from = queries.start * kv_row..queries.end * kv_row;
            k[to.clone()].copy_from_slice(&new_k[from.clone()]);
            v[to].copy_from_slice(&new_v[from]);
        }
        let mut out = vec![0.0; tokens * row];
        let [mut max, mut sum] = [(); 2].map(|()| vec![0.0; tokens * query]);
        let softmax: [&mut [f32]; 2] = [&mut max, &mut sum];
        attention::forward(&cpu(), heads, [&q, &k, &v], &segments, &mut out, softmax);
        on_shims(|on| {
            let mut cached = Cached::new(on, heads, &segments).unwrap();
            let [q, new_k, new_v] = [&q, &new_k, &new_v].map(|x| to(on, x));
            let [mut found_k, mut found_v] = before.each_ref().map(|x| to(on, x));
            let (new, cache) = ([new_k.all(), new_v.all()], [found_k.all_mut(), found_v.all_mut()]);
            cached.store(&**on, heads, new, cache).unwrap();
            assert_same_bits("keys", &k, &found_k);
            assert_same_bits("values", &v, &found_v);
            let mut found = room(on, tokens * row);
            let [mut found_max, mut found_sum] = [(); 2].map(|()| room(on, tokens * query));
            let softmax = [found_max.all_mut(), found_sum.all_mut()];
            let read = [q.all(), found_k.all(), found_v.all()];
            cached.attend(&**on, heads, read, found.all_mut(), softmax).unwrap();
            assert_same_bits(&format!("maxima of {heads:?}"), &max, &found_max);
            assert_same_bits(&format!("sums of {heads:?}"), &sum, &found_sum);
            assert_same_bits(&format!("out of {heads:?}"), &out, &found);
        });
    }
}

fn check_forward(heads: Heads, segments: &[Segment]) {
    let tokens = segments.last().map_or(0, |segment| segment.queries.end);
    let keys = segments.last().map_or(0, |segment| segment.keys.end);
    let (row, kv_row) = (heads.query * heads.width, heads.kv * heads.width);
    // Large enough that the softmax is far from even.
    let q: Vec<f32> = numbers("q", tokens * row).iter().map(|x| 5.0 * x).collect();
    let (k, v) = (numbers("k", keys * kv_row), numbers("v", keys * kv_row));
    let mut out = vec![0.0; tokens * row];
    let [mut max, mut sum] = [(); 2].map(|()| vec![0.0; tokens * heads.query]);
    let softmax: [&mut [f32]; 2] = [&mut max, &mut sum];
    attention::forward(&cpu(), heads, [&q, &k, &v], segments, &mut out, softmax);
    on_shims(|on| {
        let on_device = Segments::new(on, segments).unwrap();
        let (q, k, v) = (to(on, &q), to(on, &k), to(on, &v));
        let mut found = room(on, tokens * row);
        let [mut found_max, mut found_sum] = [(); 2].map(|()| room(on, tokens * heads.query));
        let read = [q.all(), k.all(), v.all()];
        let softmax = [found_max.all_mut(), found_sum.all_mut()];
        launch::forward(&**on, heads, read, &on_device, found.all_mut(), softmax).unwrap();
        assert_same_bits(&format!("maxima of {heads:?}"), &max, &found_max);
        assert_same_bits(&format!("sums of {heads:?}"), &sum, &found_sum);
        assert_same_bits(&format!("out of {heads:?}"), &out, &found);
    });
}

#[test]
fn gradients_of_attention_have_the_bits_of_the_cpu() {
    for (heads, lengths) in shapes() {
        let (rows, tokens) = (batch_rows(&lengths), lengths.iter().sum::<usize>());
        let segments: Vec<Segment> = rows.into_iter().map(Segment::whole).collect();
        let (row, kv_row) = (heads.query * heads.width, heads.kv * heads.width);
        let [q, dout] = ["q", "dout"].map(|name| numbers(name, tokens * row));
        let [k, v] = ["k", "v"].map(|name| numbers(name, tokens * kv_row));
        let [mut out, mut dq] = [(); 2].map(|()| vec![0.0; tokens * row]);
        let [mut dk, mut dv] = [(); 2].map(|()| vec![0.0; tokens * kv_row]);
        let [mut max, mut sum] = [(); 2].map(|()| vec![0.0; tokens * heads.query]);
        let stats: [&mut [f32]; 2] = [&mut max, &mut sum];
        attention::forward(&cpu(), heads, [&q, &k, &v], &segments, &mut out, stats);
        let softmax = Softmax { max: &max, sum: &sum };
        let saved = Saved { q: &q, k: &k, v: &v, out: &out, softmax };
        let into: [&mut [f32]; 3] = [&mut dq, &mut dk, &mut dv];
        attention::backward(&cpu(), heads, &saved, &segments, &dout, into);
        on_shims(|on| {
            let on_device = Segments::new(on, &segments).unwrap();
            let [q, k, v, out, max, sum] = [&q, &k, &v, &out, &max, &sum].map(|x| to(on, x));
            let (dout, mut dots) = (to(on, &dout), room(on, tokens * heads.query));
            let mut found = [tokens * row, tokens * kv_row, tokens * kv_row].map(|n| room(on, n));
            let [q, k, v, out, max, sum] = [&q, &k, &v, &out, &max, &sum].map(|x| x.all());
            let saved = launch::Saved { q, k, v, out, max, sum };
            let into = found.each_mut().map(|array| array.all_mut());
            let dout = dout.all();
            launch::backward(&**on, heads, saved, &on_device, dout, dots.all_mut(), into).unwrap();
            for (name, expected, found) in
                [("dq", &dq, &found[0]), ("dk", &dk, &found[1]), ("dv", &dv, &found[2])]
            {
                assert_same_bits(&format!("{name} of {heads:?}"), expected, found);
            }
        });
    }
}
