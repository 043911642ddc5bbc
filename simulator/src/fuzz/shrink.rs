//! Shrink: a failing case, reduced as long as it fails.
//!
//! One round proposes every smaller case that differs in one respect: a part left out, half of the devices, half of the
//! time. The next round begins with the first of these that still fails, until none does (greedy delta debugging after
//! A. Zeller, 1999).

use super::Case;

impl Case {
    /// Returns the cases that are smaller in one respect, those that leave out most first.
    pub fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        if self.routers > LEAST_ROUTERS {
            smaller.extend(
                [self.routers / 2, self.routers - 1]
                    .map(|routers| Self { routers: routers.max(LEAST_ROUTERS), ..self.clone() }),
            );
        }
        let optional: Vec<usize> = (0..self.parts.len()).filter(|at| !self.parts[*at].needed).collect();
        if optional.len() > 3 {
            let (one, other) = optional.split_at(optional.len() / 2);
            smaller.extend([self.without(other), self.without(one)]);
        }
        // The last parts first, since faults and traffic come after the parts that they need.
        smaller.extend(optional.iter().rev().map(|at| self.without(&[*at])));
        if self.trouble > LEAST_TROUBLE {
            smaller.push(Self { trouble: (self.trouble / 2).max(LEAST_TROUBLE), ..self.clone() });
        }
        smaller.dedup();
        smaller
    }

    fn without(&self, gone: &[usize]) -> Self {
        let parts = self.parts.iter().enumerate().filter(|(at, _)| !gone.contains(at));
        Self { parts: parts.map(|(_, part)| part.clone()).collect(), ..self.clone() }
    }
}

/// The least number of routers of a network.
const LEAST_ROUTERS: u32 = 2;
/// The least number of seconds of traffic and faults.
const LEAST_TROUBLE: u32 = 20;
