//! How objects are sent: in one request or in parts, and in which. It owns the limits of S3's uploads; it sends nothing.

use taskqueue_core::{Error, Result};

use super::Etag;
use crate::store::Part;

const MIB: u64 = 1024 * 1024;
/// The most parts of an upload.
const PARTS_MAX: u64 = 10_000;
/// The least size of a part that is not the last.
const PART_BYTES_MIN: u64 = 5 * MIB;
/// The largest object of one request, and the largest part.
const REQUEST_BYTES_MAX: u64 = 5 * 1024 * MIB;
/// Part sizes that other programs use, in MiB: with the same one a copy has its source's ETag.
const COMMON_PART_MIB: [u64; 16] = [8, 5, 16, 15, 10, 20, 25, 32, 50, 64, 100, 128, 256, 512, 1024, 5120];

/// How objects are sent from one store to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransferConfig {
    /// Objects larger than this are sent in parts, in bytes. 64 MiB by default, at most 5 GiB. A smaller one keeps its
    /// ETag; one that is sent in parts can be gone on with after a crash.
    pub multipart_above: u64,
    /// The size of a part, in bytes. 16 MiB by default; at least 5 MiB, at most 5 GiB. Larger where 10,000 parts would
    /// not be enough, and another where the source's ETag shows that it was sent in parts of another common size.
    pub part_bytes: u64,
    /// The most parts of one object in flight. 4 by default, at least 1. An object whose ETag is its MD5 is read in order,
    /// to check that, and so has one in flight.
    pub parts_in_flight: usize,
}

impl Default for TransferConfig {
    fn default() -> Self {
        Self { multipart_above: 64 * MIB, part_bytes: 16 * MIB, parts_in_flight: 4 }
    }
}

impl TransferConfig {
    /// Sets above which size objects are sent in parts.
    #[must_use]
    pub fn multipart_above(mut self, bytes: u64) -> Self {
        self.multipart_above = bytes;
        self
    }

    /// Sets the size of parts.
    #[must_use]
    pub fn part_bytes(mut self, bytes: u64) -> Self {
        self.part_bytes = bytes;
        self
    }

    /// Sets how many parts of an object may be in flight.
    #[must_use]
    pub fn parts_in_flight(mut self, parts: usize) -> Self {
        self.parts_in_flight = parts;
        self
    }

    /// Checks what was set.
    ///
    /// # Errors
    /// `InvalidInput` for a size that S3 does not allow, and for no parts in flight.
    pub fn validate(&self) -> Result<()> {
        let invalid = |what: &'static str| Err(Error::invalid_input("transfer", what));
        if self.multipart_above > REQUEST_BYTES_MAX {
            return invalid("multipart_above is more than 5 GiB, the most of one request");
        }
        if !(PART_BYTES_MIN..=REQUEST_BYTES_MAX).contains(&self.part_bytes) {
            return invalid("part_bytes is not in 5 MiB to 5 GiB");
        }
        if self.parts_in_flight == 0 {
            return invalid("parts_in_flight is 0: no part would ever be sent");
        }
        Ok(())
    }

    /// Whether an object is sent in parts: a large one, and one whose ETag can be kept by that.
    pub(crate) fn in_parts(&self, size: u64, etag: &str) -> bool {
        size > self.multipart_above || (size > 0 && common_part_bytes(size, etag).is_some())
    }

    /// The parts of an object that is not empty.
    pub(super) fn parts(&self, size: u64, etag: &str) -> Vec<PartRange> {
        let bytes = common_part_bytes(size, etag)
            .unwrap_or_else(|| self.part_bytes.max(size.div_ceil(PARTS_MAX).next_multiple_of(MIB)));
        let starts = (0..size.div_ceil(bytes)).map(|index| index * bytes);
        let ranges = (1..).zip(starts);
        ranges
            .map(|(number, first)| PartRange { number, first, last: (first + bytes).min(size) - 1 })
            .collect()
    }
}

/// A part of an object: its number, its first and its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartRange {
    pub(super) number: u32,
    pub(super) first: u64,
    pub(super) last: u64,
}

impl PartRange {
    pub(super) fn size(self) -> u64 {
        self.last - self.first + 1
    }
}

