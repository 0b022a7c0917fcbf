use serde_json::json;

use super::*;
use crate::column::TypeMerge;
use crate::column::testing::{batch, infer_schema};

fn rows() -> Vec<serde_json::Value> {
    (0..5000_i64)
        .map(|i| {
            json!({
                "id": i,
                "even": i % 2 == 0,
                "score": if i % 10 == 0 { json!(null) } else { json!(i as f64 / 8.0) },
                "name": format!("näme {}", i % 700),
                "hq": if i % 3 == 0 { json!(null) } else { json!({"city": format!("c{}", i % 5), "at": {"x": i % 4}}) },
                "tags": (0..i % 4).collect::<Vec<_>>(),
                "none": null,
            })
        })
        .collect()
}

fn add(statistics: &mut Statistics, batch: &Batch) -> Result<(), Widened> {
    statistics.begin(batch)?.for_each(|column| column.add(batch));
    Ok(())
}

/// Summaries of `rows` in batches of `per_batch`.
fn summaries(rows: &[serde_json::Value], per_batch: usize) -> Vec<ColumnSummary> {
    let schema = Arc::new(infer_schema(rows, TypeMerge::Json));
    let mut statistics = Statistics::new(StatisticsOptions { values: true });
    for rows in rows.chunks(per_batch) {
        add(&mut statistics, &batch(rows, schema.clone())).unwrap();
    }
    assert_eq!(statistics.rows(), rows.len() as u64);
    statistics.finish()
}

#[test]
fn each_type_has_its_statistics() {
    let all = summaries(&rows(), 5000);
    let paths: Vec<&str> = all.iter().map(|column| column.path.as_str()).collect();
    assert_eq!(paths, ["id", "even", "score", "name", "hq", "hq.city", "hq.at", "hq.at.x", "tags", "none"]);
    let of = |path: &str| all.iter().find(|column| column.path == path).unwrap();
    let id = of("id").range.as_ref().unwrap();
    assert_eq!((id.min.as_str(), id.max.as_str(), id.mean.as_str()), ("0", "4999", "2499.5"));
    assert_eq!((id.quantiles[3].as_str(), id.rank_error, of("id").distinct), ("2499", 0.0, Some(5000)));
    assert_eq!(id.histogram.counts.iter().sum::<u64>(), 5000);
    assert_eq!((of("even").trues, of("even").distinct), (Some(2500), Some(2)));
    assert_eq!((of("score").nulls, of("score").values), (500, 4500));
    assert_eq!(of("score").range.as_ref().unwrap().min, "0.125");
    let name = of("name").lengths.as_ref().unwrap();
    assert_eq!((name.min, name.max, of("name").distinct), (6, 8, Some(700)));
    assert_eq!(of("name").text_bounds, Some(("näme 0".to_owned(), "näme 99".to_owned())));
    assert_eq!(of("name").examples, ["näme 0", "näme 1", "näme 2"]);
    // A member is null where its object is.
    assert_eq!((of("hq.city").nulls, of("hq").nulls, of("hq").distinct), (1667, 1667, None));
    assert_eq!(of("hq.at.x").distinct, Some(4));
    assert_eq!((of("tags").lengths.as_ref().unwrap().max, of("tags").distinct), (3, Some(4)));
    assert_eq!((of("none").values, of("none").nulls, of("none").distinct), (0, 5000, Some(0)));
}

#[test]
fn results_do_not_depend_on_batches() {
    let rows = rows();
    let once = format!("{:?}", summaries(&rows, 5000));
    for per_batch in [1, 7, 640] {
        assert_eq!(format!("{:?}", summaries(&rows, per_batch)), once, "{per_batch} rows");
    }
}

