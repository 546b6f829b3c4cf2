//! A device that is none, for measuring what is around an encoder: each pass takes a fixed time and no
//! processor, and the vectors say nothing but whose they are.

use std::{str::FromStr, time::Duration};

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// Values of an embedding; those of CLIP ViT-B/32.
pub(crate) const DIM: usize = 512;
pub(crate) const ID: &str = "simulated";

/// Written `TIME,N`, as in `250ms,8`: every N pictures or texts of a batch take that long, and what is
/// left over as long as N.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Simulated {
    pub pass: Duration,
    pub at_once: usize,
}

impl FromStr for Simulated {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (time, at_once) = text.split_once(',').ok_or(())?;
        let ms: u64 = time.strip_suffix("ms").ok_or(())?.parse().map_err(|_| ())?;
        let at_once = at_once.parse().ok().filter(|n| *n > 0).ok_or(())?;
        // because: what takes longer is no pass, and its deliveries would go to others
        if ms > 60_000 {
            return Err(());
        }
        Ok(Self { pass: Duration::from_millis(ms), at_once })
    }
}

impl std::fmt::Display for Simulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "simulated:{}ms,{}", self.pass.as_millis(), self.at_once)
    }
}

impl Simulated {
    /// `[B, 3, S, S] → [B, DIM]`, of length one.
    pub(crate) fn image_features(&self, pixels: &Tensor) -> CandleResult<Tensor> {
        let pixels = pixels.flatten_from(1)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let bytes = pixels.iter().map(|row| row.iter().flat_map(|x| x.to_le_bytes()).collect());
        self.features(bytes.collect())
    }

    /// B lists of token ids → `[B, DIM]`, of length one.
    pub(crate) fn text_features(&self, texts: &[Vec<u32>]) -> CandleResult<Tensor> {
        let bytes = texts.iter().map(|ids| ids.iter().flat_map(|id| id.to_le_bytes()).collect());
        self.features(bytes.collect())
    }

    fn features(&self, inputs: Vec<Vec<u8>>) -> CandleResult<Tensor> {
        std::thread::sleep(self.pass * inputs.len().div_ceil(self.at_once) as u32);
        let values: Vec<f32> = inputs.iter().flat_map(|input| direction(input)).collect();
        Tensor::from_vec(values, (inputs.len(), DIM), &Device::Cpu)
    }
}

/// A direction that the content alone decides.
fn direction(content: &[u8]) -> Vec<f32> {
    let mut random = ChaCha8Rng::from_seed(Sha256::digest(content).into());
    let values: Vec<f32> = (0..DIM).map(|_| random.random_range(-1.0..1.0)).collect();
    let length = values.iter().map(|x| x * x).sum::<f32>().sqrt();
    values.into_iter().map(|x| x / length).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_pass_takes_its_time_and_vectors_depend_on_the_content_alone() {
        let device: Simulated = "20ms,2".parse().unwrap();
        let began = Instant::now();
        let texts = device.text_features(&[vec![1, 2], vec![3], vec![1, 2]]).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(40), "three take two passes");
        let rows = texts.to_vec2::<f32>().unwrap();
        assert!(rows[0] == rows[2] && rows[0] != rows[1]);
        for row in &rows {
            let length: f32 = row.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-5, "{length}");
        }
        let alone = Simulated { pass: Duration::ZERO, at_once: 1 };
        assert_eq!(alone.text_features(&[vec![3]]).unwrap().to_vec2::<f32>().unwrap()[0], rows[1]);
    }

    #[test]
    fn only_a_time_and_a_number_are_a_device() {
        let device = Simulated { pass: Duration::from_millis(250), at_once: 8 };
        assert_eq!(format!("simulated:{}", "250ms,8"), device.to_string());
        assert_eq!("250ms,8".parse(), Ok(device));
        for wrong in ["", "250ms", "250,8", "250ms,0", "250s,8", "-1ms,8", "60001ms,8", "1ms,8,9"] {
            assert_eq!(wrong.parse::<Simulated>(), Err(()), "{wrong}");
        }
    }
}
