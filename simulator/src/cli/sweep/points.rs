//! Points: the runs of a sweep, which follow from seeds, settings that vary, and shards.

use std::str::FromStr;

/// Seeds, each once, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Seeds(pub(in crate::cli) Vec<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} are no seeds: write them as 1..20 (both included), 7, or 1,5,9");
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
        let mut seeds = Vec::new();
        for part in text.split(',') {
            let (from, to) = match part.split_once("..") {
                Some((from, to)) => (number(from)?, number(to.trim_start_matches('='))?),
                None => (number(part)?, number(part)?),
            };
            if from > to || to - from >= MOST {
                return Err(wrong());
            }
            seeds.extend(from..=to);
        }
        seeds.sort_unstable();
        seeds.dedup();
        Ok(Self(seeds))
    }
}

/// A setting with the values that it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Vary {
    pub(in crate::cli) key: String,
    pub(in crate::cli) values: Vec<String>,
}

impl FromStr for Vary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, values) = text.split_once('=').ok_or("write it as KEY=A,B, as duration=1m,10m")?;
        let values: Vec<String> = apart(values).map(|value| value.trim().to_owned()).collect();
        if key.trim().is_empty() || values.iter().any(String::is_empty) {
            return Err("a setting that varies has a key and values, as duration=1m,10m".to_owned());
        }
        Ok(Self { key: key.trim().to_owned(), values })
    }
}

/// Splits values at commas, except those within a list or a quoted text.
fn apart(values: &str) -> impl Iterator<Item = &str> {
    let (mut depth, mut quoted) = (0_i32, false);
    values.split(move |character| {
        match character {
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0 && !quoted
    })
}

/// A shard: every n-th run, from the i-th on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// Returns whether the shard has the run of that number.
    pub(in crate::cli) fn has(self, number: usize) -> bool {
        number % self.count == self.index - 1
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match parts {
            Some((index, count)) if index >= 1 && index <= count => Ok(Self { index, count }),
            _ => Err("a shard is written as 2/4: the second of four".to_owned()),
        }
    }
}

/// Returns the settings of every point: those of all runs, and each combination of those that vary, the last varying
/// first.
pub(in crate::cli) fn combine(set: &[String], vary: &[Vary]) -> Vec<Vec<String>> {
    let mut points = vec![set.to_vec()];
    for Vary { key, values } in vary {
        let extend = |point: &Vec<String>| {
            let point = point.clone();
            values.iter().map(move |value| [point.clone(), vec![format!("{key}={value}")]].concat()).collect::<Vec<_>>()
        };
        points = points.iter().flat_map(extend).collect();
    }
    points
}

/// The number of seeds in one range.
const MOST: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_and_shards_are_read_as_people_write_them() {
        let seeds = |text: &str| text.parse::<Seeds>().map(|seeds| seeds.0);
        assert_eq!(seeds("1..4"), Ok(vec![1, 2, 3, 4]));
        assert_eq!(seeds("9, 1,5..6"), Ok(vec![1, 5, 6, 9]));
        assert!(seeds("seven").is_err_and(|error| error.contains("1..20")));
        assert!(seeds("5..1").is_err());
        let shards: Vec<Shard> = ["1/3", "2/3", "3/3"].iter().map(|text| text.parse().expect(text)).collect();
        for number in 0..10 {
            assert_eq!(shards.iter().filter(|shard| shard.has(number)).count(), 1);
        }
        assert!(["0/3", "4/3", "1", "a/b"].iter().all(|text| text.parse::<Shard>().is_err()));
    }

    #[test]
    fn all_values_are_combined() {
        let vary = ["a=1,2", "b=x,y"].map(|text| text.parse::<Vary>().expect(text));
        let points = combine(&["c=0".to_owned()], &vary);
        let joined: Vec<String> = points.iter().map(|point| point.join(" ")).collect();
        assert_eq!(joined, ["c=0 a=1 b=x", "c=0 a=1 b=y", "c=0 a=2 b=x", "c=0 a=2 b=y"]);
        let lists: Vary = r#"expect=["sent > 1", "late < 2"],[],"a,b""#.parse().expect("values with commas within");
        assert_eq!(lists.values, [r#"["sent > 1", "late < 2"]"#, "[]", r#""a,b""#]);
    }
}
