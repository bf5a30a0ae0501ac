use super::*;

#[test]
fn a_summary_is_of_the_sorted_values() {
    let summary = Summary::of([5.0, 1.0, 4.0, 2.0, 3.0, 6.0, 10.0, 7.0, 9.0, 8.0]).unwrap();
    assert_eq!(summary, Summary { count: 10, min: 1.0, median: 5.5, p90: 9.0, max: 10.0 });
}

#[test]
fn one_value_is_all_of_its_summary() {
    assert_eq!(Summary::of([2.5]), Some(Summary { count: 1, min: 2.5, median: 2.5, p90: 2.5, max: 2.5 }));
    assert_eq!(Summary::of([]), None);
}
