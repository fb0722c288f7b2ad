//! Attention of a token does not depend on what stands beside its segment, nor on how many queries
//! are asked at once.

use llamake::train::kernels::Threads;
use llamake::train::kernels::attention::{self, Heads, Saved, Segment, Softmax};

use super::{assert_same_bits, numbers};

const HEADS: Heads = Heads { query: 4, kv: 2, width: 16 };
const Q: usize = 64;
const KV: usize = 32;

struct Forward {
    out: Vec<f32>,
    max: Vec<f32>,
    sum: Vec<f32>,
}

fn forward(t: &Threads, [q, k, v]: [&[f32]; 3], segments: &[Segment]) -> Forward {
    let tokens = q.len() / Q;
    let mut found =
        Forward { out: vec![0.0; q.len()], max: vec![0.0; tokens * 4], sum: vec![0.0; tokens * 4] };
    let stats = [&mut found.max[..], &mut found.sum];
    attention::forward(t, HEADS, [q, k, v], segments, &mut found.out, stats);
    found
}

#[test]
fn a_packed_segment_has_the_bits_it_has_alone() {
    let t = Threads::new(2);
    let tokens = 5 + 150 + 9;
    let [q, dout] = ["q", "dout"].map(|name| numbers(name, tokens * Q));
    let [k, v] = ["k", "v"].map(|name| numbers(name, tokens * KV));
    let gradients = |[q, k, v, dout]: [&[f32]; 4], segments: &[Segment]| {
        let Forward { out, max, sum } = forward(&t, [q, k, v], segments);
        let mut found = [vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; k.len()]];
        let softmax = Softmax { max: &max, sum: &sum };
        let saved = Saved { q, k, v, out: &out, softmax };
        let to = found.each_mut().map(|x| &mut x[..]);
        attention::backward(&t, HEADS, &saved, segments, dout, to);
        let [dq, dk, dv] = found;
        [out, dq, dk, dv]
    };
    let packed = [0..5, 5..155, 155..164].map(Segment::whole);
    let packed = gradients([&q, &k, &v, &dout], &packed);
    let (wide, narrow) = (5 * Q..155 * Q, 5 * KV..155 * KV);
    let own = [&q[wide.clone()], &k[narrow.clone()], &v[narrow.clone()], &dout[wide.clone()]];
    let alone = gradients(own, &[Segment::whole(0..150)]);
    let ranges = [wide.clone(), wide, narrow.clone(), narrow];
    for ((packed, alone), range) in packed.iter().zip(&alone).zip(ranges) {
        assert_same_bits("packed and alone", alone, &packed[range]);
    }
}

#[test]
fn decoding_has_the_bits_of_the_whole_sequence() {
    let t = Threads::new(1);
    let tokens = 300;
    let q = numbers("q", tokens * Q);
    let [k, v] = ["k", "v"].map(|name| numbers(name, tokens * KV));
    let whole = forward(&t, [&q, &k, &v], &[Segment::whole(0..tokens)]);
    for (first, last) in [(0, 1), (1, 2), (64, 65), (299, 300), (40, 140), (255, 300)] {
        let step = Segment { queries: 0..last - first, keys: 0..last };
        let keys = [&k[..last * KV], &v[..last * KV]];
        let range = first * Q..last * Q;
        let found = forward(&t, [&q[range.clone()], keys[0], keys[1]], &[step]);
        assert_same_bits("decoded", &whole.out[range], &found.out);
        assert_same_bits("maximum", &whole.max[first * 4..last * 4], &found.max);
        assert_same_bits("sum", &whole.sum[first * 4..last * 4], &found.sum);
    }
}
