//! How often somebody who is silent has to be asked until the silence says something. What is lost on
//! the way is measured at those who answer; everything else follows from it.

use std::fmt;
use std::str::FromStr;

/// How sure an answer is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// A look around: about one sweep in ten may miss somebody.
    Quick,
    /// About one sweep in three thousand may miss somebody.
    #[default]
    Normal,
    /// About one sweep in a million may miss somebody.
    Thorough,
}

impl Effort {
    /// The chance of missing anybody in a whole sweep.
    fn chance(self) -> f64 {
        match self {
            Effort::Quick => 0.1,
            Effort::Normal => 3e-4,
            Effort::Thorough => 1e-6,
        }
    }

    /// How often is asked at least and at most.
    fn bounds(self) -> (u32, u32) {
        match self {
            Effort::Quick => (1, 3),
            Effort::Normal => (2, 8),
            Effort::Thorough => (3, 16),
        }
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Effort::Quick => "quick",
            Effort::Normal => "normal",
            Effort::Thorough => "thorough",
        }
    }
}

impl fmt::Display for Effort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Effort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Effort::Quick, Effort::Normal, Effort::Thorough];
        let found = all.into_iter().find(|effort| effort.word() == text);
        found.ok_or_else(|| format!("quick, normal or thorough is expected, found {text:?}"))
    }
}

/// What is expected of a network nobody has answered in: one question of twenty is lost, believed as
/// firmly as ten questions show it.
const EXPECTED: (f64, f64) = (0.5, 10.0);
/// Questions to those who answer, for the whole sweep: more of them show little more.
const ENOUGH: u32 = 256;

/// What was lost on the way to those who are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Questions.
    pub asked: u64,
    /// Those that were not answered.
    pub lost: u64,
    /// Hosts that have answered.
    pub hosts: u64,
}

impl Loss {
    /// The share that is lost, as far as anybody knows: above 0, below 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        (self.lost as f64 + EXPECTED.0) / (self.asked as f64 + EXPECTED.1)
    }

    /// How often somebody silent is asked.
    #[must_use]
    pub fn tries(&self, effort: Effort) -> u32 {
        let (least, most) = effort.bounds();
        let each = effort.chance() / self.hosts.max(1) as f64;
        let needed = (each.ln() / self.share().ln()).ceil();
        (needed as u32).clamp(least, most)
    }

    /// How often each of those who answer is asked, to learn what is lost.
    #[must_use]
    pub fn samples(&self) -> u32 {
        let hosts = u32::try_from(self.hosts).unwrap_or(u32::MAX).max(1);
        if self.asked >= u64::from(ENOUGH) * 2 {
            return 1;
        }
        ENOUGH.div_ceil(hosts).clamp(2, 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_is_lost_the_more_is_asked() {
        let tries = |asked, lost, hosts| Loss { asked, lost, hosts }.tries(Effort::Normal);
        // A /24 with 43 hosts that have been asked six times each.
        assert_eq!(tries(258, 0, 43), 2);
        assert!((5..=6).contains(&tries(258, 25, 43)));
        // Where nobody answers, nothing is known.
        assert_eq!(tries(0, 0, 0), 3);
        assert_eq!(tries(100, 100, 1), 8);
        assert!(Loss::default().tries(Effort::Quick) < Loss::default().tries(Effort::Thorough));
    }

    #[test]
    fn samples_are_bounded() {
        for (hosts, asked, samples) in
            [(0, 0, 16), (1, 1, 16), (43, 43, 6), (1_000, 1_000, 1), (254, 254, 2)]
        {
            assert_eq!(Loss { asked, lost: 0, hosts }.samples(), samples, "{hosts} {asked}");
        }
    }

    #[test]
    fn words() {
        for effort in [Effort::Quick, Effort::Normal, Effort::Thorough] {
            assert_eq!(effort.word().parse(), Ok(effort));
        }
        assert!("fast".parse::<Effort>().is_err());
    }
}
