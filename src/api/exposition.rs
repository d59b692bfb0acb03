//! Metrics as text, in Prometheus' format 0.0.4.
//!
//! Numbers look as Go writes them, `2.147483648e+09` for one: the bounds of
//! histograms are labels, and labels are compared as text.

use std::fmt::Write as _;

use prometheus::proto::{Metric, MetricFamily, MetricType};

/// Writes all of the families.
pub(super) fn text(families: &[MetricFamily]) -> String {
    let mut out = String::new();
    for family in families {
        let name = family.name();
        let kind = family.get_field_type();
        let kind_name = format!("{kind:?}").to_lowercase();
        let help = family.help().replace('\\', r"\\").replace('\n', r"\n");
        write!(out, "# HELP {name} {help}\n# TYPE {name} {kind_name}\n").expect(NO_FAILURE);
        for metric in family.get_metric() {
            match kind {
                MetricType::COUNTER => {
                    sample(&mut out, name, metric, None, metric.get_counter().get_value());
                }
                MetricType::GAUGE => {
                    sample(&mut out, name, metric, None, metric.get_gauge().get_value());
                }
                MetricType::HISTOGRAM => histogram(&mut out, name, metric),
                MetricType::SUMMARY | MetricType::UNTYPED => unreachable!("{name} is neither"),
            }
        }
    }
    out
}

const NO_FAILURE: &str = "a string takes all that is written";

fn histogram(out: &mut String, name: &str, metric: &Metric) {
    let histogram = metric.get_histogram();
    let all = histogram.get_sample_count() as f64;
    let bucket = format!("{name}_bucket");
    for part in histogram.get_bucket().iter().filter(|part| part.upper_bound().is_finite()) {
        let bound = number(part.upper_bound());
        sample(out, &bucket, metric, Some(&bound), part.cumulative_count() as f64);
    }
    sample(out, &bucket, metric, Some("+Inf"), all);
    sample(out, &format!("{name}_sum"), metric, None, histogram.get_sample_sum());
    sample(out, &format!("{name}_count"), metric, None, all);
}

fn sample(out: &mut String, name: &str, metric: &Metric, bound: Option<&str>, value: f64) {
    let labels = metric.get_label().iter().map(|label| (label.name(), label.value()));
    let labels: Vec<_> = labels
        .chain(bound.map(|bound| ("le", bound)))
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    out.push_str(name);
    if !labels.is_empty() {
        write!(out, "{{{}}}", labels.join(",")).expect(NO_FAILURE);
    }
    writeln!(out, " {}", number(value)).expect(NO_FAILURE);
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('\n', r"\n").replace('"', r#"\""#)
}

/// A number with the fewest digits that say it, and with an exponent where that
/// is below -4 or above 5.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let short = format!("{value:e}");
    let (digits, exponent) = short.split_once('e').expect("an exponent was asked for");
    let exponent: i32 = exponent.parse().expect("it is a number");
    if (-4..=5).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_they_need() {
        for (value, wanted) in [
            (0.0, "0"),
            (-1.0, "-1"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (0.000256, "0.000256"),
            (0.1 + 0.2, "0.30000000000000004"),
            (524288.0, "524288"),
            (999999.5, "999999.5"),
            (1e6, "1e+06"),
            (1048576.0, "1.048576e+06"),
            (-2147483648.0, "-2.147483648e+09"),
            (u64::MAX as f64, "1.8446744073709552e+19"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), wanted);
        }
    }

    #[test]
    fn every_kind_has_its_lines() {
        let registry = Registry::new();
        let gauge = IntGauge::new("b_bytes", "Of a \\ and\nb.").unwrap();
        gauge.set(3_000_000);
        let labels = ["who", "what"];
        let counter = IntCounterVec::new(Opts::new("a_total", "All."), &labels).unwrap();
        counter.with_label_values(&["\"me\"", "a\nb\\"]).inc_by(2);
        let bounds = vec![0.5, 4194304.0];
        let options = HistogramOpts::new("c_seconds", "Time.").buckets(bounds);
        let histogram = Histogram::with_opts(options).unwrap();
        histogram.observe(0.25);
        histogram.observe(1.0);
        registry.register(Box::new(gauge)).unwrap();
        registry.register(Box::new(counter)).unwrap();
        registry.register(Box::new(histogram)).unwrap();
        let wanted = r##"# HELP a_total All.
# TYPE a_total counter
a_total{what="a\nb\\",who="\"me\""} 2
# HELP b_bytes Of a \\ and\nb.
# TYPE b_bytes gauge
b_bytes 3e+06
# HELP c_seconds Time.
# TYPE c_seconds histogram
c_seconds_bucket{le="0.5"} 1
c_seconds_bucket{le="4.194304e+06"} 2
c_seconds_bucket{le="+Inf"} 2
c_seconds_sum 1.25
c_seconds_count 2
"##;
        assert_eq!(text(&registry.gather()), wanted);
    }
}