#[test]
fn late_columns_are_null_before_and_wider_types_are_an_error() {
    let of = |rows: &[serde_json::Value]| batch(rows, Arc::new(infer_schema(rows, TypeMerge::Json)));
    let mut statistics = Statistics::new(StatisticsOptions::default());
    add(&mut statistics, &of(&[json!({"a": 1, "n": null}), json!({"a": 2, "n": null})])).unwrap();
    add(&mut statistics, &of(&[json!({"a": 3, "n": "x", "o": {"late": 1.5}})])).unwrap();
    let all = statistics.finish();
    let nulls: Vec<(&str, u64, u64)> = all.iter().map(|c| (c.path.as_str(), c.values, c.nulls)).collect();
    assert_eq!(nulls, [("a", 3, 0), ("n", 1, 2), ("o", 1, 2), ("o.late", 1, 2)]);
    let mut statistics = Statistics::new(StatisticsOptions::default());
    add(&mut statistics, &of(&[json!({"a": 1})])).unwrap();
    assert_eq!(add(&mut statistics, &of(&[json!({"a": "4"})])), Err(Widened));
}

#[test]
fn sums_beyond_128_bits_and_zeros_and_nans() {
    let mut big = Ordered::<i128>::new(Bounds::of(0));
    (0..4).for_each(|_| big.push(i128::MAX / 2));
    assert_eq!(big.sum, None);
    assert!((big.total() / 4.0 / (i128::MAX / 2) as f64 - 1.0).abs() < 1e-12);
    for value in [-1e300, -2.5, -0.0, 0.0, 1e-300, 7.0] {
        let key = order_key(f64::to_bits(value) as i64);
        assert_eq!(f64::from_bits(order_key(key) as u64).to_bits(), f64::to_bits(value));
    }
    let keys = [-1e300, -2.5, 0.0, 1e-300, 7.0].map(|value: f64| order_key(value.to_bits() as i64));
    assert!(keys.is_sorted());
}

#[test]
fn the_memory_of_members_is_bounded_over_all_columns() {
    // 24 objects of 24 members, which are 576 columns.
    let object = |o: i64| -> serde_json::Value { (0..24).map(|m| (format!("m{m}"), json!(o * 24 + m))).collect() };
    let row: serde_json::Value = (0..24).map(|o| (format!("o{o}"), object(o))).collect();
    let rows = [row];
    let of_bounds = |statistics: &Statistics, distinct: usize| {
        let columns = statistics.columns.iter().filter(|column| !column.is_object());
        columns.filter(|column| column.bounds.distinct == distinct).count()
    };
    let mut statistics = Statistics::new(StatisticsOptions::default());
    add(&mut statistics, &batch(&rows, Arc::new(infer_schema(&rows, TypeMerge::Json)))).unwrap();
    assert_eq!([1 << 16, 1 << 13, 1 << 10].map(|bound| of_bounds(&statistics, bound)), [32, 224, 320]);
    // A late member moves the columns behind it, of which one keeps less from then on.
    let narrow: serde_json::Value = (0..32).map(|i| (format!("c{i:02}"), json!({"a": i}))).collect();
    let mut late = narrow.clone();
    late["c00"]["b"] = json!(1);
    let both = [narrow.clone(), late];
    let mut statistics = Statistics::new(StatisticsOptions::default());
    add(&mut statistics, &batch(&[narrow], Arc::new(infer_schema(&both[..1], TypeMerge::Json)))).unwrap();
    let wide = Arc::new(infer_schema(&both, TypeMerge::Json));
    assert_eq!(add(&mut statistics, &batch(&both[1..], wide)), Err(Widened));
}

#[test]
fn a_mean_of_the_largest_doubles_is_finite() {
    let values = [1e308, 1.5e308, 1.7e308, -2.0];
    let mut total = Total::default();
    values.iter().for_each(|value| total.add(*value));
    assert!((total.mean(4) / 1.05e308 - 1.0).abs() < 1e-15, "{}", total.mean(4));
    let mut small = Total::default();
    [1e16, 1.0, -1e16].iter().for_each(|value| small.add(*value));
    assert_eq!(small.mean(1), 1.0);
}
