//! What came out of one piece of work, whichever it was.

use serde_json::{Value, json};

use crate::judge::Wrong;

/// The figures of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Microseconds of the broker's processor time for each delivered message, or connection; octets for each idle
    /// connection.
    pub(crate) cost: f64,
    /// So many a second.
    pub(crate) rate: f64,
    /// p50, p99, p99.9 in microseconds.
    pub(crate) latency: Option<[f64; 3]>,
    /// The most memory that was resident, in octets.
    pub(crate) peak: u64,
    /// Messages that came, or connections that came about.
    pub(crate) count: u64,
    pub(crate) wrong: Wrong,
}

impl Outcome {
    pub(crate) fn to_json(&self) -> Value {
        json!({ "cost": self.cost, "rate": self.rate, "latency": self.latency, "peak": self.peak, "count": self.count })
    }

    /// Reads what [`Self::to_json`] wrote. Only what was right is ever written.
    pub(crate) fn from_json(value: &Value) -> Option<Self> {
        let latency = value["latency"].as_array().and_then(|times| {
            let times: Vec<f64> = times.iter().filter_map(Value::as_f64).collect();
            times.try_into().ok()
        });
        Some(Self {
            cost: value["cost"].as_f64()?,
            rate: value["rate"].as_f64()?,
            latency,
            peak: value["peak"].as_u64()?,
            count: value["count"].as_u64()?,
            wrong: Wrong::default(),
        })
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_they_were_written() {
        for latency in [None, Some([1.0, 2.5, 3.0])] {
            let outcome = Outcome { cost: 0.25, rate: 1e6, latency, peak: 7, count: 8, wrong: Wrong::default() };
            assert_eq!(Outcome::from_json(&outcome.to_json()), Some(outcome));
        }
        assert_eq!(Outcome::from_json(&json!({ "cost": 1 })), None);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }
}
