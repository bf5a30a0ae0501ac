use super::*;

#[test]
fn the_slope_of_a_line_is_its_own() {
    let line = [0.0, 1.0, 2.0, 4.0].map(|x| (x, 100.0 - 3.0 * x));
    assert!((slope(line.into_iter()) + 3.0).abs() < 1e-9);
    assert_eq!(slope([(1.0, 5.0)].into_iter()), 0.0);
}
