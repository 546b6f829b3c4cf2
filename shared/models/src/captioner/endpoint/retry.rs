//! When to ask again.

use std::time::{Duration, SystemTime};

use ureq::http::HeaderMap;

/// No pause of our own choice is longer.
const LONGEST: Duration = Duration::from_secs(30);

/// The pause after failure number `failures` (from 1): `first` doubled each time, and never less
/// than what the server asked for. `chance`, 0 to 1, spreads callers that failed together: it
/// shortens our own pause by up to half, and lengthens the server's by up to a tenth.
pub(super) fn pause(
    failures: u32,
    first: Duration,
    asked: Option<Duration>,
    chance: f64,
) -> Duration {
    let doubled = first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    let own = doubled.min(LONGEST).mul_f64(1.0 - chance / 2.0);
    own.max(asked.unwrap_or_default().mul_f64(1.0 + chance / 10.0))
}

/// What Retry-After asks for: seconds, or a date, which is read by the server's own clock if it
/// says what that shows.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = text("retry-after")?;
    // because: a few servers write fractions; a day is longer than anybody waits here
    if let Ok(seconds) = asked.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0)
            .then(|| Duration::from_secs_f64(seconds.min(86_400.0)));
    }
    let date = httpdate::parse_http_date(asked).ok()?;
    let now = text("date").and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now);
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_are_spread() {
        let first = Duration::from_millis(500);
        let pauses: Vec<u128> = (1..=9).map(|n| pause(n, first, None, 0.0).as_millis()).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(pause(u32::MAX, first, None, 1.0), LONGEST / 2);
        let asked = Some(Duration::from_secs(7));
        assert_eq!(pause(1, first, asked, 0.0), Duration::from_secs(7));
        assert_eq!(pause(5, first, asked, 1.0).as_millis(), 7700);
        assert_eq!(pause(5, first, asked, 0.0), Duration::from_secs(8));
        assert_eq!(pause(1, first, Some(Duration::ZERO), 0.0), first);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:07 GMT").unwrap();
        let read = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            retry_after(&headers, now)
        };
        let date = ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(read(&[("retry-after", " 12 ")]), Some(Duration::from_secs(12)));
        assert_eq!(read(&[("retry-after", "0.5")]), Some(Duration::from_millis(500)));
        assert_eq!(read(&[date]), Some(Duration::from_secs(30)));
        assert_eq!(
            read(&[date, ("date", "Sun, 06 Nov 1994 08:49:27 GMT")]),
            Some(Duration::from_secs(10))
        );
        assert_eq!(read(&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")]), Some(Duration::ZERO));
        for nonsense in ["soon", "-3", "NaN", "inf", ""] {
            assert_eq!(read(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
        assert_eq!(read(&[]), None);
    }
}
