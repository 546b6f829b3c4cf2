//! The colour map viridis: equal steps of value look equally far apart, in grey too (Smith and van der
//! Walt for Matplotlib, 2015, released under CC0).

use plotters::style::RGBColor;

/// Its colours at 0, 0.1, … 1.
const CONTROL: [[u8; 3]; 11] = [
    [0x44, 0x01, 0x54],
    [0x48, 0x25, 0x76],
    [0x41, 0x44, 0x87],
    [0x35, 0x60, 0x8d],
    [0x2a, 0x78, 0x8e],
    [0x21, 0x90, 0x8c],
    [0x22, 0xa8, 0x84],
    [0x43, 0xbf, 0x71],
    [0x7a, 0xd1, 0x51],
    [0xbb, 0xdf, 0x27],
    [0xfd, 0xe7, 0x25],
];

/// The colour of a value from 0 to 1, straight between the control points.
pub(super) fn viridis(value: f64) -> RGBColor {
    let at = value.clamp(0.0, 1.0) * (CONTROL.len() - 1) as f64;
    let below = (at as usize).min(CONTROL.len() - 2);
    let share = at - below as f64;
    let [r, g, b] = std::array::from_fn(|i| {
        let [low, high] = [CONTROL[below][i], CONTROL[below + 1][i]].map(f64::from);
        (low + share * (high - low)).round() as u8
    });
    RGBColor(r, g, b)
}

/// Whether dark ink is what can be read on it.
pub(super) fn is_light(RGBColor(r, g, b): RGBColor) -> bool {
    0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b) > 128.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_matplotlibs_to_within_its_own_steps() {
        // viridis(0), (0.25), (0.5), (0.95) and (1) of Matplotlib 3
        let expected = [
            (0.0, [68, 1, 84]),
            (0.25, [59, 82, 139]),
            (0.5, [33, 145, 140]),
            (0.95, [223, 227, 24]),
            (1.0, [253, 231, 37]),
        ];
        for (value, expected) in expected {
            let RGBColor(r, g, b) = viridis(value);
            let off = [r, g, b].into_iter().zip(expected).map(|(a, b): (u8, u8)| a.abs_diff(b));
            assert!(off.max().unwrap() <= 15, "{value}: {:?}", viridis(value));
        }
    }
}
