//! A JSON number, byte by byte (RFC 8259 §6).
//!
//! **Invariant:** `whole` answers only for a number without sign, fraction and exponent that fits.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Minus,
    /// A leading zero: no digit may follow.
    Zero,
    Whole,
    Point,
    Fraction,
    /// Behind `e`.
    Exponent,
    ExponentSign,
    ExponentDigits,
}

/// A number that is being read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Number {
    part: Part,
    /// `None` = too large, or negative.
    value: Option<u64>,
}

impl Number {
    /// Begins with `-` or a digit.
    pub(super) fn begin(byte: u8) -> Self {
        match byte {
            b'-' => Self {
                part: Part::Minus,
                value: None,
            },
            b'0' => Self {
                part: Part::Zero,
                value: Some(0),
            },
            _ => Self {
                part: Part::Whole,
                value: Some(u64::from(byte - b'0')),
            },
        }
    }

    /// Takes a byte; false = it is not part of the number.
    pub(super) fn push(&mut self, byte: u8) -> bool {
        let next = match (self.part, byte) {
            (Part::Minus, b'0') => Part::Zero,
            (Part::Minus, b'1'..=b'9') => Part::Whole,
            (Part::Whole, b'0'..=b'9') => {
                let digit = u64::from(byte - b'0');
                let shifted = self.value.and_then(|value| value.checked_mul(10));
                self.value = shifted.and_then(|value| value.checked_add(digit));
                Part::Whole
            }
            (Part::Zero | Part::Whole, b'.') => Part::Point,
            (Part::Point | Part::Fraction, b'0'..=b'9') => Part::Fraction,
            (Part::Zero | Part::Whole | Part::Fraction, b'e' | b'E') => Part::Exponent,
            (Part::Exponent, b'+' | b'-') => Part::ExponentSign,
            (Part::Exponent | Part::ExponentSign | Part::ExponentDigits, b'0'..=b'9') => {
                Part::ExponentDigits
            }
            _ => return false,
        };
        self.part = next;
        true
    }

    /// Whether it may end here.
    pub(super) fn complete(self) -> bool {
        matches!(
            self.part,
            Part::Zero | Part::Whole | Part::Fraction | Part::ExponentDigits
        )
    }

    /// Its value as a count.
    pub(super) fn whole(self) -> Option<u64> {
        self.value
            .filter(|_| matches!(self.part, Part::Zero | Part::Whole))
    }
}
