use proptest::prelude::*;

use super::*;

const COUNT: u64 = 200;

fn range() -> impl Strategy<Value = Range<u64>> {
    (0..=COUNT, 0..=COUNT).prop_map(|(a, b)| a.min(b)..a.max(b))
}

proptest! {
    #[test]
    fn they_are_what_a_list_of_truths_is(
        changes in proptest::collection::vec((range(), any::<bool>()), 0..20),
        asked in range(),
    ) {
        let (mut blocks, mut list) = (Blocks::new(COUNT), vec![false; COUNT as usize]);
        for (range, plugged) in changes {
            blocks.set(range.clone(), plugged);
            list[range.start as usize..range.end as usize].fill(plugged);
        }
        let asked_of = &list[asked.start as usize..asked.end as usize];
        prop_assert_eq!(blocks.all(&asked, true), asked_of.iter().all(|block| *block));
        prop_assert_eq!(blocks.all(&asked, false), !asked_of.contains(&true));
        prop_assert_eq!(blocks.plugged(), list.iter().filter(|block| **block).count() as u64);
        prop_assert_eq!(blocks.end(), list.iter().rposition(|block| *block).map_or(0, |last| last as u64 + 1));
        prop_assert_eq!(Blocks::from_words(COUNT, blocks.words().to_vec()), Some(blocks));
    }
}

#[test]
fn blocks_that_are_not_there_are_not_taken() {
    assert!(Blocks::from_words(65, vec![1]).is_none());
    assert!(Blocks::from_words(65, vec![1, 1, 0]).is_none());
    assert!(Blocks::from_words(65, vec![0, 2]).is_none());
    assert_eq!(Blocks::from_words(65, vec![1, 1]).map(|blocks| blocks.plugged()), Some(2));
}
