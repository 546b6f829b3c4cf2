//! Numbers along an axis.

/// Round numbers within a range, about `count` of them, with the decimals that they need.
pub(super) fn ticks(low: f64, high: f64, count: usize) -> Vec<(f64, String)> {
    let step = round_step((high - low) / count.max(1) as f64);
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let first = (low / step - 1e-9).ceil();
    let within =
        (0..).map(|n| (first + f64::from(n)) * step).take_while(|at| *at <= high + step * 1e-9);
    within.take(100).map(|at| (at, format!("{:.decimals$}", at + 0.0))).collect()
}

/// The least of 1, 2 and 5 times a power of ten that is no less than this.
fn round_step(least: f64) -> f64 {
    if !(least > 0.0 && least.is_finite()) {
        return 1.0;
    }
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_of_the_range() {
        let told = |low, high, count| -> Vec<String> {
            ticks(low, high, count).into_iter().map(|(_, text)| text).collect()
        };
        assert_eq!(told(0.0, 1.0, 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(told(3.1, 31.04, 4), ["10", "20", "30"]);
        assert_eq!(told(30.61, 30.95, 4), ["30.7", "30.8", "30.9"]);
        assert_eq!(told(50.0, 50.0, 4), ["50"]);
    }
}
