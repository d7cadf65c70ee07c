//! The nearest name, for "did you mean".

/// The longest name that is compared; longer ones have no neighbours.
const MAX: usize = 64;

/// The candidate nearest to `name`, if one is near enough to be what was meant.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.chars().count() > MAX {
        return None;
    }
    let allowed = 1 + name.chars().count() / 4;
    let candidates: Vec<&str> = candidates.into_iter().collect();
    // what was cut short is a better guess than what is spelt alike
    let longer = candidates.iter().find(|c| name.len() >= 3 && c.to_lowercase().starts_with(&name.to_lowercase()));
    if let Some(longer) = longer {
        return Some(longer);
    }
    candidates
        .into_iter()
        .filter(|c| c.chars().count() <= MAX)
        .map(|c| (distance(&name.to_lowercase(), &c.to_lowercase()), c))
        .filter(|(d, _)| *d <= allowed)
        .min()
        .map(|(_, c)| c)
}

/// "did you mean `…`?" or, with nothing near, `otherwise`.
pub(super) fn hint<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>, otherwise: &str) -> String {
    nearest(name, candidates).map_or_else(|| otherwise.to_owned(), |found| format!("did you mean `{found}`?"))
}

/// Insertions, deletions, replacements and swaps of neighbours from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (at(&above, j + 1) + 1).min(at(&row, j) + 1).min(at(&above, j) + usize::from(x != y));
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    at(&above, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, d) in [("", "", 0), ("abc", "abc", 0), ("abc", "acb", 1), ("replica", "replicas", 1), ("", "ab", 2)]
        {
            assert_eq!(distance(a, b), d, "{a} {b}");
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
