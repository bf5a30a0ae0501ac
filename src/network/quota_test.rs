use super::*;

/// Takes in turn as much as each may have.
fn greedy(members: usize, all: usize) -> Vec<usize> {
    let mut has = vec![0; members];
    loop {
        let before = has.clone();
        for member in 0..members {
            if may_have_more(has[member], all - has.iter().sum::<usize>()) {
                has[member] += 1;
            }
        }
        if has == before {
            return has;
        }
    }
}

#[test]
fn whoever_comes_last_finds_as_much() {
    assert_eq!(greedy(1, 1000), [500]);
    assert_eq!(greedy(2, 999), [333, 333]);
    let three = greedy(3, 1000);
    assert!(three.iter().all(|has| *has == 250), "{three:?}");
}

#[test]
fn a_connection_may_always_have_something() {
    assert_eq!(allowance(0, 0, MOST_BYTES), LEAST_BYTES);
    assert_eq!(allowance(0, MOST_BYTES / 2, MOST_BYTES / 2), LEAST_BYTES);
    assert_eq!(allowance(100, 100, 100), MOST_BYTES - 100);
}

#[test]
fn what_is_given_back_is_there_again() {
    let (mut all, one) = (Usage::default(), Usage { flows: 1, half_open: 1, bytes: 70 });
    all.change(Usage::default(), one);
    let open = Usage { half_open: 0, bytes: 20, ..one };
    all.change(one, open);
    assert_eq!(all, open);
    all.change(open, Usage::default());
    assert_eq!(all, Usage::default());
}
