//! Near misses: finding the word that was meant, for `(did you mean …?)`.

/// The member of `names` that differs least from `word`, if the difference is small enough for a typing error.
pub fn near<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let limit = (word.chars().count() / 3).max(1);
    names
        .into_iter()
        .filter(|name| *name != word)
        .map(|name| (distance(&lower, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The number of letters to insert, delete, replace, or swap with a neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let mut best =
                (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::instruction::KEYWORDS;

    #[test]
    fn near_misses_are_near() {
        for (word, expected) in [
            ("cpoy", Some("COPY")),
            ("copy", Some("COPY")),
            ("ENTRYPONT", Some("ENTRYPOINT")),
            ("COPY", None),
            ("zzz", None),
        ] {
            assert_eq!(near(word, KEYWORDS), expected, "{word}");
        }
    }
}
