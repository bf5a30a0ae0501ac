use std::collections::BTreeMap;

use super::*;

#[test]
fn a_label_is_meant_as_docker_means_it() {
    let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "x=y".to_owned())]);
    let means = |key, value| Label::parse(key, value).unwrap().means(|name| labels.get(name));
    assert!(means("label", "a") && means("label", "a=1") && means("label", "b=x=y"));
    assert!(!means("label", "a=2") && !means("label", "c") && !means("label", "a="));
    assert!(means("label!", "c") && means("label!", "a=2") && !means("label!", "a"));
    assert_eq!(Label::parse("until", "a"), None);
}
