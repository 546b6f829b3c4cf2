//! Layers on candle's operations, as they run on a GPU, against the same layers on `kernels`; and
//! the measure of that for whole models.

use std::cell::Cell;

use super::*;

thread_local! {
    pub(super) static WITHOUT_KERNELS: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` on candle's operations, whatever its numbers are.
pub(crate) fn without_kernels<T>(f: impl FnOnce() -> T) -> T {
    WITHOUT_KERNELS.set(true);
    let result = f();
    WITHOUT_KERNELS.set(false);
    result
}

/// That candle's operations give the rows that `kernels` give: in f32 to 1e-5 of the greatest value,
/// in half precision as far as its 11 or 8 bits go.
pub(crate) fn check_paths(what: &str, run: impl Fn(DType) -> Vec<Vec<f32>>) {
    let expected = run(DType::F32);
    assert!(!expected.is_empty(), "{what}: no rows");
    let f32 = without_kernels(|| run(DType::F32));
    check_rows(&format!("{what} in f32"), &f32, &expected, (1e-5, 0.999_999));
    for (dtype, within) in [(DType::F16, (1e-2, 0.9999)), (DType::BF16, (8e-2, 0.99))] {
        check_rows(&format!("{what} in {dtype:?}"), &run(dtype), &expected, within);
    }
}

/// Fails unless every row is within `relative` of the expected one's greatest value, and the
/// cosine of the two is at least `cosine`.
pub(crate) fn check_rows(
    what: &str,
    found: &[Vec<f32>],
    expected: &[Vec<f32>],
    (relative, cosine): (f32, f64),
) {
    assert_eq!(found.len(), expected.len(), "{what}: rows");
    for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{what}: length of row {n}");
        let dot = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>()
        };
        let norms = (dot(found, found) * dot(expected, expected)).sqrt();
        let greatest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
        let off = found.iter().zip(expected).fold(0f32, |most, (x, y)| most.max((x - y).abs()));
        assert!(dot(found, expected) >= cosine * norms, "{what}: direction of row {n}");
        assert!(off <= relative * greatest, "{what}: row {n} is off by {off} of {greatest}");
    }
}

/// Some numbers between -1 and 1.
fn numbers(seed: f32, shape: &[usize], dtype: DType) -> Tensor {
    let values: Vec<f32> =
        (0..shape.iter().product()).map(|n| (n as f32 * 2.399 + seed).sin()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

fn flat(x: &Tensor) -> Vec<Vec<f32>> {
    rows(&x.flatten_to(x.rank() - 2).unwrap()).unwrap()
}

#[test]
fn linear() {
    let activations =
        [Activation::QuickGelu, Activation::Gelu, Activation::GeluTanh, Activation::Relu];
    let layer = |dtype, with_bias: bool| {
        let bias = numbers(1.0, &[10], dtype);
        Linear::new(&numbers(2.0, &[10, 24], dtype), with_bias.then_some(&bias)).unwrap()
    };
    for input in [numbers(3.0, &[2, 5, 24], DType::F32), numbers(3.0, &[1, 24], DType::F32)] {
        let x = |dtype| input.to_dtype(dtype).unwrap();
        check_paths("product", |dtype| flat(&layer(dtype, false).forward(&x(dtype)).unwrap()));
        check_paths("bias", |dtype| flat(&layer(dtype, true).forward(&x(dtype)).unwrap()));
        for activation in activations {
            check_paths(&format!("{activation:?}"), |dtype| {
                flat(&layer(dtype, true).forward_through(&x(dtype), activation).unwrap())
            });
        }
        check_paths("some outputs", |dtype| {
            flat(&layer(dtype, true).forward_outputs(&x(dtype), 3, 5).unwrap())
        });
        check_paths("residual", |dtype| {
            let layer = layer(dtype, true);
            let residual = layer.forward(&x(dtype)).unwrap();
            flat(&layer.forward_onto(&x(dtype), &residual).unwrap())
        });
    }
}

#[test]
fn layer_norm_of_a_part_of_a_wider_tensor() {
    check_paths("layer norm", |dtype| {
        let norm = LayerNorm {
            weight: numbers(1.0, &[12], dtype),
            bias: numbers(2.0, &[12], dtype),
            epsilon: 1e-12,
        };
        flat(&norm.forward(&part(&numbers(3.0, &[2, 5, 36], dtype), 1, 12).unwrap()).unwrap())
    });
}

#[test]
fn attention_with_every_mask() {
    let masks = [Seen::All, Seen::Causal, Seen::First(&[2, 5])];
    for seen in masks {
        check_paths(&format!("{seen:?}"), |dtype| {
            let wide = numbers(1.0, &[2, 5, 36], dtype);
            let part = |n| part(&wide, n, 12).unwrap();
            flat(&attention(&part(0), &part(1), &part(2), 3, seen).unwrap())
        });
    }
    for seen in [Seen::All, Seen::First(&[4, 7])] {
        check_paths(&format!("fewer queries than keys, {seen:?}"), |dtype| {
            let (q, pair) = (numbers(1.0, &[2, 1, 12], dtype), numbers(2.0, &[2, 7, 24], dtype));
            let part = |n| part(&pair, n, 12).unwrap();
            flat(&attention(&q, &part(0), &part(1), 2, seen).unwrap())
        });
    }
}

#[test]
fn great_queries_and_keys_do_not_overflow_in_half_precision() {
    let run = |dtype| {
        let great = (numbers(1.0, &[1, 4, 64], dtype) * 90.0).unwrap();
        flat(&attention(&great, &great, &great, 1, Seen::All).unwrap())
    };
    check_rows("attention", &run(DType::F16), &run(DType::F32), (1e-2, 0.999));
}

#[test]
fn more_scores_than_a_gpu_can_number_are_refused() {
    let x = Tensor::zeros((2, 40_000, 4), DType::F16, &Device::Cpu).unwrap();
    let error = attention(&x, &x, &x, 2, Seen::All).unwrap_err().to_string();
    assert!(error.contains("40000 by 40000 tokens of 2"), "{error}");
}

#[test]
fn patches_of_a_picture_whose_edges_fill_none() {
    check_paths("patches", |dtype| {
        let weight = numbers(1.0, &[6, 3 * 4 * 4], dtype);
        let bias = numbers(2.0, &[6], dtype);
        let patches =
            PatchEmbedding { linear: Linear::new(&weight, Some(&bias)).unwrap(), patch: 4 };
        flat(&patches.forward(&numbers(3.0, &[2, 3, 14, 9], dtype)).unwrap())
    });
}

#[test]
fn a_token_outside_of_the_vocabulary_is_named() {
    let (words, positions) = (numbers(1.0, &[5, 2], DType::F32), numbers(2.0, &[3, 2], DType::F32));
    assert!(embedded(vec![0, 4], (1, 2), &words, &positions).is_ok());
    let error = embedded(vec![0, 5], (1, 2), &words, &positions).unwrap_err().to_string();
    assert!(error.contains("token 5 is not among the 5"), "{error}");
}
