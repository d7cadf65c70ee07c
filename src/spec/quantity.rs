//! Kubernetes quantities, as far as the language has them, and their canonical form: the API server answers with that
//! form, so anything else would look like drift.

/// An amount of something.
pub(super) trait Amount: Copy {
    /// For comparison with others of its kind.
    fn size(self) -> u128;

    /// As the API server writes it.
    fn canonical(self) -> String;
}

/// CPU in thousandths of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Millicores(u64);

impl Millicores {
    /// `500m`, `1`, `0.5`; `None` for anything else and for nothing at all.
    pub fn parse(text: &str) -> Option<Self> {
        let milli = match text.strip_suffix('m') {
            Some(number) => digits(number)?,
            None => thousandths(text)?,
        };
        u64::try_from(milli).ok().filter(|m| *m > 0).map(Self)
    }
}

impl Amount for Millicores {
    fn size(self) -> u128 {
        self.0.into()
    }

    fn canonical(self) -> String {
        if self.0.is_multiple_of(1000) { (self.0 / 1000).to_string() } else { format!("{}m", self.0) }
    }
}

/// Memory or storage in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes {
    bytes: u128,
    binary: bool,
}

const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];

impl Bytes {
    /// More than this is refused: Kubernetes counts in 63 bits.
    const MOST: u128 = 1 << 60;
    /// Less than this is a forgotten unit.
    const LEAST: u128 = 1 << 20;

    /// `256Mi`, `1.5Gi`, `500M`, `1048576`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(end)?;
        let position = |units: &[&str]| units.iter().position(|u| *u == unit).and_then(|p| u32::try_from(p).ok());
        let (binary, factor) = match (position(&DECIMAL), position(&BINARY)) {
            (Some(p), _) => (false, 1000_u128.checked_pow(p)?),
            (None, Some(p)) => (true, 1024_u128.checked_pow(p)?),
            (None, None) => return None,
        };
        let bytes = thousandths(number)?.checked_mul(factor)?.div_ceil(1000);
        (bytes <= Self::MOST).then_some(Self { bytes, binary })
    }

    /// Whether the unit must have been forgotten, where no amount in kilobytes makes sense.
    pub fn is_tiny(self) -> bool {
        self.bytes < Self::LEAST
    }

    /// The same where one does.
    pub fn is_bare(self) -> bool {
        self.bytes < 1000
    }
}

impl Amount for Bytes {
    fn size(self) -> u128 {
        self.bytes
    }

    fn canonical(self) -> String {
        let (base, units) = if self.binary { (1024, BINARY) } else { (1000, DECIMAL) };
        let (mut number, mut unit) = (self.bytes, "");
        for next in units.into_iter().skip(1) {
            if number == 0 || !number.is_multiple_of(base) {
                break;
            }
            (number, unit) = (number / base, next);
        }
        format!("{number}{unit}")
    }
}

/// Thousandths of a core in an amount of CPU.
pub fn cpu(text: &str) -> Option<u128> {
    Millicores::parse(text).map(Amount::size)
}

/// Bytes in an amount of memory or storage.
pub fn bytes(text: &str) -> Option<u128> {
    Bytes::parse(text).map(Amount::size)
}

fn digits(text: &str) -> Option<u128> {
    (!text.is_empty() && text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// A decimal number with at most three places, in thousandths.
fn thousandths(text: &str) -> Option<u128> {
    let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
    if places.is_empty() || places.len() > 3 {
        return None;
    }
    Some(digits(whole)? * 1000 + digits(&format!("{places:0<3}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu() {
        for (text, canonical) in [("1", "1"), ("0.5", "500m"), ("1000m", "1"), ("1500m", "1500m"), ("0.001", "1m")] {
            assert_eq!(Millicores::parse(text).map(Millicores::canonical).as_deref(), Some(canonical), "{text}");
        }
        for text in ["", "m", "0", "0m", "-1", "1.", ".5", "1.0005", "1k", "one", "99999999999999999999"] {
            assert_eq!(Millicores::parse(text), None, "{text}");
        }
    }

    #[test]
    fn memory() {
        for (text, canonical) in [
            ("256Mi", "256Mi"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1000M", "1G"),
            ("2097152", "2097152"),
            ("2000000", "2M"),
            ("1.5Ki", "1536"),
            ("1024Ti", "1Pi"),
        ] {
            assert_eq!(Bytes::parse(text).map(Bytes::canonical).as_deref(), Some(canonical), "{text}");
        }
        for text in ["", "Mi", "512m", "5x", "1.Gi", "-1Gi", "999999999999999Ti", "1e3", "1 Gi"] {
            assert!(Bytes::parse(text).is_none(), "{text}");
        }
        assert!(Bytes::parse("512").is_some_and(Bytes::is_tiny));
    }
}