/// Whether the parts that are `there` are some of the plan's, and of no other plan for the same object: each has the
/// size of its number. Alone, one that is not the first can have it by chance: the last part of 80 MiB in parts of 48 is
/// as large as the second of 32. Two cannot, as of the sizes in another plan only the last part's is not common to all.
pub(super) fn are_of(plan: &[PartRange], there: &[Part]) -> bool {
    let fits = |part: &Part| plan.iter().any(|it| it.number == part.number && it.size() == part.size);
    let is_sure = there.len() != 1 || there[0].number == 1;
    is_sure && there.iter().all(fits)
}

/// The part size with which an object of this size has as many parts as its ETag says.
fn common_part_bytes(size: u64, etag: &str) -> Option<u64> {
    let Etag::Composite(parts) = Etag::of(etag) else { return None };
    let sizes = COMMON_PART_MIB.into_iter().map(|mib| mib * MIB);
    sizes.into_iter().find(|bytes| size.div_ceil(*bytes) == u64::from(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

    #[test]
    fn parts_cover_the_object_without_gaps_and_grow_so_that_10_000_are_enough() {
        for size in [1, 16 * MIB, 16 * MIB + 1, 5 * 1024 * MIB, 5 * 1024 * 1024 * MIB] {
            let parts = TransferConfig::default().parts(size, MD5);
            assert!(parts.len() <= 10_000, "{size}: {}", parts.len());
            assert_eq!((parts[0].number, parts[0].first), (1, 0));
            assert!(parts.windows(2).all(|pair| pair[0].last + 1 == pair[1].first
                && pair[0].number + 1 == pair[1].number
                && pair[0].size() == parts[0].size()));
            assert_eq!(parts.iter().map(|part| part.size()).sum::<u64>(), size);
        }
    }

    #[test]
    fn a_source_that_was_sent_in_parts_of_a_common_size_is_sent_in_the_same() {
        let config = TransferConfig::default();
        let parts = config.parts(20 * MIB, &format!("{MD5}-3"));
        assert_eq!(parts.iter().map(|part| part.size()).collect::<Vec<_>>(), [8 * MIB, 8 * MIB, 4 * MIB]);
        assert_eq!(config.parts(20 * MIB, &format!("{MD5}-4"))[0].size(), 5 * MIB);
        assert!(config.in_parts(20 * MIB, &format!("{MD5}-4")) && !config.in_parts(20 * MIB, MD5));
        assert!(!config.in_parts(20 * MIB, &format!("{MD5}-7")), "parts below 5 MiB cannot be sent again");
    }

    #[test]
    fn parts_of_another_plan_are_told_whichever_of_them_are_there() {
        let size = 80 * MIB;
        let plan_of = |mib: u64| TransferConfig::default().part_bytes(mib * MIB).parts(size, "opaque");
        let part = |range: &PartRange| Part {
            number: range.number,
            etag: String::new(),
            etag_is_opaque: true,
            size: range.size(),
        };
        let plans = [16, 20, 32, 40, 48, 64].map(plan_of);
        for (planned, sent) in plans.iter().flat_map(|planned| plans.iter().map(move |sent| (planned, sent)))
        {
            for chosen in 0_u32..1 << sent.len() {
                let is_there = |range: &&PartRange| (chosen >> (range.number - 1)) & 1 == 1;
                let there: Vec<Part> = sent.iter().filter(is_there).map(part).collect();
                let is_right = sent.iter().filter(is_there).all(|range| planned.contains(range));
                assert!(is_right || !are_of(planned, &there), "{planned:?} {there:?}");
            }
        }
        let all: Vec<Part> = plans[1].iter().map(part).collect();
        assert!(are_of(&plans[1], &[]) && are_of(&plans[1], &all[..1]) && are_of(&plans[1], &all[1..]));
    }

    #[test]
    fn sizes_that_s3_does_not_allow_are_refused() {
        assert!(TransferConfig::default().validate().is_ok());
        for config in [
            TransferConfig::default().part_bytes(MIB),
            TransferConfig::default().multipart_above(6 * 1024 * MIB),
            TransferConfig::default().parts_in_flight(0),
        ] {
            assert!(config.validate().is_err(), "{config:?}");
        }
    }
}
