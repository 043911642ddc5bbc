//! Assignment: the pairing of rows with columns whose scores add up to the most.
//!
//! The Hungarian method in the form of shortest augmenting paths (Jonker and Volgenant 1987): rows are entered one after
//! the other; each takes the column at the end of the cheapest alternating path, by Dijkstra's method over reduced costs.
//! It takes time in proportion to rows² · columns.

/// Returns the column of each row, such that the sum of the scores is the greatest; `None` for rows that are left over
/// when there are fewer columns. All rows have as many scores as there are columns, and all scores are finite.
pub fn assign(scores: &[Vec<f64>]) -> Vec<Option<usize>> {
    let rows = scores.len();
    let columns = scores.first().map_or(0, Vec::len);
    if columns == 0 {
        return vec![None; rows];
    }
    if rows > columns {
        let turned: Vec<Vec<f64>> = (0..columns).map(|to| scores.iter().map(|row| row[to]).collect()).collect();
        let mut found = vec![None; rows];
        for (column, row) in assign(&turned).into_iter().enumerate() {
            row.into_iter().for_each(|row: usize| found[row] = Some(column));
        }
        return found;
    }
    // Place 0 of columns is the row that is being entered; potentials keep reduced costs from becoming negative.
    let (mut by_row, mut by_column) = (vec![0.0; rows + 1], vec![0.0; columns + 1]);
    let mut row_of = vec![0; columns + 1];
    for row in 1..=rows {
        let (mut least, mut before, mut done) =
            (vec![f64::INFINITY; columns + 1], vec![0; columns + 1], vec![false; columns + 1]);
        row_of[0] = row;
        let mut column = 0;
        while row_of[column] != 0 || column == 0 {
            done[column] = true;
            let (at, mut step, mut next) = (row_of[column], f64::INFINITY, 0);
            for to in (1..=columns).filter(|to| !done[*to]) {
                let reduced = -scores[at - 1][to - 1] - by_row[at] - by_column[to];
                if reduced < least[to] {
                    (least[to], before[to]) = (reduced, column);
                }
                if least[to] < step {
                    (step, next) = (least[to], to);
                }
            }
            for to in 0..=columns {
                if done[to] {
                    by_row[row_of[to]] += step;
                    by_column[to] -= step;
                } else {
                    least[to] -= step;
                }
            }
            column = next;
            if row_of[column] == 0 {
                break;
            }
        }
        while column != 0 {
            row_of[column] = row_of[before[column]];
            column = before[column];
        }
    }
    let mut found = vec![None; rows];
    for (column, row) in row_of.into_iter().enumerate().skip(1).filter(|(_, row)| *row > 0) {
        found[row - 1] = Some(column - 1);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_os::splitmix;

    /// Returns the greatest sum over all ways in which rows from `row` on take columns that are free.
    fn best(scores: &[Vec<f64>], row: usize, taken: &mut Vec<bool>, idle: usize) -> f64 {
        let Some(of) = scores.get(row) else { return 0.0 };
        let mut most = if idle > 0 { best(scores, row + 1, taken, idle - 1) } else { f64::NEG_INFINITY };
        for column in 0..of.len() {
            if !taken[column] {
                taken[column] = true;
                most = most.max(of[column] + best(scores, row + 1, taken, idle));
                taken[column] = false;
            }
        }
        most
    }

    #[test]
    fn no_other_pairing_has_a_greater_sum() {
        let mut state = 7;
        for case in 0..300 {
            let (rows, columns) = (1 + case % 6, 1 + case / 6 % 6);
            let mut draw = || f64::from(u32::try_from(splitmix(&mut state) % 41).unwrap_or(0)) - 20.0;
            let scores: Vec<Vec<f64>> = (0..rows).map(|_| (0..columns).map(|_| draw()).collect()).collect();
            let found = assign(&scores);
            let sum: f64 = found.iter().zip(&scores).filter_map(|(column, row)| Some(row[(*column)?])).sum();
            let mut columns_taken: Vec<usize> = found.iter().flatten().copied().collect();
            assert_eq!(columns_taken.len(), rows.min(columns), "{scores:?}");
            columns_taken.sort_unstable();
            columns_taken.dedup();
            assert_eq!(columns_taken.len(), rows.min(columns), "{scores:?}");
            let most = best(&scores, 0, &mut vec![false; columns], rows.saturating_sub(columns));
            assert!((sum - most).abs() < 1e-9, "{sum} and not {most} in {scores:?}");
        }
    }

    #[test]
    fn there_may_be_nothing_to_assign() {
        assert_eq!(assign(&[]), Vec::new());
        assert_eq!(assign(&[vec![], vec![]]), [None, None]);
    }
}
