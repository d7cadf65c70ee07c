//! The nearest name, for "did you mean".

/// The longest name that is compared; longer ones have no neighbours.
const MAX: usize = 64;

/// More slips than these are another name.
const MOST_EDITS: usize = 5;

/// Names beyond these are not compared.
const MOST_CANDIDATES: usize = 200;

/// The candidate nearest to `name`, if one is near enough to be what was meant.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.chars().count() > MAX {
        return None;
    }
    let allowed = (1 + name.chars().count() / 4).min(MOST_EDITS);
    let candidates: Vec<&str> = candidates.into_iter().take(MOST_CANDIDATES).collect();
    // what was cut short is a better guess than what is spelt alike
    let longer = candidates.iter().find(|c| name.len() >= 3 && c.to_lowercase().starts_with(&name.to_lowercase()));
    if let Some(longer) = longer {
        return Some(longer);
    }
    candidates
        .into_iter()
        .filter(|c| c.chars().count() <= MAX && c.len().abs_diff(name.len()) <= 4 * allowed)
        .filter_map(|c| Some((distance(&name.to_lowercase(), &c.to_lowercase(), allowed)?, c)))
        .min()
        .map(|(_, c)| c)
}

/// "did you mean `…`?" or, with nothing near, `otherwise`.
pub(super) fn hint<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>, otherwise: &str) -> String {
    nearest(name, candidates).map_or_else(|| otherwise.to_owned(), |found| format!("did you mean `{found}`?"))
}

/// Insertions, deletions, replacements and swaps of neighbours from `a` to `b`, if they are at most `most`.
fn distance(a: &str, b: &str, most: usize) -> Option<usize> {
    /// More than any distance.
    const FAR: usize = 2 * MAX;
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(FAR);
    let mut before = vec![FAR; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut row = before.clone();
    for (i, x) in a.iter().enumerate() {
        row.fill(FAR);
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        // what is further from the diagonal needs more than `most`
        for (j, y) in b.iter().enumerate().take(i + most + 1).skip(i.saturating_sub(most)) {
            let mut best = (at(&above, j + 1) + 1).min(at(&row, j) + 1).min(at(&above, j) + usize::from(x != y));
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            if let Some(here) = row.get_mut(j + 1) {
                *here = best;
            }
        }
        if row.iter().all(|here| *here > most) {
            return None;
        }
        std::mem::swap(&mut before, &mut above);
        std::mem::swap(&mut above, &mut row);
    }
    Some(at(&above, b.len())).filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, d) in [("", "", 0), ("abc", "abc", 0), ("abc", "acb", 1), ("replica", "replicas", 1), ("", "ab", 2)]
        {
            assert_eq!(distance(a, b, 3), Some(d), "{a} {b}");
        }
        for (a, b) in [("abcdef", "uvwxyz"), ("ab", "abcdef"), ("abcdef", "ab")] {
            assert_eq!(distance(a, b, 3), None, "{a} {b}");
        }
    }

    #[test]
    fn nearest_or_none() {
        let keys = ["replicas", "resources", "image"];
        assert_eq!(nearest("replica", keys), Some("replicas"));
        assert_eq!(nearest("Image", keys), Some("image"));
        assert_eq!(nearest("banana", keys), None);
        assert_eq!(nearest(&"x".repeat(10_000), keys), None);
        assert_eq!(hint("banana", keys, "remove it"), "remove it");
    }
}
