//! The kernels against candle's own operations.

use candle_core::{D, Device, Tensor};

use super::{
    elementwise::{activate, exp},
    *,
};
use crate::layers::Activation;

fn tensor(shape: &[usize], seed: u64) -> Tensor {
    let len: usize = shape.iter().product();
    let value = |n: usize| ((n as u64 * 7919 + seed * 104_729) % 1009) as f32 / 250.0 - 2.0;
    Tensor::from_vec((0..len).map(value).collect(), shape, &Device::Cpu).unwrap()
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn check(found: &[f32], expected: &Tensor, most: f32, what: &str) {
    let expected = values(expected);
    assert_eq!(found.len(), expected.len(), "{what}");
    let off = found.iter().zip(&expected).fold(0f32, |off, (x, y)| off.max((x - y).abs()));
    assert!(off <= most, "{what} is off by {off}");
}

#[test]
fn exp_is_within_rounding() {
    for n in -8700..=8800 {
        let x = n as f32 / 100.0;
        let expected = f64::from(x).exp();
        let off = (f64::from(exp(x)) - expected).abs() / expected;
        assert!(off < 3e-7, "exp({x}) is off by {off}");
    }
    assert!(exp(f32::NEG_INFINITY) < 1e-37);
}

#[test]
fn activations() {
    let x = Tensor::arange(0f32, 1200.0, &Device::Cpu).unwrap().affine(0.01, -6.0).unwrap();
    let bias = tensor(&[1200], 1);
    let sum = (&x + &bias).unwrap();
    let sigmoid = candle_nn::ops::sigmoid(&(&sum * 1.702).unwrap()).unwrap();
    let cases = [
        (None, sum.clone()),
        (Some(Activation::QuickGelu), (&sum * sigmoid).unwrap()),
        (Some(Activation::Gelu), sum.gelu_erf().unwrap()),
        (Some(Activation::GeluTanh), sum.gelu().unwrap()),
        (Some(Activation::Relu), sum.relu().unwrap()),
    ];
    for (activation, expected) in cases {
        let mut found = values(&x);
        activate(&mut found, Some(&values(&bias)), activation);
        check(&found, &expected, 3e-6, &format!("{activation:?}"));
    }
}

#[test]
fn layer_norms() {
    for width in [1, 5, 16, 33, 768] {
        let (x, weight, bias) = (tensor(&[70, width], 2), tensor(&[width], 3), tensor(&[width], 4));
        let expected = candle_nn::ops::layer_norm_slow(&x, &weight, &bias, 1e-5).unwrap();
        let found = layer_norm(&values(&x), &values(&weight), &values(&bias), 1e-5);
        check(&found, &expected, 2e-5, &format!("width {width}"));
    }
}

/// Queries, keys and values side by side, as a fused projection leaves them.
#[test]
fn attentions() {
    for (batch, heads, queries, keys, width) in [
        (1, 1, 1, 1, 4),
        (2, 3, 5, 9, 8),
        (2, 2, 50, 50, 64),
        (1, 2, 77, 77, 20),
        (2, 2, 130, 61, 80),
    ] {
        let all = heads * width;
        let q = tensor(&[batch, queries, all], 5);
        let kv = tensor(&[batch, keys, 2 * all], 6);
        let counts: Vec<usize> = (0..batch).map(|b| keys - b * keys / 3).collect();
        let (query_values, pair) = (values(&q), values(&kv));
        let query = Heads { values: &query_values, tokens: queries, stride: all, offset: 0 };
        let key = Heads { values: &pair, tokens: keys, stride: 2 * all, offset: 0 };
        let value = Heads { offset: all, ..key };
        for seen in [Seen::All, Seen::Causal, Seen::First(&counts)] {
            let split = |x: &Tensor, tokens| {
                let x = x.reshape((batch, tokens, heads, width)).unwrap();
                x.transpose(1, 2).unwrap().contiguous().unwrap()
            };
            let mask: Vec<f32> = (0..batch * queries * keys)
                .map(|n| {
                    let (b, t, s) = (n / keys / queries, n / keys % queries, n % keys);
                    if s < seen.of(b, t, keys) { 0.0 } else { f32::NEG_INFINITY }
                })
                .collect();
            let mask = Tensor::from_vec(mask, (batch, 1, queries, keys), &Device::Cpu).unwrap();
            let k = split(&kv.narrow(2, 0, all).unwrap().contiguous().unwrap(), keys);
            let v = split(&kv.narrow(2, all, all).unwrap().contiguous().unwrap(), keys);
            let scores = split(&q, queries).matmul(&k.t().unwrap()).unwrap();
            let scores = (scores / (width as f64).sqrt()).unwrap().broadcast_add(&mask).unwrap();
            let weights = candle_nn::ops::softmax(&scores, D::Minus1).unwrap();
            let expected = weights.matmul(&v).unwrap().transpose(1, 2).unwrap();
            let found = attention(query, key, value, Shape { batch, heads, width }, seen);
            check(&found, &expected.contiguous().unwrap(), 2e-5, &format!("{keys} keys, {seen:?}"));
        }
    }
}

#[test]
fn patches_are_cut_row_by_row() {
    // Two pictures of 5×4 pixels, patches of 2: the last row fills none.
    let pixels: Vec<f32> = (0..2 * 3 * 5 * 4).map(|n| n as f32).collect();
    let found = patches(&pixels, (5, 4), 2);
    assert_eq!(found.len(), 2 * 4 * 12);
    assert_eq!(found[..12], [0., 1., 4., 5., 20., 21., 24., 25., 40., 41., 44., 45.]);
    assert_eq!(found[12..16], [2., 3., 6., 7.]);
    assert_eq!(found[24..28], [8., 9., 12., 13.]);
    assert_eq!(found[48..52], [60., 61., 64., 65.]);
}
