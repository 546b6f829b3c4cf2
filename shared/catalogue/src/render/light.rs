//! Light from one side and the grain of the camera, over the whole picture.

use image::RgbImage;
use rand::Rng;

/// Brightens one side, darkens the other and adds grain of a few levels.
pub(super) fn shine(mut picture: RgbImage, rng: &mut impl Rng) -> RgbImage {
    let gain = rng.random_range(0.88..1.06_f32);
    let (across, down) = (rng.random_range(-0.16..0.16_f32), rng.random_range(-0.16..0.16_f32));
    let grain = rng.random_range(3..13_i32);
    let width = picture.width();
    let mut noise = vec![0_u8; picture.len()];
    rng.fill_bytes(&mut noise);
    for (index, (pixel, noise)) in picture.pixels_mut().zip(noise.chunks_exact(3)).enumerate() {
        let (x, y) = (index as u32 % width, index as u32 / width);
        let place = |at: u32| at as f32 / width as f32 - 0.5;
        let light = (256.0 * gain * (1.0 + across * place(x) + down * place(y))) as i32;
        for (channel, &noise) in pixel.0.iter_mut().zip(noise) {
            let lit = (i32::from(*channel) * light) >> 8;
            let speck = ((i32::from(noise) - 128) * grain) >> 7;
            *channel = (lit + speck).clamp(0, 255) as u8;
        }
    }
    picture
}
