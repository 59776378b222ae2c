//! How far to look where others have locked what comes first, and hold it for as long as they like. Pure.

use taskqueue_core::BATCH_MAX;

/// The most rows that one look reads, as many as the largest batch. Vitess answers with no more.
const LOOK_MAX: usize = BATCH_MAX;
/// How many rows more are read for each that was missing.
const FOR_EACH: usize = 8;

/// How many rows the next look reads, after one that read `read` of at most `width`, of which too few by `missing` were free; none
/// where there are enough, or that one has read all there is.
pub fn wider(width: usize, read: usize, missing: usize) -> Option<usize> {
    let is_cut_off = read >= width && width < LOOK_MAX;
    (missing > 0 && is_cut_off).then(|| width.saturating_add(missing.saturating_mul(FOR_EACH)).min(LOOK_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_get_wider_by_what_was_missing_until_enough_or_all_is_read() {
        assert_eq!(wider(10, 10, 0), None);
        assert_eq!(wider(10, 9, 9), None);
        assert_eq!(wider(10, 10, 10), Some(90));
        assert_eq!(wider(1_000, 1_000, 1), Some(1_008));
        assert_eq!(wider(9_999, 9_999, 1), Some(LOOK_MAX));
        assert_eq!(wider(LOOK_MAX, LOOK_MAX, 1), None);
    }
}
